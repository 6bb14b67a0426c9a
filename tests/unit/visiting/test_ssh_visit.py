"""What a visit by ssh has: a key of its own, a disc that tells of it, a command; nothing of it stays."""

import asyncio
import json
import shlex
from pathlib import Path

from vmkiln.visiting import ssh_visit


async def test_a_visit_has_a_key_that_the_disc_tells_of_and_nothing_stays(tmp_path: Path) -> None:
    async with asyncio.timeout(120), ssh_visit.prepared(tmp_path / "booting") as visit:
        key = visit.folder / ssh_visit.KEY
        assert (key.stat().st_mode & 0o777, visit.folder.stat().st_mode & 0o777) == (0o600, 0o700)
        disc = visit.seed.read_bytes()
        data = disc[disc.index(b"#cloud-config") :].partition(b"\0")[0].partition(b"\n")[2].decode()
        told = json.loads(data)
        host = told["ssh_keys"]["ed25519_public"].rpartition(" ")[0]
        assert (visit.folder / ssh_visit.KNOWN_HOSTS).read_text() == f"{ssh_visit.HOST_NAME} {host} host\n"
        assert told["users"][0]["ssh_authorized_keys"][0].endswith(" vmkiln-visit")
        assert b"PRIVATE KEY" in key.read_bytes()
        assert key.read_bytes() not in disc
        assert f'"{visit.link.guest}/24"'.encode() in disc
    assert list((tmp_path / "booting").iterdir()) == []


async def test_the_command_takes_nothing_of_the_users_and_knows_the_guest(tmp_path: Path) -> None:
    async with asyncio.timeout(120), ssh_visit.prepared(tmp_path / "a 100% folder") as visit:
        words = shlex.split(visit.command(2222))
        assert words[:3] == ["ssh", "-F", "none"]
        assert words[-3:] == ["-p", "2222", "packer@127.0.0.1"]
        assert {"IdentitiesOnly=yes", "StrictHostKeyChecking=yes"} < set(words)
        assert {"PreferredAuthentications=publickey", "IdentityAgent=none"} < set(words), "no image asks for a password"
        folder = str(visit.folder).replace("%", "%%")  # as ssh reads it (ssh_config(5), TOKENS)
        assert {f'IdentityFile="{folder}/key"', f'UserKnownHostsFile="{folder}/known_hosts"'} < set(words)


async def test_the_keys_of_a_killed_visit_go_with_the_next_one(tmp_path: Path) -> None:
    killed = tmp_path / ".visit-killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "key").write_text("left")
    async with asyncio.timeout(120), ssh_visit.prepared(tmp_path) as first, ssh_visit.prepared(tmp_path) as second:
        assert sorted(tmp_path.iterdir()) == sorted([first.folder, second.folder])
