"""The real Packer, our forwarder, and the WinRM double on 127.0.0.1: a build of Windows steps, watched as runs are."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from certificates import a_certificate
from orphan_guard import WITH_US, group_is_killed, when_killed
from packer_bench import free_port
from stand_ins.windows_double import Double, opened
from stand_ins.windows_machine import WindowsMachine

from vmkiln.host.command import start
from vmkiln.packer.packer_output import Line, PackerEvent, PackerOutput
from vmkiln.packer.packer_template import INPUT
from vmkiln.packer.step_watch import StepWatch
from vmkiln.packer.windows_template import DEBUG_LOG, WinRmConnection, windows_input
from vmkiln.windows.steps import WindowsStep

FORWARDER = Path(__file__).parents[2] / "vmkiln/images/container_forwarder.pl"
PASSWORD = "aB3" * 8


@dataclass
class Ended:
    """How Packer's work ended: its exit status as the watch sees it, what was told, and what the VM's journal has."""

    status: int
    watch: StepWatch
    events: list[PackerEvent]
    machine: WindowsMachine
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All lines of the log."""
        return "\n".join(event.text for event in self.events if isinstance(event, Line))


@dataclass
class WindowsBench:
    """A folder, a machine, and the way to it. The forwarder has a port of its own for each build."""

    folder: Path
    machine: WindowsMachine = field(default_factory=WindowsMachine)
    login_seconds: int = 60
    password: str = PASSWORD
    certificate: str = ""  # another than the machine's, as PEM
    is_listening: bool = True
    seconds: int = 120

    async def build(self, *steps: WindowsStep) -> Ended:
        """Run Packer as the container instance does; it ends with the watch, as a run's does."""
        self.folder.mkdir(exist_ok=True, parents=True)
        own, key = await asyncio.to_thread(a_certificate, self.folder)
        with (
            tempfile.TemporaryDirectory(prefix="p-") as short,  # Packer's sockets lie there: at most 108 letters
            opened(self.machine, certificate=str(own), key=str(key), user="packer", password=PASSWORD) as double,
            forwarded(self.folder, double.port) as port,
        ):
            if not self.is_listening:
                double.close()
            return await self._watched(steps, double, port, self.certificate or own.read_text(), short)

    async def _watched(
        self, steps: Sequence[WindowsStep], double: Double, port: int, certificate: str, short: str
    ) -> Ended:
        content = windows_input(steps, WinRmConnection(port, "packer", self.password, certificate, self.login_seconds))
        double.machine.disc |= {file.name: file.source.read_bytes() for file in content.disc if file.source}
        place = self.folder / "input"
        place.mkdir()
        for file in content.packer.files:
            target = place / file.name
            target.write_bytes(file.source.read_bytes() if file.source else (file.text or "").encode())
        template = place / "template.json"
        template.write_text(template.read_text().replace(INPUT, str(place)))
        debug_log = self.folder / "debug.log"
        own = content.packer.text_of("environment").replace(INPUT, str(place)).replace(DEBUG_LOG, str(debug_log))
        environment = dict(line.split("=", 1) for line in own.splitlines()) | {"PATH": os.environ["PATH"]}
        environment |= {"HOME": str(self.folder), "PACKER_CONFIG_DIR": str(self.folder), "TMPDIR": short}
        environment |= {"PACKER_CACHE_DIR": str(self.folder / "cache")}
        arguments = content.packer.text_of("arguments").replace(INPUT, str(place)).split()[1:]
        watch, output = StepWatch("build-vm", steps), PackerOutput()
        ended = Ended(-1, watch, [], double.machine)
        loop = asyncio.get_running_loop()
        is_off: asyncio.Future[None] = loop.create_future()
        double.machine.on_off = lambda: loop.call_soon_threadsafe(is_off.set_result, None)
        double.machine.on_reset = lambda: loop.call_soon_threadsafe(lambda: ended.said.extend(watch.restarted()))

        async def read(said: asyncio.StreamReader | None) -> None:
            assert said is not None
            while chunk := await said.read(65536):
                for event in output.feed(chunk.replace(str(place).encode(), INPUT.encode())):
                    ended.events.append(event)
                    ended.said += watch.note(event)

        command = [*WITH_US, "packer", *arguments]
        async with start(
            command, environment=environment, directory=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as packer:
            with when_killed(*group_is_killed(packer.pid)):
                reading = asyncio.create_task(read(packer.stdout))
                try:
                    ends = {reading, watch.broken, watch.untrue, is_off}
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=self.seconds)
                finally:
                    is_to_end = packer.returncode is None and not reading.done()
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(packer.pid, signal.SIGKILL if is_to_end else 0)
                    await reading
                    status = await packer.wait()
        if status and debug_log.exists():
            refusals = [line for line in debug_log.read_bytes().splitlines() if b"WinRM connection err" in line]
            for event in output.feed(b"".join(line + b"\n" for line in refusals[-1:])):
                ended.events.append(event)
                watch.note(event)
        ended.events += output.finish()
        ended.status = watch.ended(status)
        return ended


@contextlib.contextmanager
def forwarded(folder: Path, target: int) -> Iterator[int]:
    """Our forwarder before a port of this machine; its own port."""
    while True:
        port = free_port()  # which another may take in the meantime
        with (folder / "forwarder.log").open("wb") as log:
            command = [*WITH_US, "perl", str(FORWARDER), str(port), "127.0.0.1", str(target)]
            process = subprocess.Popen(command, stderr=log, start_new_session=True)
        if listens(process, port):
            break
    try:
        with when_killed(*group_is_killed(process.pid)):
            yield port
    finally:
        process.kill()
        process.wait()


def listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether a program comes to listen on a port; not when it ends before."""
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return process.poll() is None
        time.sleep(0.02)
    return False


def needs_packer() -> None:
    """Skip where a program is missing."""
    if missing := [program for program in ("packer", "perl") if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
