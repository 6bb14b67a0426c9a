"""Which ids a run's user namespace gets, and how its supervisor is talked to."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit, VmkilnError
from vmkiln.host import supervisor
from vmkiln.host.confinement.subordinate_ids import IdRange
from vmkiln.host.confinement.vm_ids import SERVICES, VmIds
from vmkiln.host.namespace import LOST, Ended, Namespace, id_map_arguments
from vmkiln.host.supervisor import MOST_MESSAGE_BYTES
from vmkiln.run_failures import NamespaceLost


def test_id_zero_inside_is_the_user_outside() -> None:
    arguments = id_map_arguments("newuidmap", 42, own_id=1001, subordinate=IdRange(100000, 65536))
    assert arguments == ["newuidmap", "42", "0", "1001", "1", "1", "100000", "65536"]


def test_without_a_range_only_the_user_is_mapped() -> None:
    assert id_map_arguments("newgidmap", 42, own_id=5, subordinate=None) == ["newgidmap", "42", "0", "5", "1"]


@contextlib.asynccontextmanager
async def a_supervisor() -> AsyncIterator[tuple[Namespace, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A namespace, and the supervisor's end of its socket."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    asked, answers = await asyncio.open_connection(sock=theirs)
    namespace = Namespace(1, reader, writer)
    listening = asyncio.create_task(namespace.listen())
    async with asyncio.timeout(10):
        yield namespace, asked, answers
    listening.cancel()
    answers.close()
    writer.close()


def answered(request: bytes) -> bytes:
    return json.dumps({"id": json.loads(request)["id"], "status": 0, "stdout": "", "stderr": ""}).encode() + b"\n"


async def test_an_answer_that_nobody_waits_for_hinders_no_other() -> None:
    async with a_supervisor() as (namespace, asked, answers):
        cancelled = asyncio.create_task(namespace.run(["nft", "list", "ruleset"]))
        late = answered(await asked.readline())
        cancelled.cancel()
        await asyncio.wait([cancelled])
        next_one = asyncio.create_task(namespace.run(["true"]))
        answers.write(late + answered(await asked.readline()))
        assert (await next_one).exit_status == 0


@pytest.mark.parametrize("last_word", [b"", b"not JSON\n"])
async def test_whoever_waits_is_told_when_the_supervisor_is_lost(last_word: bytes) -> None:
    async with a_supervisor() as (namespace, asked, answers):
        waiting = asyncio.create_task(namespace.run(["true"]))
        program: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        namespace._programs["vm"] = program
        await asked.readline()
        assert not namespace.is_lost
        answers.write(last_word)
        answers.close()
        with pytest.raises(NamespaceLost):
            await waiting
        assert await program == Ended(-9, LOST)
        assert namespace.is_lost
        with pytest.raises(NamespaceLost):
            await namespace.run(["true"])


async def test_a_message_that_is_too_large_is_refused_and_loses_nothing() -> None:
    async with a_supervisor() as (namespace, asked, answers):
        with pytest.raises(VmkilnError, match="at most"):
            await namespace.run(["tee"], stdin=bytes(MOST_MESSAGE_BYTES))
        next_one = asyncio.create_task(namespace.run(["true"]))
        answers.write(answered(await asked.readline()))
        assert (await next_one).exit_status == 0


async def test_the_kernels_files_are_written_without_a_program(tmp_path: Path) -> None:
    async with a_served_namespace() as namespace:
        await namespace.write({str(tmp_path / "ip_forward"): "1"})
        assert (tmp_path / "ip_forward").read_text() == "1"
        with pytest.raises(VmkilnError, match="no_folder"):
            await namespace.write({str(tmp_path / "no_folder/file"): "1"})


@contextlib.asynccontextmanager
async def a_served_namespace() -> AsyncIterator[Namespace]:
    """A namespace whose requests the supervisor's own server answers, in this process and without namespaces."""
    ours, theirs = socket.socketpair()
    heard, telling = await asyncio.open_connection(sock=theirs, limit=MOST_MESSAGE_BYTES)
    server = supervisor._Server(telling)

    async def serve() -> None:
        while line := await heard.readline():
            server.accept(json.loads(line))

    serving = asyncio.create_task(serve())
    reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_MESSAGE_BYTES)
    namespace = Namespace(1, reader, writer)
    listening = asyncio.create_task(namespace.listen())
    async with asyncio.timeout(30):
        yield namespace
    listening.cancel()
    writer.close()
    await asyncio.wait([serving, listening])
    telling.close()


async def test_the_largest_message_goes_both_ways() -> None:
    """Whoever asked used to lose the whole namespace, or to wait for ever."""
    async with a_served_namespace() as namespace:
        large = bytes(MOST_MESSAGE_BYTES * 5 // 8)
        assert len((await namespace.run(["cat"], stdin=large)).stdout) == len(large)
        with pytest.raises(VmkilnError, match="more than a message takes"):
            await namespace.run(["head", "-c", str(MOST_MESSAGE_BYTES), "/dev/zero"])
        with pytest.raises(VmkilnError, match="TypeError"):
            await namespace._ask(do="run", arguments=None, stdin="", timeout_seconds=1)
        assert (await namespace.run(["true"])).exit_status == 0


async def test_each_line_of_a_program_is_heard_while_it_runs() -> None:
    heard: list[str] = []
    async with a_served_namespace() as namespace:
        script = ["sh", "-c", "echo one; echo two; read -r more; echo $more"]
        async with namespace.start("talker", script, on_line=heard.append) as ended:
            assert (await ended).status == 0
    assert heard == ["one", "two", ""]


async def test_a_line_that_never_ends_ends_the_program() -> None:
    async with a_served_namespace() as namespace:
        endless = ["sh", "-c", "tr '\\0' x </dev/zero"]
        async with namespace.start("talker", endless, on_line=lambda _: None) as ended:
            assert "limit" in (await ended).output


async def test_a_service_of_a_run_shares_its_id_with_no_vm() -> None:
    reader, writer = asyncio.StreamReader(), None
    namespace = Namespace(1, reader, writer, VmIds(100, 0))  # type: ignore[arg-type]
    services = [namespace.service_id(number) for number in range(SERVICES)]
    assert len(set(services)) == SERVICES
    assert not set(services) & {namespace.next_vm_id() for _ in range(100)}
    with pytest.raises(ValueError, match="services"):
        namespace.service_id(SERVICES)
    with pytest.raises(HostUnfit, match="subordinate"):
        Namespace(1, reader, writer).service_id(0)  # type: ignore[arg-type]


async def test_what_each_program_takes_is_told_until_it_ends() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass\ninput()\n"
    async with a_served_namespace() as namespace:
        assert await namespace.usage() == {}
        async with namespace.start("busy", ["sh", "-c", f"python3 -c '{busy}' < /dev/zero; sleep 60"]):
            async with asyncio.timeout(20):
                while (usage := (await namespace.usage())["busy"]).cpu_seconds < 0.1:  # noqa: ASYNC110 (nobody tells us)
                    await asyncio.sleep(0.05)
            assert usage.resident_kib > 0
        assert await namespace.usage() == {}
