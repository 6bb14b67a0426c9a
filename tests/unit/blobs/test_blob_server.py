"""The blob server: found, started on loopback with nothing but its own, started again when it ends."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path

import pytest

from vmkiln.blobs import blob_server
from vmkiln.blobs.blob_server import (
    ACCESS_SCRIPT,
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
from vmkiln.host import command


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
    assert {"--disableTelemetry", "--skipApiVersionCheck", "--silent", "--disableProductStyleUrl"} <= set(words)
    assert "AZURITE_ACCOUNTS" not in environment(azurite, place)


NOW = "2026-01-01T00:00:00Z"
SIGNED = "/account/logs/a.log?sv=2021-08-06&sr=b&sp=r&sig=abc"
ACCESS = """
const [script, now, asked] = process.argv.slice(1);
const { refusal } = require(script);
const all = JSON.parse(asked).map(([method, url, headers]) => refusal(method, url, headers, Date.parse(now)));
console.log(JSON.stringify(all.map((found) => (found ? found[1] : ""))));
"""
PUBLIC, TOO_LONG, ODD = "PublicAccessNotPermitted", "AuthenticationFailed", "InvalidQueryParameterValue"
REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/account/logs/a.log", {"authorization": "SharedKey account:abc"}, ""),
    ("GET", f"{SIGNED}&se=2026-01-01T01:00:00Z", {}, ""),
    ("GET", f"{SIGNED}&se=2026-01-08T00%3A00%3A00Z", {}, ""),
    ("GET", f"{SIGNED}&se=2026-01-02", {}, ""),
    ("OPTIONS", "/account/logs/a.log", {}, ""),
    ("GET", "/account/logs/a.log", {}, PUBLIC),
    ("HEAD", "/account/logs?restype=container&comp=list", {}, PUBLIC),
    ("PUT", "/account/c?restype=container", {"authorization": "x", "x-ms-blob-public-access": "blob"}, PUBLIC),
    ("GET", f"{SIGNED}&se=2026-01-08T00:00:01Z", {}, TOO_LONG),
    ("GET", f"{SIGNED}&se=2051-01-01T00:00:00Z", {}, TOO_LONG),
    ("GET", f"{SIGNED}&se=2051-01-01T00:00:00Z", {"authorization": "x"}, TOO_LONG),
    ("GET", f"{SIGNED}&se=2026-01-02&se=2051-01-01", {}, TOO_LONG),
    ("GET", f"{SIGNED}&SE=2026-01-02&se=2051-01-01", {}, TOO_LONG),
    ("GET", f"{SIGNED}&se=2026-01-02T00%253A00%253A00Z", {}, TOO_LONG),
    ("GET", SIGNED, {}, TOO_LONG),
    ("GET", f"{SIGNED}&si=policy", {}, TOO_LONG),
    ("GET", "/account/?comp=list&ss=b&srt=sco&sp=rl&se=2051-01-01&sig=a", {}, TOO_LONG),
    ("GET", "/account/?comp=list&ss=b&srt=sco&sp=rl&se=2051-01-01&sig[]=a", {"authorization": "x"}, ODD),
    ("GET", "/account/?comp=list&ss=b&srt=sco&sp=rl&se=2051-01-01&sig%5B0%5D=a", {"authorization": "x"}, ODD),
]


async def test_nobody_reads_without_a_key_or_a_signature_that_ends_soon() -> None:
    asked = json.dumps([request[:3] for request in REQUESTS])
    found = await command.run(["node", "-e", ACCESS, ACCESS_SCRIPT, NOW, asked], timeout_seconds=60)
    told = json.loads(found.stdout)
    assert dict(zip(map(str, REQUESTS), told, strict=True)) == {str(item): item[3] for item in REQUESTS}


SCRIPT = f"const {{ accountOf, copying, fullness, isOwn }} = require({json.dumps(str(ACCESS_SCRIPT))});"
VICTIM, OWN = "a" * 24, "127.0.0.1:10000"


async def told_by_script(program: str) -> object:
    found = await command.run(["node", "-e", f"{SCRIPT}console.log(JSON.stringify({program}))"], timeout_seconds=60)
    return json.loads(found.stdout)


async def test_a_copy_is_allowed_by_the_blob_server_itself_and_nobody_else() -> None:
    """Azurite asks the server of the Host header whether a source may be read: anybody's, when it may be chosen."""
    hosts = [OWN, "127.0.0.1:9999", "localhost:10000", "evil.example:10000", "scripts1.blob.localhost:10000", ""]
    asked = json.dumps([{"host": host, "x-ms-copy-source": f"http://{host}/{VICTIM}/scripts/x"} for host in hosts])
    told = await told_by_script(f"{asked}.map((headers) => (copying(headers, 10000) || [0])[0])")
    assert told == [0, 403, 403, 403, 403, 403]
    assert (
        await told_by_script('copying({ host: "evil.example" }, 10000) || "nothing is copied"') == "nothing is copied"
    )


