"""The command `vmkiln`: registers the subcommands, turns errors into messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from vmkiln.cli import invocation
from vmkiln.cli.commands import (
    az_setup,
    build,
    doctor,
    host,
    image,
    login,
    principal,
    run,
    serve,
    settings,
    staging,
    storage,
    template,
    worker,
)
from vmkiln.errors import VmkilnError

# where Debian keeps system programs; an ordinary user's PATH lacks them
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

app = typer.Typer(
    name="vmkiln",
    help="Build virtual-machine images from Azure Image Builder templates on this machine, each build isolated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"vmkiln {version('vmkiln')}")
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Tell on standard error what is done, with each program that is started.")
    ] = False,
) -> None:
    """Options that come before the subcommand."""
    invocation.begin(is_verbose=verbose)


app.command("build")(build.build)
app.command("plan")(build.plan)
app.command("validate")(build.validate)
app.add_typer(run.app, name="run")
app.add_typer(staging.app, name="staging")
app.add_typer(storage.app, name="storage")
app.add_typer(template.app, name="template")
app.add_typer(image.app, name="image")
app.command("prepare")(image.prepare)
app.command("serve")(serve.serve_command)
app.command("worker")(worker.worker)
app.add_typer(host.app, name="host")
app.command("az-setup")(az_setup.az_setup)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.add_typer(login.context_app, name="context")
app.command("rest")(login.rest)
app.add_typer(principal.app, name="principal")
app.add_typer(principal.role_app, name="role")
app.command("doctor")(doctor.doctor)
app.command("settings")(settings.settings)


def search_path(path: str) -> str:
    """PATH with the folders of system programs added at its end; pure."""
    present = [folder for folder in path.split(os.pathsep) if folder]
    return os.pathsep.join([*present, *(folder for folder in SYSTEM_FOLDERS if folder not in present)])


def report(error: VmkilnError) -> int:
    """Print what went wrong and what to do next on standard error; returns the exit code."""
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong input, 3 unfit host, 130 cancelled."""
    os.environ["PATH"] = search_path(os.environ.get("PATH", ""))
    try:
        app(args=None if arguments is None else list(arguments), prog_name="vmkiln")
    except VmkilnError as error:
        sys.exit(report(error))
