"""What a step runs in a VM to be saved there, and how the host tells it to go on."""

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from vmkiln.warm import checkpoint_step
from vmkiln.warm.checkpoint_step import new_token, script, write_word
from vmkiln.warm.saved_base import RENEWAL

SUDO = '[ "$1" = -n ] && shift; exec "$@"'


@pytest.fixture
def guest() -> Any:
    loader = SourceFileLoader("guest_renewal", str(RENEWAL))
    spec = importlib.util.spec_from_loader("guest_renewal", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.load_the_rest()
    return module


def run_in(folder: Path, text: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a script where only these programs and the system's own are."""
    for name, content in programs.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{content}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", text, f"{folder}/script_1.sh", "name"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_the_step_hands_the_whole_program_to_systemd_as_root_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_step, "FOLDER", str(tmp_path / "inside"))
    text = script("token")
    ended = run_in(tmp_path, text, sudo=SUDO, systemd_run=f'echo "$@" > {tmp_path}/asked')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "inside/checkpoint.py").read_text() == RENEWAL.read_text()
    words = (tmp_path / "asked").read_text().split()
    assert "--wait" in words
    assert words[-4:] == [f"{tmp_path}/inside/checkpoint.py", "token", f"{tmp_path}/script_1.sh", "name"]


@pytest.mark.parametrize("missing", ["sudo", "systemd-run"])
def test_a_vm_that_cannot_be_kept_goes_on_and_says_so(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_step, "FOLDER", str(tmp_path / "inside"))
    failing = {name: "exit 1" for name in ("sudo", "systemd_run") if name.replace("_", "-") == missing}
    ended = run_in(tmp_path, script("token"), **{"sudo": SUDO, **failing})
    assert ended.returncode == 0
    assert "the VM cannot be kept here" in ended.stdout


def test_the_word_is_where_the_guest_looks_and_no_file_of_the_disc_is(guest: Any, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_bytes(b"\xff" * 65536)
    token = new_token()
    write_word(seed, token, "a name")
    content = seed.read_bytes()
    assert (guest.WORD_PLACE, guest.WORD_BYTES) == (checkpoint_step.WORD_PLACE, checkpoint_step.WORD_BYTES)
    word = content[guest.WORD_PLACE : guest.WORD_PLACE + guest.WORD_BYTES]
    assert word.rstrip(b"\0").decode() == f"{token} a name"
    assert content[:16384] + content[20480:] == b"\xff" * (65536 - 4096), "the file system begins behind 32 KiB"
    assert len({new_token() for _ in range(8)}) == 8


def test_the_guest_goes_on_at_its_own_word_and_becomes_another_at_anothers(
    guest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["", "ours before", "ours name", "theirs before", "theirs name"])
    monkeypatch.setattr(guest, "word_on", lambda _disk: next(said))
    monkeypatch.setattr(guest, "TICK_SECONDS", 0)
    assert guest.goes_on_as_it_was("disk", "ours", "name") is True, "and not at the word for an earlier time"
    assert guest.goes_on_as_it_was("disk", "ours", "name") is False
    assert guest.goes_on_as_it_was("disk", "ours", "name") is False, "a name is no token"
    monkeypatch.setattr(guest, "word_on", lambda _disk: "")
    monkeypatch.setattr(guest, "WORD_SECONDS", -1)
    with pytest.raises(RuntimeError, match="the host said nothing"):
        guest.goes_on_as_it_was("disk", "ours", "name")


def test_another_machine_first_takes_new_random_numbers_and_ends_what_it_was(
    guest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    step = tmp_path / "script_1.sh"
    step.touch()
    monkeypatch.setattr(guest, "what_is_needed", lambda: ("virtio1", ""))
    monkeypatch.setattr(guest, "SERVICES", ("/no/such/",))
    monkeypatch.setattr(guest, "units", lambda: (["a.service"], ["ssh.service"], ["a.timer"]))
    monkeypatch.setattr(guest, "has_route", lambda: True)
    monkeypatch.setattr(guest, "FOLDER", os.devnull)
    monkeypatch.setattr(guest, "say", done.append)
    monkeypatch.setattr(guest, "reseed", lambda: done.append("reseed"))
    monkeypatch.setattr(guest, "end_logins", lambda: done.append("end logins"))
    monkeypatch.setattr(guest, "renew", lambda _seed: done.append("renew") or "old")
    monkeypatch.setattr(guest, "run", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(guest, "without_journal", lambda _old: None)
    monkeypatch.setattr(guest, "go_on", lambda _timers: None)
    monkeypatch.setattr(guest, "catch_up", lambda: done.append("catch up"))
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: True)
    assert guest.main(("ours", str(step), "name")) == 0
    assert done == ["ready name", "catch up"]
    assert step.exists()
    done.clear()
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: False)
    assert guest.main(("ours", str(step), "name")) == 0
    assert done[:5] == ["ready name", "reseed", "systemctl stop a.timer ssh.service", "end logins", "renew"]
    assert done[-2:] == ["systemctl start ssh.service", "renewed"]
    assert not step.exists()


def test_before_it_is_saved_the_guest_skips_and_behind_it_cannot(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def missing() -> Any:
        raise RuntimeError("there are 2 networks")

    monkeypatch.setattr(guest, "say", done.append)
    monkeypatch.setattr(guest, "FOLDER", os.devnull)
    monkeypatch.setattr(guest, "what_is_needed", missing)
    assert guest.main(("ours", "script", "name")) == 1
    monkeypatch.setattr(guest, "what_is_needed", lambda: ("virtio1", ""))
    monkeypatch.setattr(guest, "units", lambda: ([], ["ssh.service"], []))
    monkeypatch.setattr(guest, "has_route", lambda: True)
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: False)
    monkeypatch.setattr(guest, "reseed", missing)
    assert guest.main(("ours", "script", "name")) == 1
    assert done == ["skipped name: there are 2 networks", "ready name", "cannot: there are 2 networks"]


def test_logins_end_with_all_below_them_and_nothing_else_does(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "1": "1 (systemd) S 0",
        "10": "10 (sshd) S 1",
        "11": "11 (bash) S 10",
        "12": "12 (a (strange) name) S 11",
        "20": "20 (nginx) S 1",
        "21": "21 (python3) S 1",
    }
    killed: list[int] = []
    monkeypatch.setattr(guest.glob, "glob", lambda _pattern: [f"/proc/{number}/stat" for number in table])
    monkeypatch.setattr(guest, "text_of", lambda path: table[path.split("/")[2]])
    monkeypatch.setattr(guest.os, "kill", lambda process, _signal: killed.append(process))
    guest.end_logins()
    assert sorted(killed) == [10, 11, 12]


def test_a_boot_id_that_covers_another_takes_its_place(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(guest.subprocess, "run", lambda words, **_: done.append(" ".join(words)))
    monkeypatch.setattr(guest, "run", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(guest, "write", lambda *_: None)
    guest.cover_boot_id()
    assert [words.split()[0] for words in done] == ["umount", "mount"], "over a deleted file nothing can be mounted"


def test_a_vm_that_stood_still_catches_up_and_one_that_did_not_is_left(
    guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(guest.time, "time", lambda: 1000.5)
    monkeypatch.setattr(guest.time, "clock_settime", lambda _clock, now: set_to.append(now))
    for hardware in ("990", "1000", "1001", "1003"):
        monkeypatch.setattr(guest, "text_of", lambda _path, now=hardware: now)
        guest.catch_up()
    assert set_to == [1003]


def test_a_guest_that_only_waits_starts_no_program_and_loads_next_to_nothing() -> None:
    """Packer waits meanwhile, and under emulation each module that is loaded takes a tenth of a second."""
    text = f"import sys; exec(open({str(RENEWAL)!r}).read(), {{'__name__': 'loaded'}}); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", text], check=True, capture_output=True, text=True)
    assert not {"subprocess", "json", "shutil", "uuid", "signal", "glob", "typing"} & set(said.stdout.split())


def test_a_waiting_program_leaves_its_folder_as_if_it_had_never_been(guest: Any, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    (folder / "seed").mkdir(parents=True)
    (folder / "checkpoint.py").touch()
    guest.FOLDER = str(folder)
    guest.remove_folder()
    assert not folder.exists()
    guest.remove_folder()
