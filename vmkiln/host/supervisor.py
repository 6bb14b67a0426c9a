"""The supervisor: the first process inside a run's own user, network, pid and mount namespaces.

It is started by `host/copies/launching.py`, speaks JSON lines over one inherited unix socket, and starts programs
inside the namespaces on request. It is process 1 of its pid namespace, so when it ends, for any reason, the kernel
kills everything it started (pid_namespaces(7)). It ends when the socket closes or its own parent dies.

Requests are `{"id", "do": "run" | "write" | "bind" | "start" | "finish" | "stop" | "facts" | "usage" | "keep_memory",
...}`; each gets one answer with the same `id`. What is started is a program, or `main()` of a `module` of ours, which
begins as a copy of this process; `finish` sends that SIGTERM. One that was started and ended by itself is announced by
`{"ended": name, "status": n, "output": tail}`; one that was started with `told` is heard: each line of its standard
output is passed on as `{"said": name, "line": text}`.
"""

import asyncio
import base64
import contextlib
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
from vmkiln.host.confinement import descriptors, kernel_calls, process_facts
from vmkiln.host.confinement.descriptors import Descriptor
from vmkiln.host.confinement.jail import MOUNTED_AT, Jail, enter
from vmkiln.host.copies import forking
from vmkiln.host.copies.forking import Copy
from vmkiln.host.saved import memory_file, sealed_copy
from vmkiln.host.usage.process_tree import ProcessTree

NAMESPACES = (
    kernel_calls.CLONE_NEWUSER
    | kernel_calls.CLONE_NEWNET
    | kernel_calls.CLONE_NEWNS
    | kernel_calls.CLONE_NEWPID
    | kernel_calls.CLONE_NEWIPC
    | kernel_calls.CLONE_NEWUTS
)
OUTPUT_TAIL_BYTES = 4096
MOST_MESSAGE_BYTES = 16 * 1024**2  # of a line, in both directions: more than any rule set or listing has


def main(descriptor: int) -> int:
    """Enter new namespaces, wait until the parent mapped the ids, then serve as process 1 of the pid namespace."""
    control = socket.socket(fileno=descriptor)
    try:
        kernel_calls.unshare(NAMESPACES)
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
    sys.stderr.write(f"{error.strerror}\n")
    return 1


def _prepare_mounts() -> None:
    kernel_calls.mount("none", "/", None, kernel_calls.MS_REC | kernel_calls.MS_PRIVATE)
    no_programs = kernel_calls.MS_NOSUID | kernel_calls.MS_NODEV | kernel_calls.MS_NOEXEC
    kernel_calls.mount("proc", "/proc", "proc", no_programs)
    # /run holds the host's own sockets (and nft and ip want a writable folder there)
    kernel_calls.mount("tmpfs", "/run", "tmpfs", kernel_calls.MS_NOSUID | kernel_calls.MS_NODEV, "mode=0755,size=1m")
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
        self._trees: dict[str, ProcessTree] = {}
        self._copies: dict[str, Copy] = {}
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
                        ends_anyway=True,  # at the latest with this process
                    )
                    answer |= {
                        "status": completed.exit_status,
                        "stdout": base64.b64encode(completed.stdout).decode(),
                        "stderr": base64.b64encode(completed.stderr).decode(),
                    }
                case "write" | "bind":
                    await asyncio.to_thread(_changed, request)
                case "start":
                    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._running[request["name"]] = asyncio.create_task(self._keep(request, started))
                    await started
                case "finish":
                    self._finish(request["name"])
                case "stop":
                    task = self._running.pop(request["name"], None)
                    if task is not None:
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                case "facts":
                    answer["facts"] = self._facts(request["name"])
                case "usage":
                    answer["usage"] = self._usage()
                case "keep_memory":
                    inside = f"/proc/{self._process_ids[request['name']]}/root{request['path']}"
                    key, is_told = bytes.fromhex(request["key"]), request["digest"]
                    kept = functools.partial(_kept_memory, inside, request["target"], key, is_told=is_told)
                    answer["digest"] = await asyncio.to_thread(kept)
                case unknown:
                    answer["error"] = f"unknown request `{unknown}`"
        except (VmkilnError, OSError, KeyError) as error:
            answer["error"] = str(error)
        except Exception as error:  # who asked waits for an answer, whatever it is
            answer["error"] = repr(error)
        self.tell(answer)

    def _finish(self, name: str) -> None:
        if (running := self._copies.get(name)) is not None:
            running.tell(signal.SIGTERM)

    def _facts(self, name: str) -> dict[str, Any] | None:
        """What the kernel says of a program, and our own namespaces; None when it has ended."""
        process_id = self._process_ids.get(name)
        try:
            program = None if process_id is None else process_facts.of(process_id)
        except (FileNotFoundError, ProcessLookupError):
            program = None
        return None if program is None else {"program": program, "supervisor": process_facts.namespaces()}

    def _usage(self) -> dict[str, tuple[float, int]]:
        """What each program that runs takes: seconds of a processor since it began, and resident KiB."""
        usages = {name: tree.look() for name, tree in self._trees.items()}
        return {name: (usage.cpu_seconds, usage.resident_kib) for name, usage in usages.items()}

    async def _keep(self, request: dict[str, Any], started: asyncio.Future[None]) -> None:
        name, is_heard = request["name"], bool(request.get("told"))
        try:
            async with _started(request, is_heard=is_heard) as process:
                self._process_ids[name], self._trees[name] = process.pid, ProcessTree(process.pid)
                if isinstance(process, Copy):
                    self._copies[name] = process
                started.set_result(None)
                tail, _ = await asyncio.gather(_tail(process.stderr), self._pass_on(name, process.stdout))
                status = await process.wait()
        except (VmkilnError, OSError, KeyError, ValueError, ImportError) as error:
            if not started.done():
                started.set_exception(error)
                return
            status, tail = -1, str(error).encode()  # whoever waits for its end is told that it cannot be seen
        finally:
            self._process_ids.pop(name, None)
            self._trees.pop(name, None)
            self._copies.pop(name, None)
        self._running.pop(name, None)
        self.tell({"ended": name, "status": status, "output": tail.decode(errors="replace")})

    async def _pass_on(self, name: str, said: asyncio.StreamReader | None) -> None:
        """Tell each line; who says more than is taken waits. Raises: `ValueError` for a line that is too long."""
        while said is not None and (line := await said.readline()):
            self.tell({"said": name, "line": line.decode(errors="replace").rstrip("\n")})
            await self._writer.drain()


