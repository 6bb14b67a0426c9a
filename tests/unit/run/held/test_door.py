"""A held run is entered by one at a time and let go by its door; a run that is not held has none."""

import asyncio
import itertools
import shlex
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.audit.act_names import RUN_RELEASE, RUN_SHELL, run_id_of
from vmkiln.cli.commands.build_options import BuildOptions, OnError
from vmkiln.cli.commands.runs.holding import ssh_arguments
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.host.qemu import Accelerator
from vmkiln.run.held import door, shell_group, visitor
from vmkiln.run.held.holding import Hold, when_failed
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import container_group, run_directory
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow

RUN = "0123456789abcdef"


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(door.OPEN)
    while chunk := await reader.read(100):
        writer.write(chunk.upper())
        await writer.drain()


def say(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(100)


async def test_one_enters_at_a_time_and_another_after_that(tmp_path: Path) -> None:
    async with door.opened(tmp_path, private_key="key", session=echoed):
        assert door.is_held(tmp_path)
        first = await asyncio.to_thread(door.knock, tmp_path, door.ENTER)
        assert await asyncio.to_thread(say, first, b"words") == b"WORDS"
        with pytest.raises(InputError, match="somebody is in the failed VM already"):
            await asyncio.to_thread(door.knock, tmp_path, door.ENTER)
        first.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(first.recv, 1) == b"", "it is over for both"
        first.close()
        (await asyncio.to_thread(door.knock, tmp_path, door.ENTER)).close()


async def test_a_released_run_is_let_go_and_nothing_of_its_door_is_left(tmp_path: Path) -> None:
    async with door.opened(tmp_path, private_key="key", session=echoed) as released:
        assert (tmp_path / door.KEY).stat().st_mode & 0o777 == 0o600
        (await asyncio.to_thread(door.knock, tmp_path, door.RELEASE)).close()
        async with asyncio.timeout(60):
            await released.wait()
        inside = await asyncio.to_thread(door.knock, tmp_path, door.ENTER)
    assert await asyncio.to_thread(inside.recv, 1) == b"", "whoever was in is out"
    inside.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="is not held"):
        door.knock(tmp_path, door.ENTER)


