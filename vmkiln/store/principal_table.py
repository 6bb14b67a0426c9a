"""Who may call the service: service principals with their secrets, keys, tokens, and the roles assigned to them.

Secrets and tokens are not kept, only what they can be recognised by: of a secret a scrypt hash with a salt of its own
(RFC 7914), of a token, which is 256 random bits, its SHA-256.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.store.bounded.quota import Quota
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware
from vmkiln.store.rows import KeyKind, PrincipalKeyRow, PrincipalRow, RoleAssignmentRow
from vmkiln.store.tables import access_tokens, client_secrets, principal_keys, principals, role_assignments

SCRYPT = {"n": 2**14, "r": 8, "p": 1}
TOKEN_PREFIX = "vmk_"  # noqa: S105 (the beginning of every token, no token)
LOGIN_CODE = "login code"  # also what is hashed before one, so that no code is taken for a token
LOGIN_CODE_SECONDS = 600.0
_NO_SALT = b"\x00" * 16


def new_secret() -> str:
    """A client secret of 256 random bits."""
    while (made := secrets.token_urlsafe(32)).startswith("-"):  # az takes such a password for an option
        pass
    return made


def _hashed(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, **SCRYPT)


class PrincipalTable:
    """Queries and changes."""

    def __init__(self, connections: Connections, quota: Quota) -> None:
        self._connections = connections
        self._quota = quota

    def create(self, display_name: str, *, app_id: str = "") -> tuple[PrincipalRow, str]:
        """A new service principal, and its first secret, which is told this once."""
        now = self._connections.now()
        row = PrincipalRow(app_id or str(uuid.uuid4()), str(uuid.uuid4()), display_name, now, is_disabled=False)
        secret, values = self._new_secret(row.app_id)
        with self._connections.begin() as connection:
            connection.execute(principals.insert().values(**vars(row)))
            connection.execute(client_secrets.insert().values(**values))
        return row, secret

    def add_secret(self, app_id: str, *, is_only: bool = False) -> str:
        """Another secret of a principal; the ones before stay good, unless it is to be the only one."""
        secret, values = self._new_secret(app_id)
        with self._connections.begin() as connection:
            if is_only:
                connection.execute(client_secrets.delete().where(client_secrets.c.app_id == app_id))
            connection.execute(client_secrets.insert().values(**values))
        return secret

    def _new_secret(self, app_id: str) -> tuple[str, dict[str, Any]]:
        """A secret, and what is kept of it."""
        secret, salt = new_secret(), secrets.token_bytes(16)
        values = {"secret_id": str(uuid.uuid4()), "app_id": app_id, "salt": salt.hex()}
        return secret, {**values, "hash": _hashed(secret, salt).hex(), "created": self._connections.now()}

    def find(self, app_id: str) -> PrincipalRow | None:
        """The principal of this application id, or none."""
        return self._principal(principals.c.app_id == app_id.lower())

    def find_object(self, object_id: str) -> PrincipalRow | None:
        """The principal of this object id, or none."""
        return self._principal(principals.c.object_id == object_id.lower())

    def list(self) -> list[PrincipalRow]:
        """Every principal by its name."""
        with self._connections.reading() as connection:
            query = sa.select(principals).order_by(principals.c.display_name, principals.c.app_id)
            return [_principal(dict(row)) for row in connection.execute(query).mappings()]

    def remove(self, app_id: str) -> bool:
        """Remove a principal with its secrets, tokens and roles; false when there is none."""
        found = self.find(app_id)
        if found is None:
            return False
        with self._connections.begin() as connection:
            connection.execute(client_secrets.delete().where(client_secrets.c.app_id == found.app_id))
            connection.execute(principal_keys.delete().where(principal_keys.c.app_id == found.app_id))
            connection.execute(access_tokens.delete().where(access_tokens.c.object_id == found.object_id))
            connection.execute(role_assignments.delete().where(role_assignments.c.object_id == found.object_id))
            connection.execute(principals.delete().where(principals.c.app_id == found.app_id))
        return True

    def check_secret(self, app_id: str, secret: str) -> bool:
        """Whether it is one of the principal's secrets; takes as long for a principal that does not exist."""
        with self._connections.reading() as connection:
            query = sa.select(client_secrets.c.salt, client_secrets.c.hash)
            rows = connection.execute(query.where(client_secrets.c.app_id == app_id.lower())).all()
        matches = [hmac.compare_digest(_hashed(secret, bytes.fromhex(row.salt)).hex(), row.hash) for row in rows]
        if not rows:
            _hashed(secret, _NO_SALT)
        return any(matches)

    def has_credential_of(self, app_id: str, moment: datetime) -> bool:
        """Whether a secret, certificate or federated credential that a principal had then is still its own."""
        with self._connections.reading() as connection:
            return any(
                connection.execute(
                    sa.select(sa.literal(1)).where(table.c.app_id == app_id, table.c.created <= moment).limit(1)
                ).first()
                for table in (client_secrets, principal_keys)
            )

    def add_key(self, app_id: str, kind: KeyKind, name: str, detail: Mapping[str, Any]) -> PrincipalKeyRow:
        """One more certificate or federated credential; the one of the same kind and name is replaced."""
        row = PrincipalKeyRow(str(uuid.uuid4()), app_id, kind, name, detail, self._connections.now())
        same = (principal_keys.c.app_id == app_id) & (principal_keys.c.kind == kind) & (principal_keys.c.name == name)
        with self._connections.begin() as connection:
            connection.execute(principal_keys.delete().where(same))
            connection.execute(principal_keys.insert().values(**{**vars(row), "detail": dict(detail)}))
        return row

    def keys_of(self, app_id: str) -> Sequence[PrincipalKeyRow]:
        """The certificates and federated credentials of a principal, the oldest first."""
        with self._connections.reading() as connection:
            query = sa.select(principal_keys).where(principal_keys.c.app_id == app_id.lower())
            rows = connection.execute(query.order_by(principal_keys.c.created)).mappings().all()
        return [
            PrincipalKeyRow(**{**row, "kind": KeyKind(row["kind"]), "created": aware(row["created"])}) for row in rows
        ]

    def of_federated(self, issuer: str, subject: str, audience: str) -> tuple[PrincipalRow, str] | None:
        """The principal that trusts these tokens, and the id of the key by which it does.

        None when nobody does, and when more than one do.
        """
        detail = principal_keys.c.detail
        same = (detail["issuer"].as_string() == issuer) & (detail["subject"].as_string() == subject)
        columns = (principal_keys.c.app_id, principal_keys.c.key_id, detail)
        query = sa.select(*columns).where(principal_keys.c.kind == KeyKind.FEDERATED, same)
        with self._connections.reading() as connection:
            rows = [row for row in connection.execute(query) if audience in row.detail["audiences"]]
        principal = self.find(rows[0].app_id) if len({row.app_id for row in rows}) == 1 else None
        return None if principal is None else (principal, rows[0].key_id)

    def has_key(self, app_id: str, key_id: str) -> bool:
        """Whether a certificate or federated credential is still the principal's."""
        with self._connections.reading() as connection:
            same = (principal_keys.c.app_id == app_id) & (principal_keys.c.key_id == key_id)
            return connection.execute(sa.select(sa.literal(1)).where(same)).first() is not None

    def remove_key(self, key_id: str) -> bool:
        """Take a certificate or federated credential away; false when there is none."""
        with self._connections.begin() as connection:
            same = principal_keys.c.key_id == key_id.lower()
            return connection.execute(principal_keys.delete().where(same)).rowcount == 1

    def add_token(self, object_id: str, name: str) -> str:
        """A token that speaks for a principal until it is removed; told this once."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        values = {"hash": _token_hash(token), "object_id": object_id, "name": name, "created": self._connections.now()}
        with self._connections.begin() as connection:
            connection.execute(access_tokens.insert().values(**values))
        return token

    def of_token(self, token: str) -> PrincipalRow | None:
        """The principal a token speaks for, or none."""
        with self._connections.reading() as connection:
            query = sa.select(access_tokens.c.object_id).where(access_tokens.c.hash == _token_hash(token))
            object_id = connection.execute(query).scalar()
        return None if object_id is None else self.find_object(object_id)

    def add_login_code(self, object_id: str) -> str:
        """A code that logs a principal in once, in the next minutes; told this once, in place of one it had before."""
        code = secrets.token_urlsafe(32)
        now = self._connections.now()
        values = {"hash": _token_hash(LOGIN_CODE + code), "object_id": object_id, "name": LOGIN_CODE, "created": now}
        is_code, old = access_tokens.c.name == LOGIN_CODE, now - timedelta(seconds=LOGIN_CODE_SECONDS)
        over = sa.or_(access_tokens.c.object_id == object_id, access_tokens.c.created < old)
        with self._connections.begin() as connection:
            connection.execute(access_tokens.delete().where(is_code, over))
            connection.execute(access_tokens.insert().values(**values))
        return code

    def redeem_login_code(self, code: str) -> PrincipalRow | None:
        """The principal that a code logs in; none when there is no such code (any more). It is gone with the answer."""
        same = sa.and_(access_tokens.c.hash == _token_hash(LOGIN_CODE + code), access_tokens.c.name == LOGIN_CODE)
        with self._connections.begin() as connection:
            found = connection.execute(
                sa.select(access_tokens.c.object_id, access_tokens.c.created).where(same)
            ).first()
            if found is None or connection.execute(access_tokens.delete().where(same)).rowcount != 1:
                return None
        if self._connections.now() - aware(found.created) > timedelta(seconds=LOGIN_CODE_SECONDS):
            return None
        return self.find_object(found.object_id)

    def assign(
        self, object_id: str, role: str, scope: str, *, assignment_id: str = "", principal_type: str = ""
    ) -> RoleAssignmentRow:
        """Give a principal a role in a scope; the same one once more changes nothing. Raises: `QuotaReached`."""
        now, scope = self._connections.now(), "/" + scope.strip("/")
        row = RoleAssignmentRow(assignment_id or str(uuid.uuid4()), object_id.lower(), role, scope, now, principal_type)
        with self._connections.begin() as connection:
            for existing in _roles(connection, role_assignments.c.object_id == row.object_id):
                if (existing.role, existing.scope.lower()) == (role, scope.lower()):
                    return existing
            self._quota.check_role(connection, row.scope)
            connection.execute(role_assignments.insert().values(**vars(row)))
        return row

    def unassign(self, assignment_id: str) -> bool:
        """Take a role away; false when there is no such assignment."""
        with self._connections.begin() as connection:
            same = role_assignments.c.assignment_id == assignment_id.lower()
            return connection.execute(role_assignments.delete().where(same)).rowcount == 1

    def roles_of(self, object_id: str) -> Sequence[RoleAssignmentRow]:
        """The roles of a principal."""
        return self._roles(role_assignments.c.object_id == object_id.lower())

    def list_roles(self) -> Sequence[RoleAssignmentRow]:
        """Every assignment."""
        return self._roles(sa.true())

    def _roles(self, condition: sa.ColumnElement[bool]) -> Sequence[RoleAssignmentRow]:
        return _as_roles(self._connections.rows(_that(condition)))

    def _principal(self, condition: sa.ColumnElement[bool]) -> PrincipalRow | None:
        found = self._connections.rows(sa.select(principals).where(condition).limit(1))
        return _principal(found[0]) if found else None


def _roles(connection: Connection, condition: sa.ColumnElement[bool]) -> Sequence[RoleAssignmentRow]:
    return _as_roles([dict(row) for row in connection.execute(_that(condition)).mappings()])


def _that(condition: sa.ColumnElement[bool]) -> "sa.Select[Any]":
    return sa.select(role_assignments).where(condition).order_by(role_assignments.c.created)


def _as_roles(rows: Sequence[dict[str, Any]]) -> Sequence[RoleAssignmentRow]:
    return [RoleAssignmentRow(**{**row, "created": aware(row["created"])}) for row in rows]


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()  # what a header can hold


def _principal(row: dict[str, Any]) -> PrincipalRow:
    return PrincipalRow(**{**row, "created": aware(row["created"])})
