"""Who calls, proven by a token, and what their roles allow.

A Reader may read. A Contributor may also write, delete and act. An Owner may also give roles away. What Azure's other
built-in roles allow stands with their names.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from urllib.parse import urlsplit

import jwt

from vmkiln.api.identity.caller import Caller, Rights
from vmkiln.api.identity.issuer import Issuer
from vmkiln.api.identity.outside_issuer import OutsideIssuer
from vmkiln.azure_names import USER_ASSIGNED_IDENTITY
from vmkiln.errors import ArmError
from vmkiln.rights.built_in_roles import rights_of
from vmkiln.store.database import Store
from vmkiln.store.principal_table import TOKEN_PREFIX

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# what SDKs ask tokens for when nobody told them where the service is
AZURE_AUDIENCES = frozenset({"https://management.azure.com", "https://management.core.windows.net"})


class AccessControl:
    """The service's own principals and tokens, and those of an outside issuer when there is one."""

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        outside: OutsideIssuer | None = None,
        *,
        names: Collection[str] = LOOPBACK_NAMES,
    ) -> None:
        """`names` are the host names and addresses that the service's certificate is for."""
        self._names = frozenset(name.lower() for name in names)
        self._store = store
        self._issuer = issuer
        self._outside = outside

    def authenticate(self, headers: Mapping[str, str], *, base_url: str) -> Caller:
        """The caller a bearer token proves. Raises: `ArmError` 401."""
        kind, _, token = headers.get("authorization", "").strip().partition(" ")
        if kind.lower() != "bearer" or not token:
            message = "Authentication failed. The 'Authorization' header is missing."
            raise self._refusal("AuthenticationFailed", message, base_url)
        if token.startswith(TOKEN_PREFIX):
            principal = self._store.principals.of_token(token)
            if principal is None or principal.is_disabled:
                raise self._refusal("InvalidAuthenticationToken", "The access token is invalid.", base_url)
            return Caller(principal.object_id, principal.display_name)
        try:
            return self._of_token(token, self._store.now())
        except jwt.ExpiredSignatureError:
            message = "The access token expiry UTC time is earlier than current UTC time."
            raise self._refusal("ExpiredAuthenticationToken", message, base_url) from None
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise self._refusal("InvalidAuthenticationToken", "The access token is invalid.", base_url) from None

    def _of_token(self, token: str, now: datetime) -> Caller:
        unproven = jwt.decode(token, options={"verify_signature": False})
        if self._outside is not None and unproven.get("iss") == self._outside.issuer:
            claims = self._outside.claims(token)
            object_id = str(claims.get("oid") or claims["sub"])
            if self._store.principals.find_object(object_id) is not None:
                raise jwt.InvalidTokenError("the outside issuer names a principal of ours")
            name = str(claims.get("preferred_username") or claims.get("name") or claims.get("appid") or object_id)
            return Caller(object_id, name, is_service_principal=claims.get("idtyp") == "app")
        claims = self._issuer.claims(token, now=now)
        audience = str(claims["aud"]).rstrip("/").lower()
        # never by the Host header: whoever replays a token chooses that
        if audience not in AZURE_AUDIENCES and not self.is_own(urlsplit(audience).hostname or ""):
            raise jwt.InvalidAudienceError("the token is for another service")
        if identity_id := str(claims.get("xms_mirid", "")):
            return self._identity(identity_id, str(claims["oid"]))
        principal = self._store.principals.find_object(str(claims["oid"]))
        if principal is None or principal.is_disabled:
            raise jwt.InvalidTokenError("the principal was removed")
        return Caller(principal.object_id, principal.display_name)

    def _identity(self, identity_id: str, object_id: str) -> Caller:
        """The managed identity of a token, as long as it is the same one."""
        row = self._store.resources.get(identity_id)
        if row is None or row.type != USER_ASSIGNED_IDENTITY or row.properties.get("principalId") != object_id:
            raise jwt.InvalidTokenError("the identity was removed")
        return Caller(object_id, row.name)

    def is_own(self, host: str) -> bool:
        """Whether a host name or address is one of the service's own."""
        wildcard = "*." + host.partition(".")[2]
        return host in self._names or ("." in host and wildcard in self._names)

    def _refusal(self, code: str, message: str, base_url: str) -> ArmError:
        challenge = (
            f'Bearer authorization_uri="{base_url}/{self._issuer.tenant_id}", error="invalid_token", '
            f'error_description="{message}"'
        )
        return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})

    def rights(self, caller: Caller) -> Rights:
        """What the caller's roles allow now: one statement."""
        if caller.is_local:
            return Rights(is_local=True)
        return rights_of((row.role, row.scope) for row in self._store.principals.roles_of(caller.object_id))
