"""What waits in a VM to be saved there, beside a step and from one to the next; and how the host has it go on."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from vmkiln.warm import checkpoint_step
from vmkiln.warm.checkpoint_step import VISIT, begin, new_token, visit, write_word
from vmkiln.warm.saved_base import RENEWAL

SUDO = '[ "$1" = -n ] && shift; exec "$@"'


def loaded(path: Path) -> Any:
    loader = SourceFileLoader(path.stem, str(path))
    spec = importlib.util.spec_from_loader(path.stem, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def guest() -> Any:
    module = loaded(RENEWAL)
    module.load_the_rest()
    return module


@pytest.fixture
def visitor() -> Any:
    return loaded(VISIT)


def run_in(folder: Path, text: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a script where only these programs and the system's own are."""
    for name, content in programs.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{content}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", text],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_the_step_hands_the_whole_program_to_systemd_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_step, "FOLDER", str(tmp_path / "inside"))
    text = begin("token")
    ended = run_in(tmp_path, text, sudo=SUDO, systemd_run=f'echo "$@" > {tmp_path}/asked')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "inside/checkpoint.py").read_text() == RENEWAL.read_text()
    words = (tmp_path / "asked").read_text().split()
    assert "--wait" not in words, "it stays"
    assert words[-2:] == [f"{tmp_path}/inside/checkpoint.py", "token"]


@pytest.mark.parametrize("missing", ["sudo", "systemd-run"])
def test_a_vm_that_cannot_be_kept_goes_on_and_says_so(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_step, "FOLDER", str(tmp_path / "inside"))
    failing = {name: "exit 1" for name in ("sudo", "systemd_run") if name.replace("_", "-") == missing}
    ended = run_in(tmp_path, begin("token"), **{"sudo": SUDO, **failing})
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
    monkeypatch.setattr(guest, "SCRIPTS", f"{tmp_path}/")
    monkeypatch.setattr(guest, "token_of", lambda seed: f"theirs, on {seed}")
    monkeypatch.setattr(guest, "SERVICES", ("/no/such/",))
    monkeypatch.setattr(
        guest, "units", lambda: guest.Units(["a.service"], ["ssh.service"], ["a.timer"], tell_ids=False)
    )
    monkeypatch.setattr(guest, "has_route", lambda: True)
    folder = tmp_path / "inside"
    monkeypatch.setattr(guest, "FOLDER", str(folder))
    monkeypatch.setattr(guest, "say", done.append)
    monkeypatch.setattr(guest, "reseed", lambda: done.append("reseed"))
    monkeypatch.setattr(guest, "end_logins", lambda: done.append("end logins"))
    monkeypatch.setattr(guest, "renew", lambda _seed: done.append("renew" if folder.is_dir() else "no folder") or "old")
    monkeypatch.setattr(guest, "run", lambda *words: done.append(" ".join(words)))
    monkeypatch.setattr(guest, "without_journal", lambda _old: None)
    monkeypatch.setattr(guest, "go_on", lambda _timers: None)
    monkeypatch.setattr(guest, "catch_up", lambda: done.append("catch up"))
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: True)
    assert guest.at_checkpoint("ours", str(step), "name") == "ours"
    assert done == ["ready name", "catch up"]
    assert step.exists()
    done.clear()
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: False)
    other = tmp_path.parent / "no-script-of-a-step"
    other.touch()
    guest.at_checkpoint("ours", f"{tmp_path}/../{other.name}", "name")
    assert other.exists(), "whoever knocks names it"
    done.clear()
    assert guest.at_checkpoint("ours", str(step), "name") == "theirs, on virtio1"
    assert done[:5] == ["ready name", "reseed", "systemctl stop a.timer ssh.service", "end logins", "renew"]
    assert done[-2:] == ["systemctl restart a.service ssh.service", "renewed"]
    assert not step.exists()
    assert not folder.exists()


