"""Sessions of the portal: links that log in once, and tokens that are renewed while somebody works.

A link is for whoever asks for it, lasts ten minutes, and is good once; of its code only a hash is kept. A token is
renewed for at most twelve hours from the login, and as long as a secret or key that its principal had then is left, or
the very credential by which a person logged in at an issuer; each request asks anew whether its principal still is one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from vmkiln.api.identity.caller import Caller, Permission
from vmkiln.api.identity.failures import FAILURES_SECONDS, MOST_OF_AN_ADDRESS
from vmkiln.api.identity.issuer import LOGIN_KEY
from vmkiln.api.identity.login_turns import network_of
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Handler, Route
from vmkiln.errors import ArmError
from vmkiln.store.principal_table import LOGIN_CODE_SECONDS
from vmkiln.store.rows import PrincipalRow

SESSION_SECONDS = 12 * 3600.0  # from the login on
MOST_CODE_LETTERS = 200
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def create_link(call: Call) -> Answer:
    """POST: a link that logs the caller in once: {url, expiresOn}."""
    principal = call.service.store.principals.find_object(call.caller.object_id)
    if principal is None:
        message = "a link is given to the service's own principals; others log in with a token of their issuer"
        raise ArmError(400, "NotSupported", message)
    if _claims(call).get("auth_time"):  # else a session would begin anew for ever, whoever has its token
        hint = "`vmkiln open` logs in by itself"
        raise ArmError(
            403, "SessionNotEnough", "a link is given to a login, and not to a session of the portal", hint=hint
        )
    code = call.service.store.principals.add_login_code(principal.object_id)
    expires = call.service.now() + timedelta(seconds=LOGIN_CODE_SECONDS)
    body = {"url": f"{call.base_url}/portal/login?code={code}", "expiresOn": time_text(expires)}
    return Answer(200, body, NO_STORE)


def redeem(call: Call) -> Answer:
    """POST: a token for the code of a link, which is gone with it."""
    service, place = call.service, network_of(call.origin.source)
    if service.failures_of_addresses.recent(place) >= MOST_OF_AN_ADDRESS:
        headers = {**NO_STORE, "Retry-After": str(int(FAILURES_SECONDS))}
        raise ArmError(429, "TooManyRequests", "too many logins from this address were wrong", headers=headers)
    code = str(call.body.get("code", ""))[:MOST_CODE_LETTERS]
    principal = service.store.principals.redeem_login_code(code) if code.isascii() else None
    if principal is None or principal.is_disabled:
        service.failures_of_addresses.count(place)
        message = "The link was used, is over, or never was: `vmkiln open` gives another."
        raise ArmError(401, "LinkOver", message, headers=NO_STORE)
    return session(call, principal, since=int(service.now().timestamp()))


def renew(call: Call) -> Answer:
    """POST: another token for the caller, as long as the login is not too long ago."""
    claims = _claims(call)
    if not claims:
        raise ArmError(400, "NotSupported", "only tokens that were given for a login are renewed")
    principal = call.service.store.principals.find_object(str(claims["oid"]))
    if principal is None or principal.is_disabled or "xms_mirid" in claims:
        raise ArmError(400, "NotSupported", "only tokens of service principals are renewed")
    since = int(claims.get("auth_time") or claims["iat"])
    if call.service.now().timestamp() - since > SESSION_SECONDS:
        raise ArmError(403, "SessionOver", "the login is too long ago: log in again")
    principals, key_id = call.service.store.principals, str(claims.get(LOGIN_KEY, ""))
    login = datetime.fromtimestamp(since + 1, UTC)  # a token tells whole seconds
    app_id = principal.app_id
    if not (principals.has_key(app_id, key_id) if key_id else principals.has_credential_of(app_id, login)):
        raise ArmError(403, "SessionOver", "the secret of that login was replaced since: log in again")
    return session(call, principal, since=since, key_id=key_id)


def _claims(call: Call) -> Mapping[str, Any]:
    """What the caller's token says, when it is one of the issuer's own; nothing for all others."""
    token = call.headers.get("authorization", "").strip().rpartition(" ")[2]
    try:
        return call.service.issuer.claims(token, now=call.service.now())
    except (jwt.InvalidTokenError, ValueError, TypeError):
        return {}


def session(call: Call, principal: PrincipalRow, *, since: int, key_id: str = "") -> Answer:
    """A token for a principal that logged in then (seconds since 1970), as it is answered.

    `key_id` is the federated credential of a person who did so at an issuer.
    """
    service = call.service
    now, lasts = service.now(), service.settings.access_token_seconds
    audience = call.base_url
    token = service.issuer.token(
        principal, audience=audience, now=now, lasts_seconds=lasts, authenticated=since, key_id=key_id
    )
    body = {"token_type": "Bearer", "expires_in": lasts, "access_token": token}
    who = Caller(principal.object_id, principal.display_name)
    return Answer(200, body, NO_STORE, {"appId": principal.app_id}, who)


def _post(path: str, operation: str, handler: Handler, permission: Permission, body: Body = Body.NONE) -> Route:
    return Route("POST", path, operation, permission, handler, body, needs_api_version=False)


ROUTES = (
    _post("/providers/Vmkiln.Builds/loginLinks", "LoginLinks_Create", create_link, Permission.ANY),
    _post("/providers/Vmkiln.Builds/loginLinks/redeem", "LoginLinks_Redeem", redeem, Permission.NONE, Body.FORM),
    _post("/providers/Vmkiln.Builds/sessions/renew", "Sessions_Renew", renew, Permission.ANY),
)
