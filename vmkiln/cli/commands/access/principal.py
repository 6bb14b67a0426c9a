"""`vmkiln principal` and `vmkiln role`: who may call the service of this machine, and what they may do."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.audit.act_names import (
    KEY_DELETE,
    KEY_WRITE,
    PRINCIPAL_DELETE,
    PRINCIPAL_WRITE,
    ROLE_DELETE,
    ROLE_WRITE,
    SECRET_WRITE,
    TOKEN_WRITE,
    principal_id,
    role_id,
)
from vmkiln.cli.audited import audited
from vmkiln.cli.completing import app_ids, assignment_ids, key_ids, role_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, show_rows, told_done, told_value
from vmkiln.cli.template_options import AlwaysJsonOption, JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.store.database import Store
    from vmkiln.store.rows import PrincipalKeyRow, PrincipalRow, RoleAssignmentRow

app = typer.Typer(no_args_is_help=True, help="Service principals that may log in to the service of this machine.")
role_app = typer.Typer(
    no_args_is_help=True, help="Roles: Reader, Contributor or Owner of /, a subscription or a group."
)
OBJECT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
AppIdArgument = Annotated[str, typer.Argument(help="The principal's application id.", autocompletion=app_ids)]


def _find(store: Store, app_id: str) -> PrincipalRow:
    found = store.principals.find(app_id)
    if found is None:
        raise InputError(f"there is no principal with the application id {app_id}", hint="`vmkiln principal list`")
    return found


@app.command()
@examples("vmkiln principal create ci")
def create(name: Annotated[str, typer.Argument(help="A name for people.")], _as_json: AlwaysJsonOption = False) -> None:
    """Make a service principal; prints its credentials, this once."""
    from vmkiln.api.identity.first_start import service_directory
    from vmkiln.api.identity.issuer import ensure_issuer
    from vmkiln.preparation import opened_store

    settings = read_settings()
    issuer = ensure_issuer(service_directory(settings.home), settings.keys_folder)
    with opened_store(settings, say) as store:
        app_id = str(uuid.uuid4())
        with audited(store, PRINCIPAL_WRITE, principal_id(app_id), displayName=name):
            principal, secret = store.principals.create(name, app_id=app_id)
    answer(
        {
            "tenant": issuer.tenant_id,
            "appId": principal.app_id,
            "objectId": principal.object_id,
            "displayName": principal.display_name,
            "password": secret,
        }
    )
    say("it may do nothing yet: `vmkiln role assign` gives it a role")


@app.command("list")
@examples("vmkiln principal list")
def list_(as_json: JsonOption = False) -> None:
    """List service principals."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        rows = store.principals.list()
    if as_json:
        found = [{"appId": row.app_id, "objectId": row.object_id, "displayName": row.display_name} for row in rows]
        answer(found)
        return
    show_rows(
        ("APPLICATION ID", "OBJECT ID", "NAME"),
        [(row.app_id, row.object_id, row.display_name) for row in rows],
        none="there is no service principal yet; `vmkiln principal create NAME` makes one",
    )


