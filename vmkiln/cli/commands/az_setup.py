"""`vmkiln az-setup`: a configuration of az of its own, with which plain `az` talks to the service.

The files are those that `az cloud register`, `az cloud set` and `az login --service-principal` write.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer
from vmkiln.cli.template_options import NO_SUBSCRIPTION, JsonOption
from vmkiln.errors import InputError, VmkilnError
from vmkiln.files.durable_file import write_whole
from vmkiln.files.private_folder import private_folder

if TYPE_CHECKING:
    from vmkiln.api.identity.first_start import Credentials


@examples("vmkiln az-setup --dir ./azure")
def az_setup(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where to write; the state directory's `az` when left out.")
    ] = None,
    cloud_name: Annotated[str, typer.Option(help="The cloud's name in az.")] = "vmkiln",
    endpoint: Annotated[str, typer.Option(help="The service's URL; the one of this machine when left out.")] = "",
    credentials: Annotated[
        Path | None,
        typer.Option(help="A file with tenant, appId and password (JSON), for another principal than the owner."),
    ] = None,
    subscription: Annotated[str, typer.Option(help="The subscription that az works in.")] = NO_SUBSCRIPTION,
    as_json: JsonOption = False,
) -> None:
    """Write a private az configuration and print the two exports after which plain `az` works."""
    import asyncio
    import shlex

    from vmkiln.cli.arm_client import answers

    try:
        url, exports = _set_up(directory, endpoint, credentials, cloud_name=cloud_name, subscription=subscription)
    except VmkilnError:
        if not as_json:  # else `eval "$(vmkiln az-setup)" && az ...` would go on with the user's own login
            typer.echo("false")
        raise
    if as_json:
        answer(exports)
        return
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo(f"az talks to {url} after these two lines; ~/.azure was not touched", err=True)
    if not endpoint and not asyncio.run(answers(url)):
        typer.echo("nobody answers there now; `vmkiln serve` starts the service", err=True)


def _set_up(
    directory: Path | None, endpoint: str, credentials: Path | None, *, cloud_name: str, subscription: str
) -> tuple[str, dict[str, str]]:
    """Write the configuration; gives the service's URL and what is to be exported. Raises: `InputError`."""
    from vmkiln.api.identity.first_start import owner_file, read_credentials, service_directory

    settings = read_settings()
    target = (directory or settings.home / "az").absolute()
    _refuse_users_own(target)
    url = (endpoint or _remembered(settings.home)).rstrip("/")
    login = read_credentials(credentials or owner_file(settings.home))
    private_folder(target)
    target.chmod(0o700)
    for name, text in files(url, login, cloud_name=cloud_name, subscription_id=subscription).items():
        write_whole(target / name, text.encode())
    bundle = target / "ca-bundle.pem"
    write_whole(bundle, _bundle(service_directory(settings.home) / "tls" / "ca.pem"))
    return url, {"AZURE_CONFIG_DIR": str(target), "REQUESTS_CA_BUNDLE": str(bundle)}


def _refuse_users_own(target: Path) -> None:
    own = Path(os.environ.get("HOME") or "~").expanduser() / ".azure"
    if target.resolve() == own.resolve() or own.resolve() in target.resolve().parents:
        raise InputError(f"--dir: {target} is az's own configuration", hint="choose an empty folder")


def _remembered(home: Path) -> str:
    from vmkiln.api.identity.first_start import service_directory
    from vmkiln.cli.service.answers import ServiceAway

    try:
        return (service_directory(home) / "endpoint").read_text().strip()
    except FileNotFoundError:
        raise ServiceAway("no service was started here yet", hint="`vmkiln serve`, or --endpoint URL") from None


def _bundle(authority: Path) -> bytes:
    """The authorities that the system trusts, and the service's own: REQUESTS_CA_BUNDLE replaces, it does not add."""
    import ssl

    system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    known = Path(system).read_bytes() if Path(system).exists() else b""
    return known + b"\n" + (authority.read_bytes() if authority.exists() else b"")


def files(url: str, login: Credentials, *, cloud_name: str, subscription_id: str) -> dict[str, str]:
    """az's configuration files by name; pure but for a new installation id."""
    import uuid

    cloud = {
        "endpoint_resource_manager": url,
        "endpoint_management": url,
        "endpoint_active_directory": url,
        "endpoint_active_directory_resource_id": url,
        "endpoint_active_directory_graph_resource_id": url,
        "endpoint_microsoft_graph_resource_id": url,
        "endpoint_vm_image_alias_doc": f"{url}/vmkiln/aliases.json",
        "suffix_storage_endpoint": "localhost",
    }
    profile: dict[str, Any] = {
        "installationId": str(uuid.uuid4()),
        "subscriptions": [
            {
                "id": subscription_id,
                "name": "vmkiln",
                "state": "Enabled",
                "user": {"name": login.app_id, "type": "servicePrincipal"},
                "isDefault": True,
                "tenantId": login.tenant_id,
                "environmentName": cloud_name,
                "homeTenantId": login.tenant_id,
                "managedByTenants": [],
            }
        ],
    }
    entry = {"client_id": login.app_id, "tenant": login.tenant_id, "client_secret": login.secret}
    core = {"instance_discovery": "false", "collect_telemetry": "no", "encrypt_token_cache": "false"}
    return {
        "config": _ini({"cloud": {"name": cloud_name}, "core": core}),
        "clouds.config": _ini({cloud_name: {**cloud, "subscription": subscription_id}}),
        "azureProfile.json": json.dumps(profile),
        "service_principal_entries.json": json.dumps([entry]),
    }


def _ini(sections: dict[str, dict[str, str]]) -> str:
    import configparser
    import io

    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
