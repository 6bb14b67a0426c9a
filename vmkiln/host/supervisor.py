"""The supervisor: the first process inside a run's own user, network, pid and mount namespaces.

It is started by `host/namespace.py`, speaks JSON lines over one inherited unix socket, and starts programs inside the
namespaces on request. It is process 1 of its pid namespace, so when it ends, for any reason, the kernel kills
everything it started (pid_namespaces(7)). It ends when the socket closes or its own parent dies.

Requests are `{"id", "do": "run" | "start" | "stop" | "facts", ...}`; each gets one answer with the same `id`. A
program that was started and ended by itself is announced by `{"ended": name, "status": n, "output": tail}`.
"""

import asyncio
import base64
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.host import command
from vmkiln.host.confinement import descriptors, process_facts
from vmkiln.host.confinement.descriptors import Descriptor
from vmkiln.host.confinement.jail import MOUNTED_AT, Jail, enter

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
OUTPUT_TAIL_BYTES = 4096
MOST_MESSAGE_BYTES = 16 * 1024**2  # of a line, in both directions: more than any rule set or listing has
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Enter new namespaces, wait until the parent mapped the ids, then serve as process 1 of the pid namespace."""
    control = socket.socket(fileno=int(sys.argv[1]))
    flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
    try:
        _call(_libc.unshare, flags)
    except OSError as error:
        return _refused(error)
    control.sendall(b'{"unshared": true}\n')
    if not control.recv(64).startswith(b"mapped"):
        return 1
    command.die_with_parent()
    child = os.fork()
    if child == 0:
        command.die_with_parent()
        _prepare_mounts()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(control))
        os._exit(0)
    control.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) != 0


def _refused(error: OSError) -> int:
    sys.stderr.write(f"unshare: {error.strerror}\n")
    return 1


def _call(function: Any, *arguments: Any) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prepare_mounts() -> None:
    _call(_libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _call(_libc.mount, b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    # /run holds the host's own sockets (and nft and ip want a writable folder there)
    _call(_libc.mount, b"tmpfs", b"/run", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755,size=1m")
    # a user namespace of one's own is where most ways out of a process begin, and nothing of a run needs another
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    Path(MOUNTED_AT).mkdir()  # every jail mounts its own root there, in a mount namespace of its own
    socket.sethostname("vmkiln")


class _Server:
    """Answers requests; owns every program it started."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._running: dict[str, asyncio.Task[None]] = {}
        self._process_ids: dict[str, int] = {}
        self._answers: set[asyncio.Task[None]] = set()

    def tell(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > MOST_MESSAGE_BYTES:
            error = f"what it wrote is more than a message takes, {MOST_MESSAGE_BYTES} bytes"
            line = json.dumps({"id": message["id"], "error": error}).encode() + b"\n"
        self._writer.write(line)

    def accept(self, request: dict[str, Any]) -> None:
        task = asyncio.create_task(self._answer(request))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            match request["do"]:
                case "run":
                    completed = await command.run(
                        request["arguments"],
                        stdin=base64.b64decode(request["stdin"]),
                        timeout_seconds=request["timeout_seconds"],
                        check=False,
                    )
                    answer |= {
                        "status": completed.exit_status,
                        "stdout": base64.b64encode(completed.stdout).decode(),
                        "stderr": base64.b64encode(completed.stderr).decode(),
                    }
                case "start":
                    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._running[request["name"]] = asyncio.create_task(
                        self._keep(request["name"], request["arguments"], request.get("confined"), started)
                    )
                    await started
                case "stop":
                    task = self._running.pop(request["name"], None)
                    if task is not None:
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                case "facts":
                    answer["facts"] = self._facts(request["name"])
                case unknown:
                    answer["error"] = f"unknown request `{unknown}`"
        except (VmkilnError, OSError, KeyError) as error:
            answer["error"] = str(error)
        except Exception as error:  # who asked waits for an answer, whatever it is
            answer["error"] = repr(error)
        self.tell(answer)

    def _facts(self, name: str) -> dict[str, Any] | None:
        """What the kernel says of a program, and our own namespaces; None when it has ended."""
        process_id = self._process_ids.get(name)
        try:
            program = None if process_id is None else process_facts.of(process_id)
        except (FileNotFoundError, ProcessLookupError):
            program = None
        return None if program is None else {"program": program, "supervisor": process_facts.namespaces()}

    async def _keep(
        self, name: str, arguments: list[str], confined: dict[str, Any] | None, started: asyncio.Future[None]
    ) -> None:
        try:
            async with _started(arguments, confined) as process:
                self._process_ids[name] = process.pid
                started.set_result(None)
                tail = b""
                assert process.stderr is not None  # asked for just above
                while chunk := await process.stderr.read(4096):
                    tail = (tail + chunk)[-OUTPUT_TAIL_BYTES:]
                status = await process.wait()
        except (VmkilnError, OSError, KeyError, ValueError) as error:
            if not started.done():
                started.set_exception(error)
                return
            status, tail = -1, str(error).encode()  # whoever waits for its end is told that it cannot be seen
        finally:
            self._process_ids.pop(name, None)
        self._running.pop(name, None)
        self.tell({"ended": name, "status": status, "output": tail.decode(errors="replace")})


@contextlib.asynccontextmanager
async def _started(arguments: list[str], confined: dict[str, Any] | None) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program; a confined one with its descriptors, in its jail, and with no environment but what it is given."""
    if confined is None:
        async with command.start(arguments, stdout=command.DEVNULL, stderr=command.PIPE) as process:
            yield process
        return
    jail = confined["jail"]  # none for stand-ins of tests; whoever asks for a VM looks at what holds it, and refuses
    before_exec = functools.partial(enter, Jail.read(jail)) if jail is not None else None
    async with contextlib.AsyncExitStack() as stack:
        with descriptors.opened([Descriptor.read(described) for described in confined["descriptors"]]) as numbers:
            starting = command.start(
                descriptors.with_numbers(arguments, numbers),
                stdout=command.DEVNULL,
                stderr=command.PIPE,
                environment=confined["environment"],
                pass_fds=tuple(numbers.values()),
                before_exec=before_exec,
            )
            process = await stack.enter_async_context(starting)
        yield process


async def _serve(control: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=control, limit=MOST_MESSAGE_BYTES)
    server = _Server(writer)
    server.tell({"ready": True})
    while line := await reader.readline():
        server.accept(json.loads(line))


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    sys.exit(main())
