"""Logging in at an issuer that the operator chose: its code, for a session of the principal that trusts the identity.

Who that is stands in the principal's federated credentials (issuer, `sub`, and this service's client id as audience);
nothing else of a token counts.
"""

import logging
import re
import shlex

from vmkiln.api.entra.sessions import NO_STORE, session
from vmkiln.api.identity.caller import Permission
from vmkiln.api.identity.failures import FAILURES_SECONDS, MOST_OF_AN_ADDRESS
from vmkiln.api.identity.login_provider import LoginProvider, LoginRefused, ProviderAway
from vmkiln.api.identity.login_turns import network_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.errors import ArmError

ALL = "/providers/Vmkiln.Builds/logins"
BACK = "/portal/login/back"  # what the issuer knows as this service's redirect URI, after its address
MOST_CODE_LETTERS = 4096
MOST_SHOWN_LETTERS = 300
WORD = re.compile(r"[A-Za-z0-9_-]{32,128}")  # RFC 7636, section 4.1, without what base64url does not have
log = logging.getLogger(__name__)


def _provider(call: Call) -> LoginProvider:
    if call.service.login is None:
        raise ArmError(404, "ResourceNotFound", "This service has no issuer at which people log in.", headers=NO_STORE)
    return call.service.login


def _away(error: ProviderAway) -> ArmError:
    log.warning("a login cannot go on: %s", error)  # it tells of the network that the service is in
    headers = {**NO_STORE, "Retry-After": "30"}
    return ArmError(503, "IssuerAway", "The issuer at which people log in cannot be asked now.", headers=headers)


def list_logins(call: Call) -> Answer:
    """GET the issuers at which people log in: {value}, each with its `issuer` and `name`; one, or none."""
    provider = call.service.login
    return Answer(200, {"value": [{"issuer": provider.issuer, "name": provider.name}] if provider else []})


def address(call: Call) -> Answer:
    """GET where a browser logs in: {url}. `state`, `nonce` and `challenge` are the browser's own, and nothing is kept.

    `challenge` is the base64url of the SHA-256 of a verifier (RFC 7636, S256).
    """
    provider = _provider(call)
    words = {name: call.query.get(name, "") for name in ("state", "nonce", "challenge")}
    for name, word in words.items():
        if not WORD.fullmatch(word):
            raise ArmError(400, "InvalidParameter", f"`{name}` must be 32 to 128 letters of base64url", target=name)
    try:
        url = provider.address(redirect_uri=call.base_url + BACK, **words)
    except ProviderAway as error:
        raise _away(error) from error
    return Answer(200, {"url": url}, NO_STORE)


def redeem(call: Call) -> Answer:
    """POST: a token for a code of the issuer, with the login's `verifier` and `nonce`."""
    provider, service = _provider(call), call.service
    place = network_of(call.origin.source)
    if service.failures_of_addresses.recent(place) >= MOST_OF_AN_ADDRESS:  # before the issuer is asked
        headers = {**NO_STORE, "Retry-After": str(int(FAILURES_SECONDS))}
        raise ArmError(429, "TooManyRequests", "too many logins from this address were wrong", headers=headers)
    code, verifier, nonce = (str(call.body.get(name, "")) for name in ("code", "verifier", "nonce"))
    if not 0 < len(code) <= MOST_CODE_LETTERS or not WORD.fullmatch(verifier) or not WORD.fullmatch(nonce):
        raise ArmError(400, "InvalidParameter", "`code`, `verifier` or `nonce` is not of a login", headers=NO_STORE)
    try:
        claims = provider.proven(code, verifier=verifier, nonce=nonce, redirect_uri=call.base_url + BACK)
    except ProviderAway as error:
        raise _away(error) from error
    except LoginRefused as error:
        service.failures_of_addresses.count(place)
        raise ArmError(401, "LoginRefused", f"{error}: log in again.", headers=NO_STORE) from error
    subject = str(claims["sub"])
    found = service.store.principals.of_federated(provider.issuer, subject, provider.client_id)
    if found is None or found[0].is_disabled:
        service.failures_of_addresses.count(place)
        shown = subject[:MOST_SHOWN_LETTERS]
        words = ("--issuer", provider.issuer, "--subject", shown, "--audience", provider.client_id)
        hint = f"an operator makes it one: `vmkiln principal federate APP_ID {shlex.join(words)}`"
        raise ArmError(
            403,
            "LoginUnknown",
            f"You are logged in at {provider.name} as `{shown}`, which is the login of no one principal here.",
            hint=hint,
            headers=NO_STORE,
        )
    principal, key_id = found
    return session(call, principal, since=int(service.now().timestamp()), key_id=key_id)


ROUTES = (
    Route("GET", ALL, "Logins_List", Permission.NONE, list_logins, needs_api_version=False),
    Route("GET", f"{ALL}/address", "Logins_Address", Permission.NONE, address, needs_api_version=False),
    Route("POST", f"{ALL}/redeem", "Logins_Redeem", Permission.NONE, redeem, Body.FORM, needs_api_version=False),
)