@app.command()
@examples("vmkiln principal secret APP_ID --only")
def secret(
    app_id: AppIdArgument,
    only: Annotated[bool, typer.Option("--only", help="Take the secrets away that it had.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a principal another secret; printed this once."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        found = _find(store, app_id)
        with audited(store, SECRET_WRITE, principal_id(found.app_id), isOnly=str(only)):
            made = store.principals.add_secret(found.app_id, is_only=only)
    told_value(made, {"appId": found.app_id, "password": made}, as_json=as_json)


@app.command()
@examples("vmkiln principal certificate APP_ID certificate.pem")
def certificate(
    app_id: AppIdArgument,
    file: Annotated[Path, typer.Argument(help="The certificate (PEM); a private key in the file is not read.")],
    name: Annotated[str, typer.Option(help="What it is for; one of the same name is replaced.")] = "certificate",
    as_json: JsonOption = False,
) -> None:
    """Let a principal log in with a certificate, as `az login --certificate` does; prints the key's id."""
    from vmkiln.api.identity.client_assertion import read_certificate
    from vmkiln.preparation import opened_store
    from vmkiln.store.rows import KeyKind

    try:
        found = read_certificate(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    detail = {"pem": found.pem, "sha1": found.sha1, "sha256": found.sha256, "notAfter": found.ends.isoformat()}
    with opened_store(read_settings(), say) as store:
        principal = _find(store, app_id)
        with audited(store, KEY_WRITE, principal_id(principal.app_id), keyName=name, sha1=found.sha1):
            row = store.principals.add_key(principal.app_id, KeyKind.CERTIFICATE, name[:120], detail)
    told_value(row.key_id, _told_key(row), as_json=as_json)
    say(f"good until {found.ends:%Y-%m-%d}, thumbprint {found.sha1.upper()}")


@app.command()
@examples(
    "vmkiln principal federate APP_ID --issuer https://gitlab.example.org --subject project_path:images/web:ref:main"
)
def federate(
    app_id: AppIdArgument,
    issuer: Annotated[str, typer.Option(help="Whose tokens: https://token.actions.githubusercontent.com for GitHub.")],
    subject: Annotated[str, typer.Option(help="Their `sub`: repo:OWNER/REPOSITORY:ref:refs/heads/main for GitHub.")],
    audience: Annotated[list[str] | None, typer.Option(help="Their `aud`; Azure's usual one when left out.")] = None,
    name: Annotated[str, typer.Option(help="What it is for; one of the same name is replaced.")] = "federated",
    as_json: JsonOption = False,
) -> None:
    """Let a principal log in with tokens of another issuer, as workflows do; prints the key's id."""
    from vmkiln.api.identity.client_assertion import USUAL_AUDIENCE, credential_mistakes
    from vmkiln.preparation import opened_store
    from vmkiln.store.rows import KeyKind

    detail = {"issuer": issuer, "subject": subject, "audiences": audience or [USUAL_AUDIENCE]}
    if wrong := credential_mistakes(detail):
        raise InputError("; ".join(f"--{member.removesuffix('s')} {why}" for member, why in wrong))
    with opened_store(read_settings(), say) as store:
        principal = _find(store, app_id)
        with audited(store, KEY_WRITE, principal_id(principal.app_id), keyName=name, issuer=issuer, subject=subject):
            row = store.principals.add_key(principal.app_id, KeyKind.FEDERATED, name[:120], detail)
    told_value(row.key_id, _told_key(row), as_json=as_json)


@app.command()
@examples("vmkiln principal keys APP_ID")
def keys(app_id: AppIdArgument, as_json: JsonOption = False) -> None:
    """List the certificates and federated credentials of a principal."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        rows = store.principals.keys_of(_find(store, app_id).app_id)
    if as_json:
        answer([_told_key(row) for row in rows])
        return
    show_rows(
        ("KEY", "KIND", "NAME", "WHAT"),
        [
            (
                row.key_id,
                row.kind,
                row.name,
                str(row.detail.get("sha1") or f"{row.detail['issuer']} {row.detail['subject']}"),
            )
            for row in rows
        ],
        none="it has no key; `vmkiln principal certificate` and `federate` give it one",
    )


def _told_key(row: PrincipalKeyRow) -> dict[str, Any]:
    """A key for programs, without the certificate itself; pure."""
    shown = {name: value for name, value in row.detail.items() if name != "pem"}
    return {"id": row.key_id, "kind": row.kind, "name": row.name, **shown}


@app.command("remove-key")
@examples("vmkiln principal remove-key APP_ID KEY_ID")
def remove_key(
    app_id: AppIdArgument,
    key_id: Annotated[str, typer.Argument(help="The key's id.", autocompletion=key_ids)],
    as_json: JsonOption = False,
) -> None:
    """Take a certificate or federated credential away."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        found = _find(store, app_id)
        known = {row.key_id for row in store.principals.keys_of(found.app_id)}
        if key_id.lower() not in known:
            raise InputError(f"the principal has no key {key_id}", hint="`vmkiln principal keys` shows them")
        with audited(store, KEY_DELETE, principal_id(found.app_id), keyId=key_id.lower()):
            store.principals.remove_key(key_id)
    told_done(f"the principal's key {key_id.lower()} is gone", {"deleted": key_id.lower()}, as_json=as_json)


@app.command()
@examples("vmkiln principal token APP_ID --name laptop")
def token(
    app_id: AppIdArgument,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token that speaks for a principal; printed this once."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        found = _find(store, app_id)
        with audited(store, TOKEN_WRITE, principal_id(found.app_id), tokenName=name):
            made = store.principals.add_token(found.object_id, name)
    told_value(made, {"appId": found.app_id, "token": made}, as_json=as_json)


@app.command()
@examples("vmkiln principal delete APP_ID")
def delete(app_id: AppIdArgument, as_json: JsonOption = False) -> None:
    """Remove a principal with its secrets, tokens and roles; what it holds is refused at once."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        found = _find(store, app_id)
        with audited(store, PRINCIPAL_DELETE, principal_id(found.app_id), displayName=found.display_name):
            store.principals.remove(found.app_id)
    told_done(f"the principal {found.display_name} is gone", {"deleted": found.app_id}, as_json=as_json)


@role_app.command("assign")
@examples("vmkiln role assign Contributor APP_ID --scope /subscriptions/ID/resourceGroups/images")
def assign(
    role: Annotated[str, typer.Argument(help="Reader, Contributor or Owner.", autocompletion=role_names)],
    app_id: Annotated[
        str,
        typer.Argument(help="The application id; with --object the object id of anybody.", autocompletion=app_ids),
    ],
    scope: Annotated[str, typer.Option(help="/, /subscriptions/ID or /subscriptions/ID/resourceGroups/NAME.")],
    is_object: Annotated[bool, typer.Option("--object", help="The id is an object id, such as Entra ID's.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a principal a role."""
    from vmkiln.preparation import opened_store
    from vmkiln.rights.built_in_roles import CONTRIBUTOR, OWNER, READER

    known = {name.lower(): name for name in (READER, CONTRIBUTOR, OWNER)}
    if role.lower() not in known:
        raise InputError(f"`{role}` is not a role", hint=f"allowed are {', '.join(known.values())}")
    if is_object and not OBJECT_ID.fullmatch(app_id):
        raise InputError(f"`{app_id[:60]}` is no object id", hint="it has letters, digits and `-`, 64 at most")
    segments = scope.strip("/").split("/") if scope.strip("/") else []
    words = [word.lower() for word in segments[::2]]
    is_root = scope == "/"  # and not '', as a script has it whose variable is not set
    if (
        is_root is bool(words)
        or words not in ([], ["subscriptions"], ["subscriptions", "resourcegroups"])
        or len(segments) % 2
        or not all(segments)
    ):
        raise InputError(
            f"--scope: `{scope}` is not a scope",
            hint="allowed are /, /subscriptions/ID and /subscriptions/ID/resourceGroups/NAME",
        )
    with opened_store(read_settings(), say) as store:
        object_id = app_id if is_object else _find(store, app_id).object_id
        word, assignment_id = known[role.lower()], str(uuid.uuid4())
        given = role_id(f"/{scope.strip('/')}", assignment_id)
        with audited(store, ROLE_WRITE, given, role=word, principalId=object_id.lower()) as act:
            row = store.principals.assign(object_id, word, scope, assignment_id=assignment_id)
            act.resource_id = role_id(row.scope, row.assignment_id)  # of the one that was there, when there was one
        is_missing = len(words) == len(("subscriptions", "resourcegroups")) and store.resources.get(row.scope) is None
    told_value(row.assignment_id, _told_role(row), as_json=as_json)
    if is_missing:
        say(f"there is no resource group {segments[-1]} yet; the role is good once it is made")


@role_app.command("list")
@examples("vmkiln role list")
def list_roles(as_json: JsonOption = False) -> None:
    """List who has which role where."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        rows = store.principals.list_roles()
    if as_json:
        answer([_told_role(row) for row in rows])
        return
    show_rows(
        ("ASSIGNMENT", "OBJECT ID", "ROLE", "SCOPE"),
        [(row.assignment_id, row.object_id, row.role, row.scope) for row in rows],
        none="nobody has a role; `vmkiln role assign` gives one",
    )


def _told_role(row: RoleAssignmentRow) -> dict[str, str]:
    return {"id": row.assignment_id, "objectId": row.object_id, "role": row.role, "scope": row.scope}


@role_app.command("remove")
@examples("vmkiln role remove ASSIGNMENT_ID")
def remove_role(
    assignment_id: Annotated[str, typer.Argument(help="The assignment's id.", autocompletion=assignment_ids)],
    as_json: JsonOption = False,
) -> None:
    """Take a role away."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        rows = [row for row in store.principals.list_roles() if row.assignment_id == assignment_id.lower()]
        if not rows:
            raise InputError(f"there is no role assignment {assignment_id}", hint="`vmkiln role list` shows them")
        (row,) = rows
        about = role_id(row.scope, row.assignment_id)
        with audited(store, ROLE_DELETE, about, role=row.role, principalId=row.object_id):
            store.principals.unassign(assignment_id)
    text = f"{row.object_id} is no {row.role} of {row.scope} any more"
    told_done(text, {"deleted": row.assignment_id}, as_json=as_json)
