"""What a service needs before its first request: an owner who can log in.

The owner's credentials lie in a file that only the operator of the service may read; `vmkiln az-setup` uses them.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmkiln.audit.act import SERVICE, audit_row, begun, ended, new_cause
from vmkiln.audit.act_names import PRINCIPAL_WRITE, ROLE_WRITE, principal_id, role_id
from vmkiln.audit.audit_log import record_here
from vmkiln.errors import InputError
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.rights.built_in_roles import OWNER
from vmkiln.store.database import Store

DEFAULT_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Credentials:
    """What a service principal logs in with."""

    tenant_id: str
    app_id: str
    secret: str


def service_directory(home: Path) -> Path:
    """Where the service keeps keys, certificates and its owner's credentials."""
    return home / "service"


def owner_file(home: Path) -> Path:
    """The file with the owner's credentials."""
    return service_directory(home) / "owner.json"


def ensure_owner(store: Store, home: Path, *, tenant_id: str) -> Credentials:
    """The owner of everything; a new one when the file is gone or its principal was removed."""
    path = owner_file(home)
    if path.exists():
        found = read_credentials(path)
        if store.principals.find(found.app_id) is not None:
            return found
    make_folder(path.parent)
    cause = new_cause()

    @contextlib.contextmanager
    def audited(operation: str, resource_id: str, **detail: str) -> Iterator[None]:
        row = audit_row(operation, resource_id, who=SERVICE, cause=cause, moment=store.now(), detail=detail)
        act = begun(row)
        with act.going_on():
            yield
        record_here(store.audit, ended(act, row))

    app_id, assignment_id = str(uuid.uuid4()), str(uuid.uuid4())
    with audited(PRINCIPAL_WRITE, principal_id(app_id), displayName="owner"):
        principal, secret = store.principals.create("owner", app_id=app_id)
    with audited(ROLE_WRITE, role_id("/", assignment_id), role=OWNER, principalId=principal.object_id):
        store.principals.assign(principal.object_id, OWNER, "/", assignment_id=assignment_id)
    made = Credentials(tenant_id, principal.app_id, secret)
    content = {"tenant": made.tenant_id, "appId": made.app_id, "password": made.secret}
    write_whole(path, json.dumps(content, indent=2).encode() + b"\n")
    return made


def read_credentials(path: Path) -> Credentials:
    """The credentials in a file. Raises: `InputError` when they cannot be read."""
    try:
        found = json.loads(path.read_text())
        return Credentials(str(found["tenant"]), str(found["appId"]), str(found["password"]))
    except FileNotFoundError:
        raise InputError(f"there is no {path}", hint="start the service once: `vmkiln serve`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
