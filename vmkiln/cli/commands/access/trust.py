"""`vmkiln trust`: this user's browsers trust the authority of this machine's service, or do so no more.

*Leaves behind:* the authority's certificate in the browsers' own stores. *Undone by:* `vmkiln trust --undo`.
Source: certutil(1) of NSS, in whose databases Chromium, Chrome, Edge and Firefox keep the user's authorities on Linux.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say
from vmkiln.errors import CommandFailed, HostUnfit, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "certutil"
PACKAGE = "libnss3-tools"
CERTUTIL_SECONDS = 60.0
SHARED = ".pki/nssdb"  # of Chromium, Chrome and Edge
STORES = (SHARED, "snap/chromium/current/.pki/nssdb")
PROFILES = (".mozilla/firefox", ".config/mozilla/firefox", "snap/firefox/common/.mozilla/firefox")
ISSUES_FOR_TLS = "C,,"
OF_ALL_PROGRAMS = Path("/usr/local/share/ca-certificates")


@examples("vmkiln trust", "vmkiln trust --undo", "vmkiln trust --print")
def trust(
    is_undone: Annotated[bool, typer.Option("--undo", help="Take it out of the browsers again.")] = False,
    is_printed: Annotated[
        bool, typer.Option("--print", help="Change nothing, and print the commands that do it.")
    ] = False,
) -> None:
    """Have this user's browsers trust the authority of this machine's service.

    Its key lies in the state directory, for you alone: who has it can show these browsers any page as any site.
    """
    import asyncio
    import shlex
    import shutil

    authority = _authority()
    name = _name_of(authority)
    stores = found_stores(Path.home())
    whole = [Path.home() / SHARED, *stores] if Path.home() / SHARED not in stores and not is_undone else stores
    commands = [line for store in whole for line in _commands(store, name, authority, is_undone=is_undone)]
    if is_printed:
        typer.echo("\n".join(shlex.join(command) for command in commands))
    elif shutil.which(PROGRAM) is None:
        raise HostUnfit(
            f"`{PROGRAM}` is not installed, with which browsers are told what to trust",
            hint=f"install the package `{PACKAGE}`, or import {authority} in the browser's settings by hand",
        )
    else:
        asyncio.run(_done(whole, name, authority, is_undone=is_undone))
    say(f"for all programs of this machine, as root: {of_all_programs(authority, name, is_undone=is_undone)}")


def _authority() -> Path:
    """The authority of this machine's service. Raises: `InputError` where there is none to trust."""
    from vmkiln.api.identity.first_start import service_directory
    from vmkiln.cli.service.answers import ServiceAway

    settings = read_settings()
    if settings.tls_cert is not None:
        raise InputError(
            f"the service shows {settings.tls_cert}, which its own authority has not signed",
            hint="browsers have to trust who signed that one",
        )
    authority = service_directory(settings.home) / "tls" / "ca.pem"
    if not authority.is_file():
        raise ServiceAway("no service was started here yet, and none has an authority", hint="`vmkiln serve`")
    return authority


def _name_of(authority: Path) -> str:
    """What an authority is called in the browsers: by its fingerprint, so that one made anew is another."""
    import hashlib
    import ssl

    content = ssl.PEM_cert_to_DER_cert(authority.read_text())
    return f"vmkiln-{hashlib.sha256(content).hexdigest()[:16]}"


def found_stores(home: Path) -> list[Path]:
    """The folders below a home in which browsers keep what they trust."""
    profiles = [path.parent for folder in PROFILES for path in sorted((home / folder).glob("*/cert9.db"))]
    return [*(home / store for store in STORES if (home / store / "cert9.db").is_file()), *profiles]


def _commands(store: Path, name: str, authority: Path, *, is_undone: bool) -> list[list[str]]:
    """What is to be run for a store; pure but for a look whether it is there."""
    database = ["-d", f"sql:{store}"]
    if is_undone:
        return [[PROGRAM, "-D", "-n", name, *database]]
    made = [["mkdir", "-p", str(store)], [PROGRAM, "-N", "--empty-password", *database]]
    added = [PROGRAM, "-A", "-n", name, "-t", ISSUES_FOR_TLS, "-i", str(authority), *database]
    return [*(made if not (store / "cert9.db").exists() else ()), added]


async def _done(stores: Sequence[Path], name: str, authority: Path, *, is_undone: bool) -> None:
    """Change each store, and tell of each. Raises: the first `CommandFailed`, after all were tried."""
    from vmkiln.host import command

    failures = []
    for store in stores:
        try:
            listed = [PROGRAM, "-L", "-n", name, "-d", f"sql:{store}"]
            is_there = (await command.run(listed, timeout_seconds=CERTUTIL_SECONDS, check=False)).exit_status == 0
            if is_there is not is_undone:
                say(f"{store}: {'trusted' if is_there else 'not trusted'} already")
                continue
            for words in _commands(store, name, authority, is_undone=is_undone):
                await command.run(words, timeout_seconds=CERTUTIL_SECONDS)
        except CommandFailed as error:
            failures.append(error)
            say(f"{store}: {error.message}")
        else:
            say(f"{store}: {'not trusted any more' if is_undone else 'trusted'}; start a browser that is open anew")
    if failures:
        raise failures[0]
    if not stores:
        say("no browser of this user has it")


def of_all_programs(authority: Path, name: str, *, is_undone: bool) -> str:
    """The line of a shell, for root, that does it for curl, git and the rest (Debian, Ubuntu); pure."""
    import shlex

    place = OF_ALL_PROGRAMS / f"{name}.crt"
    if is_undone:
        return f"rm -f {place} && update-ca-certificates --fresh"
    return f"install -m 644 {shlex.quote(os.fspath(authority))} {place} && update-ca-certificates"