async def test_what_a_builds_account_holds_is_written_by_the_service_alone() -> None:
    encoded = "".join(f"%{ord(letter):02x}" for letter in VICTIM)
    own = [f"/{VICTIM}/scripts/x", f"/{VICTIM}?comp=list", f"/{encoded}/x", f"//{VICTIM}/x", f"/{VICTIM}-secondary/x"]
    own += [f"http://{OWN}/{VICTIM}/x", f"/{VICTIM}\\x", f"/{VICTIM}%2Fscripts/x", f"/{VICTIM}#x", "/", "*"]
    users = ["/scripts1/steps/x", "/scripts1?comp=list", "/abc"]
    program = f"{json.dumps([*own, *users])}.map((url) => (fullness(accountOf(url), 1, 1e12, 0) || [0])[0])"
    assert await told_by_script(program) == [403] * len(own) + [0] * len(users)
    words = [[{"x-vmkiln-own": word}, "abcd"] for word in ("abcd", "abce", "abc", "")] + [[{}, ""]]
    told = await told_by_script(f"{json.dumps(words)}.map(([headers, word]) => isOwn(headers, Buffer.from(word)))")
    assert told == [True, False, False, False, False]


ROOM = f"""
const {{ Room, held, onDisk }} = require({json.dumps(str(ACCESS_SCRIPT.with_name("room.cjs")))});
const seen = {{ byAccount: new Map([["one", 60], ["{VICTIM}", 500]]), subscriptions: {{ one: "s", two: "s" }},
  disk: 100, total: 1000 }};
const room = new Room(() => seen, 100);
const take = (account, length, now) => {{ const found = room.take(account, length, now); return found[0] || found; }};
"""


async def told_of_room(program: str) -> object:
    text = f"{ROOM}console.log(JSON.stringify({program}))"
    found = await command.run(["node", "-e", text], timeout_seconds=60)
    return json.loads(found.stdout)


async def test_the_accounts_of_a_subscription_have_one_bound() -> None:
    program = """(() => {
      const said = [take("two", 41, 0)], first = take("two", 30, 0);
      said.push(take("one", 11, 5), take("one", 0, 5) instanceof Function, take("other", 100, 5) instanceof Function);
      first();
      said.push(take("one", 11, 900), take("one", 40, 1001) instanceof Function);
      return said;
    })()"""
    assert await told_of_room(program) == [409, 409, True, True, 409, True]


async def test_all_users_together_take_a_part_of_the_disk_deleted_blobs_included() -> None:
    program = """(() => {
      seen.disk = 200;
      const said = [take("other", 50, 0) instanceof Function, take("another", 1, 0)];
      seen.disk = 300;
      said.push(take("third", 1, 2000), take("third", 0, 2000) instanceof Function);
      return said;
    })()"""
    assert await told_of_room(program) == [True, 409, 409, True]


async def test_what_is_held_is_told_by_each_kind_of_blob() -> None:
    blobs = [
        {"accountName": "one", "persistency": {"count": 5}},
        {"accountName": "one", "committedBlocksInOrder": [{"size": 7}, {"size": 8}]},
        {"accountName": VICTIM, "pageRangesInOrder": [{"start": 0, "end": 511}, {"start": 1024, "end": 1535}]},
    ]
    blocks = [{"accountName": "two", "size": 9}]
    program = f"[...held({json.dumps(blobs)}, {json.dumps(blocks)})]"
    assert await told_of_room(program) == [["one", 20], [VICTIM, 1024], ["two", 9]]
    extents = json.dumps([{"size": 2000}, {"size": 100}])
    assert await told_of_room(f"onDisk({extents}, held({json.dumps(blobs)}, {json.dumps(blocks)}))") == 1076


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