async def test_whoever_is_let_in_as_the_door_is_shut_gets_no_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, closed, callbacks = [], [], []
    start = asyncio.start_unix_server

    async def noted(knocked: Any, *arguments: Any, **options: Any) -> asyncio.Server:
        callbacks.append(knocked)
        return await start(knocked, *arguments, **options)

    async def session(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        entered.append("somebody")

    def one() -> "asyncio.Task[None]":
        reader = asyncio.StreamReader()
        reader.feed_data(door.ENTER)
        return asyncio.create_task(callbacks[0](reader, SimpleNamespace(close=lambda: closed.append("closed"))))

    monkeypatch.setattr(asyncio, "start_unix_server", noted)
    async with door.opened(tmp_path, private_key="key", session=session):
        await one()
        assert entered == ["somebody"]
    await one()
    assert (entered, closed) == (["somebody"], ["closed", "closed"])


@pytest.mark.parametrize("error", [ValueError("no number"), OSError("no file"), ZeroDivisionError()])
async def test_a_visit_that_fails_is_in_the_log_and_the_next_is_let_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def fails(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(door.OPEN)
        await writer.drain()
        raise error

    async with door.opened(tmp_path, private_key="key", session=fails):
        for _ in range(2):
            with await asyncio.to_thread(door.knock, tmp_path, door.ENTER) as inside:
                assert await asyncio.to_thread(inside.recv, 1) == b""
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error, error]


async def test_other_words_open_no_door(tmp_path: Path) -> None:
    async with door.opened(tmp_path, private_key="key", session=echoed) as released:
        for word in (b"please\n", b"x" * 1000):
            with pytest.raises(InputError, match="is not held"):
                await asyncio.to_thread(door.knock, tmp_path, word)
        assert not released.is_set()


async def test_a_run_that_does_not_answer_is_waited_for_with_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"{RUN}.woken"
    folder.mkdir()
    monkeypatch.setattr(door, "ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(folder / door.SOCKET))
        stopped.listen()
        with pytest.raises(InputError, match="failed VM of run 01234567 does not answer"):
            await asyncio.to_thread(door.knock, folder, door.ENTER)
    async with door.opened(tmp_path, private_key="key", session=echoed):
        monkeypatch.setattr(door, "ANSWER_SECONDS", 30)
        with await asyncio.to_thread(door.knock, tmp_path, door.ENTER) as inside:
            assert inside.gettimeout() is None, "who is in may say nothing for as long as it likes"


def test_a_run_that_nobody_asked_to_hold_gets_no_shell() -> None:
    unused: Any = None

    def hold(seconds: int) -> Hold:
        return Hold(unused, unused, unused, "key", seconds, print)

    assert when_failed(hold(0)) is None
    assert when_failed(hold(60)) is not None


def test_no_container_group_of_packers_has_the_port_of_the_shell(tmp_path: Path) -> None:
    group = container_group.ContainerGroup(tmp_path, tmp_path, tmp_path, tmp_path / "input", Accelerator.TCG)
    subnet = SimpleNamespace(tap="tap0", mac="52:54:00:00:00:01")
    network: Any = SimpleNamespace(container_group_subnet=subnet)
    packers = container_group.describe(group, network, name="container-build-vm")
    own = shell_group.describe(group, network, tmp_path / "held")
    assert shell_group.PORT not in [channel.name for channel in packers.channels]
    sockets = [channel.socket for channel in own.channels]
    assert own.channels == tuple(replace(one, socket=sockets[at]) for at, one in enumerate(packers.channels))
    assert len(own.channels) + 1 == shell_group.NUMBER, "the next one, which it gets when it runs"
    assert own.disks[1].path == tmp_path / "held"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    settings = Settings(tmp_path)
    facts: Any = {"attempt": 1}
    row = RunRow(RUN, "web", "rg", {}, RunState.RUNNING, "", "", "", "", facts, utc_now(), None)
    with opened(settings.database) as store, run_directory.locked(settings.runs, RUN):
        store.runs.start(row)
        yield settings


@pytest.mark.parametrize("command", ["shell", "release"])
def test_a_run_that_goes_on_and_is_not_held_cannot_be_entered(settings: Settings, command: str) -> None:
    with run_directory.held(settings.runs, RUN) as folder:
        done = CliRunner().invoke(app, ["run", command, RUN])
        assert isinstance(done.exception, InputError)
        assert "is not held" in str(done.exception)
        assert list(folder.iterdir()) == []


async def test_entering_and_letting_go_are_acts_on_record(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "programs/ssh"
    ssh.parent.mkdir()
    ssh.write_text("#!/bin/sh\nexit 3\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")

    def call(command: str) -> int:
        return CliRunner().invoke(app, ["run", command, RUN]).exit_code

    with run_directory.held(settings.runs, RUN) as folder:
        async with door.opened(folder, private_key="key", session=echoed) as released:
            statuses = [await asyncio.to_thread(call, command) for command in ("shell", "release")]
            async with asyncio.timeout(60):
                await released.wait()
    assert statuses == [3, 0], "the exit status is that of what ran inside"
    with opened(settings.database) as store:
        query = AuditQuery("", utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
        acts = store.audit.find(query, limit=10)
    assert {(act.operation, act.status) for act in acts} == {(RUN_SHELL, "Succeeded"), (RUN_RELEASE, "Succeeded")}
    assert {act.resource_id for act in acts} == {run_id_of("rg", "web", RUN)}


def test_a_hold_has_an_hour_unless_told_otherwise_and_its_time_needs_one() -> None:
    asked = BuildOptions(Path("t.json"), on_error=OnError.HOLD)
    assert asked.held_seconds == 3600
    assert replace(asked, hold_for=5).held_seconds == 300
    assert BuildOptions(Path("t.json")).held_seconds == 0
    with pytest.raises(InputError, match="--hold-for"):
        assert BuildOptions(Path("t.json"), hold_for=5).held_seconds


def test_ssh_takes_nothing_of_this_machine_along_and_its_way_is_quoted() -> None:
    words = ssh_arguments(Path("/a b/50%"), ["-v", "id"], wants_terminal=False)
    options = dict(word.split("=", 1) for before, word in itertools.pairwise(words) if before == "-o")
    assert (options["ForwardAgent"], options["ClearAllForwardings"]) == ("no", "yes")
    assert words[-4:] == ["--", "packer@held-vm", "-v", "id"]
    assert shlex.split(options["ProxyCommand"].replace("%%", "%"))[-2:] == [visitor.__name__, "/a b/50%"]
    assert words[words.index("-i") + 1] == f"/a b/50%%/{door.KEY}"
