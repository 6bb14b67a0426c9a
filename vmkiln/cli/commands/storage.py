"""`vmkiln storage`, the blob server of the storage accounts, and `vmkiln key`, what secrets are sealed with."""

from typing import Annotated, Any

import typer

from vmkiln.audit.act_names import SERVICE_KEY_WRITE, service_key_id
from vmkiln.cli.audited import audited
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, say, show_rows, told_value
from vmkiln.cli.template_options import JsonOption
from vmkiln.sealing.key_ring import Purpose

app = typer.Typer(no_args_is_help=True, help="The blob server of the storage accounts (Azurite, optional).")

key_app = typer.Typer(
    no_args_is_help=True, help="The keys that secrets are sealed with, and that tokens and images are signed with."
)


@app.command()
@examples("vmkiln storage install")
def install(as_json: JsonOption = False) -> None:
    """Install Azurite with npm, in an exact version with checked integrity; needs node 20 and the network."""
    import asyncio

    from vmkiln.blobs.blob_server_install import install_azurite

    directory = read_settings().azurite
    say(f"installing Azurite into {directory}")
    found = asyncio.run(install_azurite(directory))
    told_value(str(found.main), {"azurite": str(found.main)}, as_json=as_json)
    say("`vmkiln serve` uses it from its next start on")


@app.command()
@examples("vmkiln storage show")
def show(as_json: JsonOption = False) -> None:
    """Show which blob server there is, and where it is reached while the service is up."""
    from vmkiln.blobs.blob_endpoint import read_endpoint
    from vmkiln.blobs.blob_server import find_azurite

    settings = read_settings()
    found = find_azurite(settings.azurite)
    endpoint = read_endpoint(settings.blob_endpoint)
    if as_json:
        answer(
            {
                "azurite": str(found.main) if found else None,
                "blobs": endpoint.url if endpoint else None,
                "servedBy": str(endpoint.service) if endpoint else None,
            }
        )
        return
    typer.echo(f"Azurite: {found.main if found else 'not installed (`vmkiln storage install`)'}")
    typer.echo(f"blobs: {f'{endpoint.url} ({endpoint.service})' if endpoint else 'over the service only'}")


@key_app.command("list")
@examples("vmkiln key list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the keys, the newest of each kind last; with --json also what may be shown of them."""
    from vmkiln.preparation import opened_store
    from vmkiln.provisioning.resealing import sealed_with

    with opened_store(read_settings(), say) as store:
        counts = sealed_with(store)
        found: list[dict[str, Any]] = [
            {
                "id": key.key_id,
                "purpose": str(key.purpose),
                "created": moment_text(key.created),
                "isCurrent": key == keys[-1],
                "sealedTemplates": counts[key.key_id],
                "public": key.public,
            }
            for purpose in Purpose
            for keys in [store.seal.ring.keys(purpose)]
            for key in keys
        ]
    if as_json:
        answer(found)
        return
    show_rows(
        ("KEY", "PURPOSE", "CREATED", "USE", "SEALS"),
        [
            (
                told["id"],
                told["purpose"],
                f"{told['created'][:19]}Z",
                "current" if told["isCurrent"] else "older",
                f"{told['sealedTemplates']} templates" if told["purpose"] == Purpose.SECRETS else "",
            )
            for told in found
        ],
        none="there is no key yet; the first use makes one",
    )


@key_app.command()
@examples("vmkiln key rotate signing")
def rotate(
    purpose: Annotated[Purpose, typer.Argument(help="`secrets`, `signing` (tokens) or `images`.")],
    forget_older: Annotated[
        bool, typer.Option("--forget-older", help="Delete the older keys: what only they open or prove is void.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new key and use it from now on; what is sealed with older ones is sealed anew.

    A service that is up uses it at once. Tokens that older keys signed stay good until they end, and what they
    signed about images stays to be verified.
    """
    from vmkiln.api.identity import issuer
    from vmkiln.errors import InputError
    from vmkiln.preparation import opened_store
    from vmkiln.provenance import image_key
    from vmkiln.provisioning.resealing import reseal
    from vmkiln.run.held import lease
    from vmkiln.sealing.key_ring import new_secret

    settings = read_settings()
    with opened_store(settings, say) as store:
        ring = store.seal.ring
        with audited(store, SERVICE_KEY_WRITE, service_key_id(purpose), is_first=True):
            makers = {Purpose.SIGNING: issuer.new_material, Purpose.IMAGES: image_key.new_material}
            key = ring.rotate(purpose, makers.get(purpose, new_secret))
            count, leases, entered = 0, 0, list[str]()
            if purpose is Purpose.SECRETS:
                count = reseal(store)
                leases, entered = lease.reseal(settings, store)
            if forget_older and entered:
                raise InputError(
                    f"somebody is in the failed VM of run {entered[0][:8]}, which an older key opens: none was deleted",
                    hint="the same command again, behind that visit",
                )
            if forget_older:
                ring.forget_older(purpose)
    told = {"id": key.key_id, "purpose": str(purpose), "resealedTemplates": count, "resealedVms": leases}
    told_value(key.key_id, told, as_json=as_json)
    if count:
        say(f"{count} templates are sealed anew")
    if leases:
        say(f"{leases} failed VMs that are held are sealed anew")
    say(f"copy {ring.file} to where its back-up is, and to every host that has a copy of its own")
