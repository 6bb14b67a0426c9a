"""The command `vmkiln`: lists the subcommands, turns errors into messages and exit codes.

Help and completion start at once: only what is called is imported, and `rich` only by what draws with it.
"""

import errno
import os
import re
import sys

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them reads the name of every package
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import typer

from vmkiln import __version__
from vmkiln.cli import invocation
from vmkiln.cli.lazy_group import LazyGroup, Listed
from vmkiln.cli.output import answer, error_data, say, told_error
from vmkiln.errors import RunCanceled, StorageFailed, StorageFull, VmkilnError
from vmkiln.harmless_text import harmless_lines
from vmkiln.lifetime import closed_output, end_signals

# where Debian keeps system programs; an ordinary user's PATH lacks them
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# what the system says of files, of a disk without room, and of what was to be reached; a file's name says it, too
OF_STORAGE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
              errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE}  # fmt: skip
UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
INTERRUPTED = told_error(RunCanceled.code, "interrupted", exit_code=RunCanceled.exit_code)
LEAST_COLUMNS = 40  # a table in fewer loses its letters, and in none all of them
COMPLETION = "_VMKILN_COMPLETE"  # set by the shell's completion function


class Commands(LazyGroup):
    """Every command, in the order of the help."""

    listed: ClassVar = {
        "build": Listed(
            "build",
            "build",
            "Build an image from a template, isolated, and publish it; exit code 4 when only a part was published.",
        ),
        "plan": Listed(
            "templates.planning",
            "plan",
            "Show what a build would do: template, staging resources, network, Packer template. Starts nothing.",
        ),
        "validate": Listed(
            "templates.checking",
            "validate",
            "Check a template: every mistake, and whatever keeps it from being built here. Starts nothing.",
        ),
        "init": Listed(
            "templates.editing",
            "init",
            "Write an image template to begin with; on a terminal it asks for what the options leave out.",
        ),
        "schema": Listed(
            "templates.editing",
            "schema",
            "Print the JSON Schema of an image template, with which an editor completes and checks one.",
        ),
        "explain": Listed(
            "templates.editing",
            "explain",
            "Explain a field of an image template, or an error code: what it is, what is allowed, what is the default.",
        ),
        "prepare": Listed(
            "images.image",
            "prepare",
            "Make ready what builds need: the container image, the accelerator's verdict, platform images.",
        ),
        "serve": Listed(
            "serve", "serve_command", "Serve Azure's Image Builder interface over HTTPS; Ctrl-C ends it and cleans up."
        ),
        "worker": Listed(
            "worker",
            "worker",
            "Build what a fleet's service accepted, on this host; Ctrl-C ends it, and its runs wait for another host.",
        ),
        "open": Listed("access.open", "open_portal", "Open the portal with a link that logs in once."),
        "trust": Listed(
            "access.trust", "trust", "Have this user's browsers trust the authority of this machine's service."
        ),
        "az-setup": Listed(
            "az_setup",
            "az_setup",
            "Write a private az configuration and print the two exports after which plain `az` works.",
        ),
        "login": Listed("access.login", "login", "Log in to a service, and use it from now on."),
        "logout": Listed("access.login", "logout", "Forget a context with what it logs in with."),
        "rest": Listed(
            "access.login",
            "rest",
            "Ask the service in use, or without one this machine, and print the answer; waits for operations to end.",
        ),
        "doctor": Listed(
            "doctor", "doctor", "Check that this machine can run builds, and say what to do where it cannot."
        ),
        "setup": Listed(
            "setup", "setup", "Check this machine, build a first image, and say what comes next; it may be run again."
        ),
        "support-bundle": Listed(
            "support_bundle",
            "support_bundle",
            "Write doctor's findings, settings, logs, a run's events and plan to one file, without secrets.",
        ),
        "settings": Listed("settings", "settings", "Show the settings that are in force, and where each comes from."),
        "history": Listed(
            "runs.history",
            "history",
            "List the runs of the service and of the command line with their durations, or what each template came to.",
        ),
        "run": Listed("runs.run_commands", "app", "Runs: past and live ones, their phases, their logs."),
        "staging": Listed("staging", "app", "Staging resource groups and what is in them."),
        "storage": Listed("storage", "app", "The blob server of the storage accounts (Azurite, optional)."),
        "template": Listed(
            "templates.template_commands", "app", "Image templates of the service in use, or of this machine."
        ),
        "image": Listed("images.image", "app", "Images that were built, and the platform images they start from."),
        "cache": Listed("cache", "app", "What is kept of builds, for later builds of the same template."),
        "host": Listed("host", "app", "Build hosts: who is at work, what they have, how one is taken out."),
        "notice": Listed("notice", "app", "Notice by webhook and e-mail of what happened."),
        "database": Listed("database", "app", "The database: from this machine's SQLite file to PostgreSQL."),
        "context": Listed("access.login", "context_app", "The services that the command line knows."),
        "principal": Listed(
            "access.principal", "app", "Service principals that may log in to the service of this machine."
        ),
        "key": Listed(
            "storage", "key_app", "The keys that secrets are sealed with, and that tokens and images are signed with."
        ),
        "role": Listed(
            "access.principal", "role_app", "Roles: Reader, Contributor or Owner of /, a subscription or a group."
        ),
    }


