"""Installs Azurite, in the one version that is known here, with its integrity checked and without its install scripts.

*Leaves behind:* the folder with Azurite in it, 200 MB. *Undone by:* removing it. *Safe to repeat:* yes, and at once.
Source: npm's documentation of `npm ci`: it installs what the lock file says, with its checksums, or nothing.
"""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from vmkiln.blobs.blob_server import PACKAGE, Azurite, find_azurite
from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.files.durable_file import make_folder, sync, sync_all
from vmkiln.files.private_folder import make_private_before_use
from vmkiln.host import command
from vmkiln.host.environment import for_npm
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

INSTALL_SECONDS = 900.0
MODULES = "node_modules"
FILES = ("package.json", "package-lock.json")
NPM = ("npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier")


async def install_azurite(directory: Path) -> Azurite:
    """Install into a folder. Raises: `HostUnfit` without node and npm, `CommandFailed` when npm cannot do it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise HostUnfit("Azurite needs node 20 or newer and npm", hint="install the packages `nodejs` and `npm`")
    has_waited = False

    def tell_waiting() -> None:
        nonlocal has_waited
        has_waited = True

    await off_loop(make_folder, directory)
    async with alone(directory, "install", waiting=tell_waiting):
        found = find_azurite(directory)
        if has_waited and found is not None and found.main.is_relative_to(directory.resolve()):
            return found
        await _installed(directory)
    found = find_azurite(directory)
    if found is None:
        raise HostUnfit(f"npm ended well, but there is no Azurite in {directory}")
    return found


async def _installed(directory: Path) -> None:
    """Install beside what is there and take its place at the end, so that it is never found half installed."""
    workplace, old = directory / ".installing", directory / ".replaced"
    await asyncio.to_thread(_removed, workplace, old)  # whoever was killed at this left them
    try:
        await off_loop(_prepare, workplace)
        await command.run(NPM, timeout_seconds=INSTALL_SECONDS, directory=workplace, environment=for_npm(os.environ))
        await off_loop(_put, directory, workplace, old)
    except CommandFailed as error:
        error.hint = "npm needs its registry; behind a proxy, set what `npm config` asks for"
        raise
    finally:
        await asyncio.shield(asyncio.to_thread(_removed, workplace, old))


def _prepare(workplace: Path) -> None:
    workplace.mkdir(mode=0o700)
    for name in FILES:
        shutil.copyfile(PACKAGE / name, workplace / name)


def _put(directory: Path, workplace: Path, old: Path) -> None:
    make_private_before_use(workplace)
    sync_all(workplace)
    with contextlib.suppress(FileNotFoundError):
        (directory / MODULES).rename(old)
    (workplace / MODULES).rename(directory / MODULES)
    sync(directory)


def _removed(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
