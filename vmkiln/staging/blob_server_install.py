"""Installs Azurite, in the one version that is known here, with its integrity checked and without its install scripts.

*Leaves behind:* the folder with Azurite in it, 200 MB. *Undone by:* removing it. *Safe to repeat:* yes.
Source: npm's documentation of `npm ci`: it installs what the lock file says, with its checksums, or nothing.
"""

import shutil
from pathlib import Path

from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.host import command
from vmkiln.staging.blob_server import PACKAGE, Azurite, find_azurite

INSTALL_SECONDS = 900.0
FILES = ("package.json", "package-lock.json")
NPM = ("npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier")


async def install_azurite(directory: Path) -> Azurite:
    """Install into a folder. Raises: `HostUnfit` without node and npm, `CommandFailed` when npm cannot do it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise HostUnfit("Azurite needs node 20 or newer and npm", hint="install the packages `nodejs` and `npm`")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FILES:
        shutil.copyfile(PACKAGE / name, directory / name)
    try:
        await command.run(NPM, timeout_seconds=INSTALL_SECONDS, directory=directory)
    except CommandFailed as error:
        error.hint = "npm needs its registry; behind a proxy, set what `npm config` asks for"
        raise
    found = find_azurite(directory)
    if found is None:
        raise HostUnfit(f"npm ended well, but there is no Azurite in {directory}")
    return found