def test_before_it_is_saved_the_guest_skips_and_behind_it_cannot(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def missing() -> Any:
        raise RuntimeError("there are 2 networks")

    monkeypatch.setattr(guest, "say", done.append)
    monkeypatch.setattr(guest, "FOLDER", os.devnull)
    monkeypatch.setattr(guest, "what_is_needed", missing)
    assert guest.at_checkpoint("ours", "script", "name") == "ours", "it stays for the next"
    monkeypatch.setattr(guest, "what_is_needed", lambda: ("virtio1", ""))
    monkeypatch.setattr(guest, "units", lambda: guest.Units([], ["ssh.service"], [], tell_ids=False))
    monkeypatch.setattr(guest, "has_route", lambda: True)
    monkeypatch.setattr(guest, "goes_on_as_it_was", lambda *_: False)
    monkeypatch.setattr(guest, "reseed", missing)
    assert guest.at_checkpoint("ours", "script", "name") == "", "it is nobody"
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


NAME = "0123456789abcdef"


@pytest.fixture
def stays(guest: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[tuple[str, ...]]]:
    """Has a guest stay, in a thread, which after each visit is of the run with the next of these tokens."""

    def begun(tokens: list[str]) -> list[tuple[str, ...]]:
        visits: list[tuple[str, ...]] = []
        after = iter(tokens)

        def at_checkpoint(*given: str) -> str:
            visits.append(given)
            return next(after)

        is_open = threading.Event()
        monkeypatch.setattr(guest, "at_checkpoint", at_checkpoint)
        monkeypatch.setattr(guest, "leave_unit", is_open.set)
        monkeypatch.setattr(guest, "FOLDER", os.devnull)
        threading.Thread(target=guest.stay, args=(tokens[0],), daemon=True).start()
        assert is_open.wait(60)
        return visits

    return begun


def test_one_that_stays_serves_each_step_and_the_run_that_goes_on_from_there(
    stays: Callable[[list[str]], list[tuple[str, ...]]], visitor: Any
) -> None:
    ours, theirs = new_token(), new_token()
    visits = stays([ours, ours, theirs, theirs, ""])
    assert visitor.visited(ours, "/run/packer/one.sh", NAME)
    assert visitor.visited(ours, "/run/packer/two.sh", NAME)
    assert not visitor.visited(ours, "/run/packer/two.sh", NAME), "who waited is of another run's VM now, and is ended"
    assert visitor.visited(theirs, "/run/packer/three.sh", NAME)
    assert not visitor.visited(ours, "/run/packer/four.sh", NAME), "nobody has this door any more"
    assert not visitor.visited(theirs, "/run/packer/four.sh", NAME)
    assert [visit[0] for visit in visits] == [ours, ours, ours, theirs, theirs]
    assert visits[0] == (ours, "/run/packer/one.sh", NAME)


def test_who_knocks_and_says_no_name_is_passed_over(
    stays: Callable[[list[str]], list[tuple[str, ...]]], visitor: Any, guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = new_token()
    monkeypatch.setattr(guest, "VISIT_SECONDS", 0.05)
    visits = stays([ours])
    for said in (b"", b"\xff\xfe", b"ready 1 x\n", b"a\nb" * 8 + b" script\n"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(f"\0vmkiln-{ours}")
            stranger.sendall(said)
            assert stranger.recv(8) == b""
    assert visits == []
    assert visitor.visited(ours, "script", NAME)
    assert visitor.DOOR == guest.DOOR


def test_where_nobody_stays_one_is_begun_and_what_is_wrong_is_told(visitor: Any, tmp_path: Path) -> None:
    begun: list[str] = []

    def output_of(command: list[str]) -> tuple[int, bytes]:
        begun.append(command[-1])
        return 0, b"the VM cannot be kept here\n"

    given: dict[str, Any] = {"script": "script", "name": NAME, "output_of": output_of}
    token = new_token()
    exec(visit(token), given)  # noqa: S102 (as the program in the VM does)
    assert given["said"] == b"the VM cannot be kept here"
    assert begun == [begin(token)]
    visitor.BEGIN_SECONDS = 0.05
    said = visitor.waited(token, "true", "script", NAME, lambda _command: (0, b""))
    assert said == b"the VM cannot be kept here: what is to wait in it did not begin"


def test_the_vm_that_goes_on_from_a_source_stays_for_a_run_that_keeps_it(
    guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "a token"
    those = guest.Units([], ["ssh.service"], [], tell_ids=False)
    monkeypatch.setattr(guest, "get_ready", lambda: ("virtio1", "carrier", those))
    plugs = iter([False, True, False, True])
    monkeypatch.setattr(guest, "is_plugged_in", lambda _carrier: next(plugs))
    monkeypatch.setattr(guest, "become_another", lambda *_, **__: None)
    monkeypatch.setattr(guest, "has_route", lambda: True)
    monkeypatch.setattr(guest, "say", lambda _text: None)
    monkeypatch.setattr(guest, "FOLDER", os.devnull)
    monkeypatch.setattr(guest.glob, "glob", lambda pattern: [pattern.replace("*", "vdb")])
    monkeypatch.setattr(guest, "word_on", lambda disk: word if disk == "/dev/vdb" else "another disk's")
    stayed: list[str] = []
    monkeypatch.setattr(guest, "stay", lambda token: stayed.append(token) or 0)
    assert guest.main() == 0
    assert stayed == ["a"]
    word = ""
    assert guest.main() == 0
    assert stayed == ["a"], "a run that keeps nothing has no program of ours in its VM"


def test_one_that_stays_is_of_no_unit_where_it_may(guest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    group = tmp_path / "cgroup.procs"
    monkeypatch.setattr(guest, "ROOT_GROUPS", (str(tmp_path), str(group)))
    for name in ("fork", "setsid", "chdir", "dup2"):
        monkeypatch.setattr(guest.os, name, lambda *_, name=name: done.append(name) or 0)
    guest.leave_unit()
    assert done == [], "where it may not, it stays in its unit"
    group.touch()
    monkeypatch.setattr(guest, "ROOT_GROUPS", (str(tmp_path / "none"), str(group)))
    guest.leave_unit()
    assert group.read_text() == "0"
    assert done == ["fork", "setsid", "chdir", "dup2", "dup2", "dup2"]