app = typer.Typer(
    name="vmkiln",
    cls=Commands,
    help="Build virtual-machine images from Azure Image Builder templates on this machine, each build isolated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"vmkiln {__version__}")
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


def search_path(path: str) -> str:
    """PATH with the folders of system programs added at its end; pure."""
    present = [folder for folder in path.split(os.pathsep) if folder]
    return os.pathsep.join([*present, *(folder for folder in SYSTEM_FOLDERS if folder not in present)])


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, also one that cannot be read to its end; pure."""
    return "--json" in arguments[: arguments.index("--") if "--" in arguments else None]


def report(error: VmkilnError, *, as_json: bool = False) -> int:
    """Print what went wrong and what to do next on standard error; returns the exit code.

    `as_json`: on standard output, too, unless what was asked for is there already.
    """
    if as_json and not invocation.is_answered():
        answer(error_data(error))
    say(f"error: {harmless_lines(error.message)}")  # what failed may be named by somebody else
    if error.hint:
        say(f"hint: {harmless_lines(error.hint)}")
    return error.exit_code


def plain_usage(message: str) -> str:
    """What is wrong with a command line, without the words that typer's checks have for programs; pure."""
    shorter = re.sub(r", unable to parse [^:]*$", "", message)
    return re.sub(r"\AInput should be ", "it must be ", re.sub(r"\AValue error, ", "", shorter))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong input, 3 unfit host, 4 partly published, 130 cancelled.

    141 when nobody reads any more what it prints.
    """
    closed_output.watch()
    try:
        with end_signals.as_interrupts():
            _run(arguments)
    except KeyboardInterrupt:  # before a command has begun, or behind it
        _tell(INTERRUPTED, as_json=wants_json(sys.argv[1:] if arguments is None else arguments))
        sys.exit(RunCanceled.exit_code)
    except SystemExit:
        if closed_output.is_terminal_gone():
            sys.exit(RunCanceled.exit_code)
        if why := closed_output.problem():
            typer.echo(f"error: standard output takes nothing more: {why}", err=True)
            sys.exit(1)
        if closed_output.is_closed():
            sys.exit(closed_output.STATUS)
        raise


def _run(arguments: Sequence[str] | None) -> None:
    invocation.collect_rarely()
    invocation.begin(is_verbose=False)
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = wants_json(given)
    os.environ["PATH"] = search_path(os.environ.get("PATH", ""))
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns) < LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(LEAST_COLUMNS)
    if COMPLETION in os.environ:
        # typer would draw each help text with rich, which takes as long as everything else
        sys.modules["rich"] = None  # type: ignore[assignment] # the import system's own word for: there is none
    try:
        status = app(args=given, prog_name="vmkiln", standalone_mode=False)
    except VmkilnError as error:
        sys.exit(report(error, as_json=as_json))
    except OSError as error:
        told = None if invocation.is_verbose() else _of_the_system(error)
        if told is None:
            raise
        sys.exit(report(told, as_json=as_json))
    except typer.Abort:
        _tell(told_error("Aborted", "not confirmed", exit_code=1), as_json=as_json)
        typer.echo("Aborted!", err=True)
        sys.exit(1)
    except Exception as error:
        if not hasattr(error, "exit_code") or not hasattr(error, "format_message"):
            raise
        # a command line that cannot be read; what is raised for it is no public name of typer
        if hasattr(error, "message"):
            error.message = plain_usage(error.message)
        _tell(told_error("BadUsage", error.format_message(), exit_code=error.exit_code), as_json=as_json)
        error.show()  # type: ignore[attr-defined]
        sys.exit(error.exit_code)
    if status == RunCanceled.exit_code:
        _tell(INTERRUPTED, as_json=as_json)
    sys.exit(status or 0)


def _of_the_system(error: OSError) -> VmkilnError | None:
    """What the system refused and nobody knew the meaning of, in words; None for what is a fault of ours. Pure."""
    where = "".join(f": {name}" for name in (error.filename, error.filename2) if name is not None)
    from vmkiln.files.durable_file import FULL

    text = f"{error.strerror or str(error) or type(error).__name__}{where}"
    verbosely = "`vmkiln --verbose ...` tells where"
    has_code = not _is_of_a_library(error)  # theirs are other numbers
    if has_code and error.errno in FULL:
        return StorageFull(text, hint=f"make room on that disk, then do it again; {verbosely}")
    if has_code and (where or error.errno in OF_STORAGE):
        hint = "is it there?" if error.errno == errno.ENOENT else "may this user read and write there?"
        return StorageFailed(text, hint=f"{hint} {verbosely}")
    if not has_code or isinstance(error, ConnectionError | TimeoutError) or error.errno in UNREACHABLE:
        from vmkiln.cli.service.answers import ServiceAway

        return ServiceAway(text, hint=f"is the network there, and what was to answer? {verbosely}")
    return None


def _is_of_a_library(error: OSError) -> bool:
    """Whether an error comes from the search of a name's address, or from TLS, which short commands do not import."""
    kinds = (("socket", "gaierror"), ("socket", "herror"), ("ssl", "SSLError"))
    return any(isinstance(error, getattr(sys.modules[place], kind)) for place, kind in kinds if place in sys.modules)


def _tell(error: dict[str, Any], *, as_json: bool) -> None:
    if as_json and not invocation.is_answered():
        answer(error)
