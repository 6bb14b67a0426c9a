"""`vmkiln storage install` and `show`: the blob server of the storage accounts."""

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.output import say

app = typer.Typer(no_args_is_help=True, help="The blob server of the storage accounts (Azurite, optional).")


@app.command()
def install() -> None:
    """Install Azurite with npm, in an exact version with checked integrity; needs node 20 and the network."""
    import asyncio

    from vmkiln.blobs.blob_server_install import install_azurite

    directory = read_settings().azurite
    say(f"installing Azurite into {directory}")
    found = asyncio.run(install_azurite(directory))
    typer.echo(str(found.main))
    say("`vmkiln serve` uses it from its next start on")


@app.command()
def show() -> None:
    """Show which blob server there is, and where it is reached while the service is up."""
    from vmkiln.blobs.blob_endpoint import read_endpoint
    from vmkiln.blobs.blob_server import find_azurite

    settings = read_settings()
    found = find_azurite(settings.azurite)
    typer.echo(f"Azurite: {found.main if found else 'not installed (`vmkiln storage install`)'}")
    endpoint = read_endpoint(settings.blob_endpoint)
    typer.echo(f"blobs: {f'{endpoint.url} ({endpoint.service})' if endpoint else 'over the service only'}")
