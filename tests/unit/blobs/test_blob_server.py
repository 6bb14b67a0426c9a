"""The blob server: found, started on loopback with nothing but its own, started again when it ends."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from vmkiln.blobs import blob_server
from vmkiln.blobs.blob_server import (
    Azurite,
    BlobFolder,
    arguments,
    environment,
    find_azurite,
    free_port,
    last_port,
    next_pause,
    supervise,
)


def program(file: Path, text: str = "exit 0") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_the_installed_one_comes_before_that_of_the_path_and_node_is_needed(tmp_path: Path) -> None:
    ours, path = tmp_path / "ours", tmp_path / "bin"
    assert find_azurite(ours, search_path=str(path)) is None
    theirs = program(path / "azurite-blob")
    assert find_azurite(ours, search_path=str(path)) is None
    node = program(path / "node")
    assert find_azurite(ours, search_path=str(path)) == Azurite(node, theirs)
    main = program(ours / "node_modules/azurite/main.js")
    (ours / "node_modules/.bin").mkdir()
    (ours / "node_modules/.bin/azurite-blob").symlink_to(main)
    assert find_azurite(ours, search_path=str(path)) == Azurite(node, main)


def test_it_listens_on_loopback_and_tells_nobody(tmp_path: Path) -> None:
    azurite, place = Azurite(Path("/usr/bin/node"), Path("/a/main.js")), BlobFolder(tmp_path)
    words = [str(word) for word in arguments(azurite, place, 1234)]
    assert words[words.index("--blobHost") + 1] == "127.0.0.1"
    assert words[words.index("--blobPort") + 1] == "1234"
    assert {"--disableTelemetry", "--skipApiVersionCheck", "--silent"} <= set(words)
    assert "AZURITE_ACCOUNTS" not in environment(azurite, place)


def test_pauses_grow_until_a_life_was_long(tmp_path: Path) -> None:
    assert next_pause(1, lived_seconds=0.1) == 2
    assert next_pause(50, lived_seconds=0.1) == 60
    assert next_pause(60, lived_seconds=3600) == 1


def test_the_last_port_is_taken_again_unless_it_is_taken(tmp_path: Path) -> None:
    assert last_port(BlobFolder(tmp_path)) == 0
    port = free_port(0)
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) not in {0, port}


async def test_it_is_started_again_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_server, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(blob_server, "LONGEST_PAUSE_SECONDS", 0.01)
    script = 'echo x >> "$HOME/starts"; echo "Azurite Blob service successfully listens on it"; exit 3'
    azurite = Azurite(program(tmp_path / "node", script), tmp_path / "main.js")
    place = BlobFolder(tmp_path / "blobs")
    said, loop = list[str](), asyncio.get_running_loop()
    three = asyncio.Event()

    def on_change(url: str) -> None:
        said.append(url)
        if sum(map(bool, said)) == 3:
            loop.call_soon_threadsafe(three.set)

    task = asyncio.create_task(supervise(azurite, place, on_change))
    await asyncio.wait_for(three.wait(), 20)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    ports = {url for url in said if url}
    assert ports == {f"http://127.0.0.1:{last_port(place)}"}, "a connection string stays good"
    assert said[1] == "", "it is said when nobody serves"
    assert said[-1] == ""


async def test_one_that_never_listens_is_not_said_to_be_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_server, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(blob_server, "LONGEST_PAUSE_SECONDS", 0.01)
    azurite = Azurite(program(tmp_path / "node", 'echo x >> "$HOME/starts"; exit 78'), tmp_path / "main.js")
    place = BlobFolder(tmp_path / "blobs")
    said, loop = list[str](), asyncio.get_running_loop()
    twice = asyncio.Event()

    def on_change(url: str) -> None:
        said.append(url)
        if len(said) == 2:
            loop.call_soon_threadsafe(twice.set)

    task = asyncio.create_task(supervise(azurite, place, on_change))
    await asyncio.wait_for(twice.wait(), 20)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert set(said) == {""}
    assert (place.directory / "starts").read_text().count("x") >= 2
