"""Azurite, the blob server of the storage accounts: found, started, watched, and started again when it ends.

It listens on loopback only, and asks for an account's key or a signature that ends soon (`azurite/access.cjs`). It dies
with the service.

*Leaves behind:* its data folder, which holds copies of what the staging folders hold. *Undone by:* leaving the block.
*Safe to repeat:* yes, on the same folder.
Source: docs/reference/clients.md#blob-server (options, start-up, memory); Azurite's own `--help`.
"""

import asyncio
import contextlib
import secrets
import shutil
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit, VmkilnError
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.files.private_folder import private_folder
from vmkiln.host import command
from vmkiln.lifetime.rounds import Rounds
from vmkiln.waiting.off_loop import off_loop

PROGRAM = "azurite-blob"
LOOPBACK = "127.0.0.1"
MOST_HEAP_MIB = 256  # it is at 115 MiB when idle, at 185 MiB after a large page blob
MOST_MIB = 10_240  # of one subscription, where no setting says
START_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0
LISTENS = b"successfully listens on"
PACKAGE = Path(__file__).parent / "azurite"
ACCOUNTS_SCRIPT, ACCESS_SCRIPT = PACKAGE / "accounts.cjs", PACKAGE / "access.cjs"


@dataclass(frozen=True)
class Azurite:
    """The installed blob server: the node that runs it, and its main script."""

    node: Path
    main: Path


@dataclass(frozen=True)
class BlobFolder:
    """Where the blob server keeps its things: its data, the accounts' keys, the port it had last."""

    directory: Path

    @property
    def data(self) -> Path:
        """Azurite's own folder."""
        return self.directory / "data"

    @property
    def keys(self) -> Path:
        """The accounts' keys (see `account_keys.py`)."""
        return self.directory / "accounts.json"

    @property
    def subscriptions(self) -> Path:
        """The subscription of each account of a user, for its bound."""
        return self.directory / "subscriptions.json"

    @property
    def own_word(self) -> Path:
        """What the service says with all it writes, for nobody else writes what builds' accounts hold."""
        return self.directory / "own-word"

    @property
    def port(self) -> Path:
        """The port it had last, so that a connection string stays good after a restart."""
        return self.directory / "port"


def find_azurite(install_directory: Path, *, search_path: str | None = None) -> Azurite | None:
    """Azurite as `vmkiln storage install` put it into a folder, else from PATH; none when it or node is missing."""
    node = shutil.which("node", path=search_path)
    ours = install_directory / "node_modules" / ".bin" / PROGRAM
    found = str(ours) if ours.exists() else shutil.which(PROGRAM, path=search_path)
    if node is None or found is None:
        return None
    return Azurite(Path(node), Path(found).resolve())


def arguments(azurite: Azurite, folder: BlobFolder, port: int) -> list[str | Path]:
    """The command line; pure."""
    return [
        azurite.node,
        f"--max-old-space-size={MOST_HEAP_MIB}",
        "--require",
        ACCOUNTS_SCRIPT,
        "--require",
        ACCESS_SCRIPT,
        azurite.main,
        "--blobHost",
        LOOPBACK,
        "--blobPort",
        str(port),
        "--location",
        folder.data,
        "--silent",
        "--disableTelemetry",
        "--skipApiVersionCheck",
        "--disableProductStyleUrl",  # an account is named by the path, never by the host
    ]


def environment(azurite: Azurite, folder: BlobFolder, most_mib: int = MOST_MIB) -> Mapping[str, str]:
    """What it is told by its environment: nothing of ours but where files are, and users' bound; pure."""
    return {
        "PATH": str(azurite.node.parent),
        "HOME": str(folder.directory),
        "VMKILN_ACCOUNTS": str(folder.keys),
        "VMKILN_SUBSCRIPTIONS": str(folder.subscriptions),
        "VMKILN_OWN_WORD": str(folder.own_word),
        "VMKILN_MOST_BLOB_BYTES": str(most_mib * 1024**2),
    }


def new_own_word(folder: BlobFolder) -> str:
    """A word for the next lives of the blob server, written where they read it."""
    word = secrets.token_hex(32)
    make_folder(folder.directory)
    write_whole(folder.own_word, word.encode())
    return word


def next_pause(pause_seconds: float, *, lived_seconds: float) -> float:
    """How long to wait before the next start; pure."""
    if lived_seconds >= STEADY_SECONDS:
        return FIRST_PAUSE_SECONDS
    return min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def free_port(wanted: int) -> int:
    """`wanted` when it is free on loopback, else another one."""
    for port in (wanted, 0):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((LOOPBACK, port))
            return int(trial.getsockname()[1])
    raise HostUnfit(f"no port is free on {LOOPBACK}")


def last_port(folder: BlobFolder) -> int:
    """The port it had last; 0 when it has had none."""
    try:
        return int(folder.port.read_text())
    except (FileNotFoundError, ValueError):
        return 0


async def supervise(
    azurite: Azurite,
    folder: BlobFolder,
    on_change: Callable[[str], None],
    *,
    rounds: Rounds | None = None,
    most_mib: int = MOST_MIB,
) -> None:
    """Keep the blob server up until cancelled; each of its lives is a round, and each end of one a failure.

    `on_change` gets its URL each time it is ready, and '' each time it has ended; it is called beside the loop.
    """
    await off_loop(private_folder, folder.data)
    if not folder.own_word.exists():
        await off_loop(new_own_word, folder)
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_SECONDS
    with (rounds or Rounds()).going_on("blob server", seconds=pause, is_needed=False) as lives:

        async def on_ready(url: str) -> None:
            lives.goes_well()
            await off_loop(on_change, url)

        while True:
            began = loop.time()
            with lives.tried():
                lives.begins()
                try:
                    reason = await _live_once(azurite, folder, on_ready, most_mib)
                finally:
                    await off_loop(on_change, "")
                raise VmkilnError(f"the blob server ended and is started again in {pause:g} s: {reason}")
            await asyncio.sleep(pause)
            pause = next_pause(pause, lived_seconds=loop.time() - began)


async def _live_once(
    azurite: Azurite, folder: BlobFolder, on_ready: Callable[[str], Awaitable[None]], most_mib: int
) -> str:
    """One life of the blob server; returns why it ended."""
    port = await off_loop(lambda: free_port(last_port(folder)))
    async with command.start(
        arguments(azurite, folder, port),
        stdout=command.PIPE,
        stderr=command.PIPE,
        environment=environment(azurite, folder, most_mib),
        directory=folder.data,
        umask=0o077,
    ) as process:
        assert process.stdout is not None  # both asked for just above
        assert process.stderr is not None
        errors = asyncio.create_task(_tail(process.stderr))
        try:
            try:
                async with asyncio.timeout(START_SECONDS):
                    is_up = await _listens(process.stdout)
            except TimeoutError:
                return f"it did not listen within {START_SECONDS:g} s"
            if is_up:
                await off_loop(write_whole, folder.port, f"{port}\n".encode())
                await on_ready(f"http://{LOOPBACK}:{port}")
                await _tail(process.stdout)
            status = await process.wait()
            return f"exit status {status}: {(await errors).strip()[-500:]}"
        finally:
            errors.cancel()


async def _listens(output: asyncio.StreamReader) -> bool:
    """Whether it says that it listens: its own word, for a connection could be to another's program."""
    while line := await output.readline():
        if LISTENS in line:
            return True
    return False


async def _tail(output: asyncio.StreamReader) -> str:
    tail = b""
    while chunk := await output.read(4096):
        tail = (tail + chunk)[-4096:]
    return tail.decode(errors="replace")