def _changed(request: dict[str, Any]) -> None:
    """Texts written to files, or a folder made visible at a path. Raises: `OSError`."""
    if request["do"] == "bind":
        os.makedirs(request["target"], exist_ok=True)  # noqa: PTH103 (the supervisor is small)
        kernel_calls.mount(request["source"], request["target"], None, kernel_calls.MS_BIND)
    for path, text in request.get("files", {}).items():
        Path(path).write_text(text)


def _kept_memory(path: str, target: str, key: bytes, *, is_told: bool) -> str:
    """Copy the RAM of a VM that stands still to a new file, and return its digest if it is to be told.

    With a key it is sealed, which finds a change by itself: there is no digest then. Raises: `OSError`.
    """
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        copy = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if not key and is_told:
                return memory_file.copied(source, copy)
            if key:
                sealed_copy.sealed(source, copy, key)
            else:
                memory_file.copy(source, copy)
            return ""
        finally:
            os.close(copy)
    finally:
        os.close(source)


async def _tail(said: asyncio.StreamReader | None) -> bytes:
    """The end of what a program writes, when it has ended."""
    tail = b""
    while said is not None and (chunk := await said.read(4096)):
        tail = (tail + chunk)[-OUTPUT_TAIL_BYTES:]
    return tail


@contextlib.asynccontextmanager
async def _started(request: dict[str, Any], *, is_heard: bool) -> AsyncIterator[asyncio.subprocess.Process | Copy]:
    """A program; a confined one with its descriptors, in its jail, and with no environment but what it is given."""
    arguments, confined, module = request["arguments"], request.get("confined"), request.get("module")
    stdout = command.PIPE if is_heard else command.DEVNULL
    jail = None if confined is None else confined["jail"]
    # none for stand-ins of tests; whoever asks for a VM looks at what holds it, and refuses
    if jail is not None and (jail.get("memory") or {}).get("key"):
        sealed_copy.cipher(sealed_copy.new_key())  # loaded before the fork: behind it, other threads' locks stay taken
    before = functools.partial(enter, Jail.read(jail)) if jail is not None else None
    async with contextlib.AsyncExitStack() as stack:
        if module is not None:
            yield await stack.enter_async_context(forking.started(module, arguments, is_heard=is_heard, before=before))
        elif confined is None:
            yield await stack.enter_async_context(command.start(arguments, stdout=stdout, stderr=command.PIPE))
        else:
            with descriptors.opened([Descriptor.read(described) for described in confined["descriptors"]]) as numbers:
                starting = command.start(
                    descriptors.with_numbers(arguments, numbers),
                    stdout=stdout,
                    stderr=command.PIPE,
                    environment=confined["environment"],
                    pass_fds=tuple(numbers.values()),
                    before_exec=before,
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
    sys.exit(main(int(sys.argv[1])))
