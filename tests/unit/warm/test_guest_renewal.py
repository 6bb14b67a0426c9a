"""What waits in a build VM that is saved: what it changes in files, and that any Python 3.6 reads it."""

import ast
import importlib.util
import json
import os
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.disk.iso_image import make_iso
from vmkiln.warm.saved_base import FOLDER, RENEWAL, SAYS

DBUS = "/var/lib/dbus/machine-id"


@pytest.fixture(scope="module")
def renewal() -> Any:
    """The program as a module."""
    loader = SourceFileLoader("guest_renewal", str(RENEWAL))
    spec = importlib.util.spec_from_loader("guest_renewal", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.load_the_rest()
    return module


def some_units(renewal: Any, *, tell_ids: bool = False) -> Any:
    """Those of a usual VM."""
    return renewal.Units(["systemd-journald.service"], ["ssh.service"], ["one.timer"], tell_ids=tell_ids)


def test_pythons_of_old_guests_read_it_and_it_says_what_is_waited_for(renewal: Any) -> None:
    ast.parse(RENEWAL.read_text(), feature_version=(3, 6))
    assert (renewal.SAYS, renewal.FOLDER) == (SAYS, FOLDER)


def test_the_runs_key_takes_the_place_of_the_one_that_was_thrown_away(renewal: Any, tmp_path: Path) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_text('from="10.0.0.4" ssh-ed25519 OLD vmkiln-build\nssh-rsa OTHER of the image\n')
    renewal.replace_key(str(keys), "ssh-ed25519 NEW vmkiln-build")
    assert keys.read_text() == 'from="10.0.0.4" ssh-ed25519 NEW vmkiln-build\nssh-rsa OTHER of the image\n'
    assert keys.stat().st_mode & 0o777 == 0o600
    keys.write_text("ssh-rsa OTHER of the image\n")
    with pytest.raises(RuntimeError, match="has 0 keys of a build"):
        renewal.replace_key(str(keys), "ssh-ed25519 NEW vmkiln-build")


def test_what_addresses_and_ids_are_made_of_is_another_machines_too(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(renewal, "text_of", lambda _path: "0" * 32)
    monkeypatch.setattr(renewal, "write", lambda path, content, _mode: written.update({path: content}))
    secret = tmp_path / "secret_key"
    secret.write_text("of the one that was saved")
    monkeypatch.setattr(renewal, "NETWORK_SECRET", str(secret))
    assert renewal.replace_ids() == "0" * 32
    assert not secret.exists()
    assert written["/etc/machine-id"] != "0" * 32 + "\n"
    renewal.replace_ids()


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_new_machine_id_has_the_mode_of_the_one_before(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Else an image would tell by it whether its build went on from a saved VM."""
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0" * 32 + "\n")
    machine_id.chmod(mode)
    write, stat = renewal.write, renewal.mode_of
    written: dict[str, int] = {}

    def in_folder(path: str, content: Any, given: int) -> None:
        written[path] = given
        if path == "/etc/machine-id":
            write(str(machine_id), content, given)

    monkeypatch.setattr(renewal, "text_of", lambda _path: "0" * 32)
    monkeypatch.setattr(renewal, "mode_of", lambda _path, otherwise: stat(str(machine_id), otherwise))
    monkeypatch.setattr(renewal, "write", in_folder)
    monkeypatch.setattr(renewal, "NETWORK_SECRET", str(tmp_path / "none"))
    monkeypatch.setattr(os.path, "isfile", lambda path: path == DBUS)  # a file of its own, as older systems have it
    monkeypatch.setattr(os.path, "islink", lambda _path: False)
    renewal.replace_ids()
    assert written["/etc/machine-id"] == written[DBUS] == mode
    assert machine_id.read_text() != "0" * 32 + "\n"
    assert machine_id.stat().st_mode & 0o777 == mode
    assert renewal.mode_of("/etc/machine-id", 0o400) == mode
    assert stat(str(tmp_path / "none"), 0o444) == 0o444


def test_it_goes_no_further_when_the_new_random_numbers_are_missing(
    renewal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fresh_bytes(_count: int) -> bytes:
        raise RuntimeError("/dev/hwrng has no random numbers")

    monkeypatch.setattr(renewal, "get_ready", lambda: ("virtio1", "carrier", some_units(renewal)))
    plugs = iter([False, True])
    monkeypatch.setattr(renewal, "is_plugged_in", lambda _carrier: next(plugs))
    monkeypatch.setattr(renewal, "fresh_bytes", fresh_bytes)
    monkeypatch.setattr(renewal, "say", done.append)
    monkeypatch.setattr(renewal, "FOLDER", os.devnull)
    for name in ("run", "cover_boot_id", "replace_ids", "said_by"):
        monkeypatch.setattr(renewal, name, lambda *_: pytest.fail("identity before random numbers"))
    assert renewal.main() == 1
    assert done == ["ready", "unplugged", "cannot: /dev/hwrng has no random numbers"]


@pytest.mark.parametrize("tell_ids", [False, True])
def test_it_says_so_when_all_that_keeps_secrets_has_begun_anew(
    renewal: Any, monkeypatch: pytest.MonkeyPatch, *, tell_ids: bool
) -> None:
    """The host has no customizer begin before it has said so."""
    done: list[str] = []
    monkeypatch.setattr(renewal, "renew", lambda seed: done.append(f"renew {seed}") or "0" * 32)
    monkeypatch.setattr(renewal, "run", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(renewal, "without_journal", lambda old: done.append(f"without {old}"))
    monkeypatch.setattr(renewal, "say", done.append)
    renewal.become_another("virtio1", some_units(renewal, tell_ids=tell_ids), had_route=False)
    anew = ["systemctl daemon-reexec"] if tell_ids else []
    assert done[:-1] == [
        "renew virtio1",
        *anew,
        "systemctl restart systemd-journald.service ssh.service",
        f"without {'0' * 32}",
        "renewed",
    ]
    assert done[-1] == "systemctl start one.timer"


def test_it_is_known_when_timers_by_the_calendar_elapse(renewal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "Id=boot.timer\nNextElapseUSecRealtime=\n\n"
        "Id=day.timer\nNextElapseUSecRealtime=Wed 2026-12-02 00:00:00 UTC\n\n"
        "NextElapseUSecRealtime=n/a\nId=never.timer\n"
    )
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(renewal, "run", lambda *words: asked.append(words) or said)
    at = time.mktime((2026, 12, 2, 0, 0, 0, 0, 0, -1))
    assert renewal.elapses_of(["boot.timer", "day.timer", "never.timer"]) == {"day.timer": at}
    assert asked == [("systemctl", "show", "--property=Id,NextElapseUSecRealtime", *said_of(said))]
    assert renewal.elapses_of([]) == {}
    assert len(asked) == 1


def said_of(said: str) -> list[str]:
    return [line[3:] for line in said.splitlines() if line.startswith("Id=")]


def test_what_should_have_come_while_it_was_saved_does_not_come_at_once(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer with a stamp is reckoned from that; one without, by the calendar, begins with the next boot."""
    stamp = tmp_path / "stamp-stamped.timer"
    stamp.touch()
    os.utime(stamp, (0, 0))
    begun: list[str] = []
    monkeypatch.setattr(renewal, "STAMPS", str(tmp_path / "stamp-%s"))
    monkeypatch.setattr(renewal, "run", lambda *words: begun.extend(words[2:]))
    now = time.time()
    elapses = {"stamped.timer": now - 60, "missed.timer": now - 60, "to-come.timer": now + 3600}
    timers = ["boot.timer", *elapses]
    renewal.go_on(renewal.Units([], [], timers, tell_ids=False, elapses=elapses))
    assert begun == ["boot.timer", "stamped.timer", "to-come.timer"]
    assert stamp.stat().st_mtime >= now - 1


@pytest.mark.parametrize(
    ("file", "text", "is_told"),
    [
        ("other.service", "ExecStart=/bin/one %H 100%%m\n", False),
        ("one.service", "ExecStart=/bin/one %m\n", True),
        ("gone.service", "ExecStart=/bin/one %m\n", False),
        ("one.service.d/more.conf", "Environment=BOOT=%b\n", True),
        ("service.d/more.conf", "Environment=BOOT=%b\n", True),
        ("o-.service.d/more.conf", "Environment=BOOT=%b\n", False),
        ("some-.service.d/more.conf", "Environment=BOOT=%b\n", True),
        ("many@.service", "Environment=MACHINE=%m\n", True),
        ("none@.service", "Environment=MACHINE=%m\n", False),
    ],
)
def test_systemd_is_started_anew_when_a_unit_that_it_has_may_tell_an_id(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, *, is_told: bool
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (tmp_path / "dead.service").symlink_to(tmp_path / "nowhere")
    loaded = "one.service loaded active\nmany@1.service loaded\nsome-thing.service loaded\nother.service loaded\n\n"
    monkeypatch.setattr(renewal, "UNIT_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    monkeypatch.setattr(renewal, "run", lambda *_: loaded)
    assert renewal.is_told_by_units() is is_told


async def test_the_seed_is_read_from_its_disk_whatever_lies_beside_its_user_data(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No program mounts it, and what the kernel remembers of the one before is forgotten."""
    seed = tmp_path / "seed.iso"
    more = {f"{number}-{'long' * 10}": "x" for number in range(60)}  # the folder is longer than a sector
    said = {"users": [{"name": "packer"}], "note": "y" * 5000}
    files = {"meta-data": "{}", "network-config": "{}", **more, "user-data": "#cloud-config\n" + json.dumps(said)}
    await make_iso(seed, files, label="cidata")
    assert read_as_a_disk(renewal, seed, monkeypatch) == said
    await make_iso(seed, more, label="cidata")
    with pytest.raises(RuntimeError, match="the seed says nothing"):
        read_as_a_disk(renewal, seed, monkeypatch)
    seed.write_bytes(seed.read_bytes()[:20_000])
    with pytest.raises(RuntimeError, match="the seed's disk is too short"):
        read_as_a_disk(renewal, seed, monkeypatch)


def read_as_a_disk(renewal: Any, seed: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said by a seed that is the disk of a VM."""
    forgotten: list[int] = []
    opened = os.open(seed, os.O_RDONLY)
    with monkeypatch.context() as patch:
        patch.setattr(renewal.glob, "glob", lambda _pattern: ["/sys/vdb"])
        patch.setattr(renewal.os, "open", lambda path, _flags: opened if path == "/dev/vdb" else -1)
        patch.setattr(renewal, "fcntl", SimpleNamespace(ioctl=lambda _disk, call: forgotten.append(call)))
        try:
            return renewal.said_by("virtio1")
        finally:
            assert forgotten == [renewal.BLKFLSBUF]


def test_more_than_a_seed_has_is_not_read(renewal: Any) -> None:
    record = bytes(2) + (20).to_bytes(4, "little") + bytes(4) + (2**20 + 1).to_bytes(4, "little")
    with pytest.raises(RuntimeError, match="the seed has a file of 1048577 bytes"):
        renewal.place_of(record)


def test_the_boot_id_is_covered_and_looked_at(renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Python's own way into the kernel and with programs; one that stays as it was is no other machine's."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("of the one that was saved\n")
    called: list[Any] = []

    def mount(source: bytes, target: bytes, *_more: object) -> int:
        called.append("mount")
        Path(target.decode()).write_bytes(Path(source.decode()).read_bytes())
        return 0

    kernel = SimpleNamespace(mount=mount, umount2=lambda target, _flags: called.append(target))
    own = SimpleNamespace(CDLL=lambda *_, **__: kernel, c_ulong=int, get_errno=lambda: 1)
    monkeypatch.setattr(renewal, "BOOT_ID", str(boot_id))
    monkeypatch.setattr(renewal, "FOLDER", str(tmp_path))
    monkeypatch.setattr(renewal, "ctypes", own)
    renewal.cover_boot_id()
    assert called == [str(boot_id).encode(), "mount"]
    first = boot_id.read_text()
    renewal.cover_boot_id()
    assert boot_id.read_text() != first != "of the one that was saved\n"
    kernel.mount = lambda *_: -1
    with pytest.raises(RuntimeError, match="could not be covered: Operation not permitted"):
        renewal.cover_boot_id()
    kernel.mount = lambda *_: 0
    with pytest.raises(RuntimeError, match="the boot id is the one that it was"):
        renewal.cover_boot_id()
    monkeypatch.setattr(renewal, "ctypes", None)
    monkeypatch.setattr(renewal, "run", lambda *words: mount(words[2].encode(), words[3].encode()))
    called.clear()
    monkeypatch.setattr(renewal.subprocess, "run", lambda words, **_: called.append(words[0]))
    renewal.cover_boot_id()
    assert called == ["umount", "mount"], "over a deleted file nothing can be mounted"
