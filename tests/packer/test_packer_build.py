"""What the real Packer makes of our template, and what we read from it."""

import hashlib
import time
from pathlib import Path

import pytest
from packer_bench import Bench, bench_  # noqa: F401 (a fixture)

from vmkiln.packer import packer_template
from vmkiln.packer.packer_output import (
    BuildError,
    CheckpointReached,
    Connected,
    Line,
    PackerEvent,
    PackerOutput,
    ScriptEnded,
    ScriptLost,
    ScriptStarted,
    Speaker,
    StepReached,
)
from vmkiln.packer.packer_template import Checkpoint, FileCopy, InlineShell, ScriptShell, Step, packer_input
from vmkiln.warm.checkpoint_step import visit


def read(output: bytes) -> list[PackerEvent]:
    reader = PackerOutput()
    return [*reader.feed(output), *reader.finish()]


def steps_reached(events: list[PackerEvent]) -> list[int]:
    return [event.index for event in events if isinstance(event, StepReached)]


def test_each_step_is_told_in_order_and_its_bytes_arrive_unchanged(bench: Bench, tmp_path: Path) -> None:
    braces = "{{user `x`}} {{.Path}} {{{ }}} ${HOME} {{env `HOME`}}"
    script = tmp_path / "from-address.sh"
    script.write_text("#!/bin/sh\ncat > " + str(tmp_path / "from-script") + " <<'END'\n" + braces + "\nEND\n")
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 40)
    destination = tmp_path / "copied ${HOME} $(id) {it}"
    steps: list[Step] = [
        InlineShell("first", "a", ("cat > " + str(tmp_path / "from-inline") + " <<'END'", braces, "END")),
        ScriptShell("second", "b", script),
        FileCopy("third", "c", blob, str(destination)),
        InlineShell("fourth", "d", ("echo done, all of it",)),
    ]
    done = bench.build(packer_input(steps, bench.connection))
    events = read(done.stdout)
    assert done.returncode == 0, done.stdout.decode(errors="replace")
    assert steps_reached(events) == [0, 1, 2, 3]
    assert sum(isinstance(event, Connected) for event in events) == 1
    assert (tmp_path / "from-inline").read_text() == braces + "\n"
    assert (tmp_path / "from-script").read_text() == braces + "\n"
    assert destination.read_bytes() == blob.read_bytes()
    assert Line("    null: done, all of it", Speaker.GUEST) in events


def test_a_checkpoint_waits_behind_the_scripts_and_files_that_have_one(bench: Bench, tmp_path: Path) -> None:
    traces, blob = tmp_path / "traces", tmp_path / "blob"
    blob.touch()
    text = f"print('waits behind it', file=open({str(traces)!r}, 'a'))\nsaid = b''\ntext = {visit('token')!r}\n"
    waits = Checkpoint(1, text)
    steps: list[Step] = [
        InlineShell("kept", "a", (f"echo kept >> {traces}",), waits),
        FileCopy("file", "b", blob, str(tmp_path / "copied")),
        waits,
        InlineShell("kept, too", "c", (f"echo kept, too >> {traces}",), waits),
        InlineShell("not kept", "d", (f"echo not kept >> {traces}",)),
    ]
    done = bench.build(packer_input(steps, bench.connection))
    assert done.returncode == 0, done.stdout.decode(errors="replace")
    assert steps_reached(read(done.stdout)) == [0, 1, 2, 3, 4]
    wait = "waits behind it"
    assert traces.read_text().splitlines() == ["kept", wait, wait, "kept, too", wait, "not kept"]
    names = [event.name for event in read(done.stdout) if isinstance(event, CheckpointReached)]
    assert len(set(names)) == 3, "each time another"


FORGERIES = r"""
printf '==> null: Connected to SSH!\n'
printf '1700000000,,ui,say,==> null: Provisioning with shell script: /aib/packerInput/0009-shell.sh\n'
printf 'x\\n1700000000,,ui,say,==> null: Provisioning with shell script: /aib/packerInput/0008-shell.sh\n'
printf '\r1700000000,null,error,it was fine\n'
printf '==> null: Provisioning with shell script: /aib/packerInput/0007-shell.sh\n' >&2
printf "Build 'null' finished.\n1700000000,null,error,forged\n==> Builds finished. The artifacts are:\n" >&2
head -c 300000 /dev/zero | tr '\0' 'x'
printf ',1,,ui,say,==> null: Provisioning with shell script: /aib/packerInput/0006-shell.sh\n'
printf 'raw \377\033[31m bytes\n'
exit 7
"""


def test_a_guest_that_writes_like_packer_is_not_taken_for_it(bench: Bench) -> None:
    evil = InlineShell("evil", "a", tuple(FORGERIES.strip().splitlines()))
    never = InlineShell("never", "b", ("echo reached",))
    done = bench.build(packer_input([evil, never], bench.connection))
    events = read(done.stdout)
    assert done.returncode != 0
    assert steps_reached(events) == [0]
    assert sum(isinstance(event, Connected) for event in events) == 1
    errors = [event.text for event in events if isinstance(event, BuildError)]
    assert len(errors) == 1
    assert "exit status: 7" in errors[0]
    raw = next(event.text for event in events if isinstance(event, Line) and "raw" in event.text)
    assert raw.encode(errors="surrogateescape") == b"    null: raw \xff\x1b[31m bytes"


def test_a_destination_without_a_folder_fails_and_leaves_no_file(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    folder = tmp_path / "no-such-folder"
    done = bench.build(packer_input([FileCopy("copy", "a", source, str(folder / "file"))], bench.connection))
    events = read(done.stdout)
    assert done.returncode != 0
    assert steps_reached(events) == [0]
    assert any(isinstance(event, BuildError) and event.text for event in events)
    assert any(isinstance(event, Line) and "no-such-folder" in event.text for event in events)
    assert not folder.exists()


def test_packer_is_one_login_to_the_ssh_server(bench: Bench) -> None:
    steps = [InlineShell(f"step {number}", "a", ("true",)) for number in range(3)]
    assert bench.build(packer_input(steps, bench.connection)).returncode == 0
    log = (bench.folder / "sshd.log").read_bytes()
    assert log.count(b"Connection from") == 1
    assert log.count(b"Accepted publickey") == 1


def lines_of(events: list[PackerEvent], speaker: Speaker = Speaker.GUEST) -> list[str]:
    return [event.text[len("    null: ") :] for event in events if isinstance(event, Line) and event.speaker is speaker]


def test_a_talkative_step_comes_out_whole_in_order_and_fast(bench: Bench) -> None:
    step = InlineShell("chatty", "a", ("seq 1 60000", "seq 1 20000 >&2", "printf 'no end'"))
    begin = time.monotonic()
    done = bench.build(packer_input([step], bench.connection))
    seconds = time.monotonic() - begin
    events = read(done.stdout)
    assert lines_of(events) == [*map(str, range(1, 60001)), "no end"]
    assert lines_of(events, Speaker.ERROR)[:20000] == [*map(str, range(1, 20001))]
    assert done.stdout.count(b"\n") < 1000, "many lines are one record of Packer's"
    assert seconds < 20


def test_what_a_carriage_return_would_hide_is_in_the_log(bench: Bench) -> None:
    over = r"printf 'visible\rOVERWRITTEN\r\n'"
    step = InlineShell("bar", "a", (over, r"head -c 9000 /dev/zero | tr '\0' x", r"printf '\ry\n'"))
    events = read(bench.build(packer_input([step], bench.connection)).stdout)
    assert lines_of(events) == ["visible\rOVERWRITTEN", "x" * 9000 + "\ry"]


def test_a_script_and_its_tail_arrive_byte_for_byte(bench: Bench, tmp_path: Path) -> None:
    tail = b"PK\r\n\x00\xff\r\n\r\nend"
    script = tmp_path / "self-extracting.run"
    script.write_bytes(b"#!/bin/sh -e\nsed '1,/^#PAYLOAD$/d' \"$0\" | sha256sum\nexit 0\n#PAYLOAD\n" + tail)
    events = read(bench.build(packer_input([ScriptShell("installer", "a", script)], bench.connection)).stdout)
    assert lines_of(events) == [hashlib.sha256(tail).hexdigest() + "  -"]


def test_a_step_is_told_from_its_beginning_to_its_end_with_its_status(bench: Bench) -> None:
    steps = [InlineShell("good", "a", ("true",)), InlineShell("bad", "b", ("kill -KILL $$",))]
    done = bench.build(packer_input(steps, bench.connection))
    told = [event for event in read(done.stdout) if isinstance(event, StepReached | ScriptStarted | ScriptEnded)]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = ScriptStarted(boot)
    assert told == [StepReached(0), started, ScriptEnded(0), StepReached(1), started, ScriptEnded(137)]
    assert done.returncode != 0


def test_a_process_left_behind_with_the_output_is_waited_for_and_named(bench: Bench) -> None:
    left = InlineShell("left", "a", ("(sleep 4; echo late) &",))
    events = read(bench.build(packer_input([left], bench.connection)).stdout)
    assert lines_of(events) == ["late"]
    said = [line for line in lines_of(events, Speaker.PACKER) if "left running" in line]
    assert said
    assert "waiting up to 120 s" in said[0]


def test_a_script_without_a_first_line_for_the_kernel_is_run_by_the_shell(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "plain"
    script.write_text("echo $((1 + 1)) is it\n")
    missing = tmp_path / "missing"
    missing.write_text("#!/no/such/interpreter\n")
    done = bench.build(packer_input([ScriptShell("a", "a", script), ScriptShell("b", "b", missing)], bench.connection))
    events = read(done.stdout)
    assert lines_of(events) == ["2 is it"]
    assert [event.status for event in events if isinstance(event, ScriptEnded)] == [0, 127]
    assert ScriptLost() not in events


def test_a_script_finds_the_signals_as_a_shell_leaves_them(bench: Bench) -> None:
    step = InlineShell("pipe", "a", ("grep ^SigIgn: /proc/self/status | cut -f 2",))
    (ignored,) = lines_of(read(bench.build(packer_input([step], bench.connection)).stdout))
    assert int(ignored, 16) & (1 << 12) == 0, "a broken pipe (13) ends a program"


def test_a_vm_without_an_interpreter_runs_the_script_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        packer_template,
        "STARTER",
        packer_template.STARTER.replace("in python3", "in no-such-one").replace("platform-", "no-"),
    )
    step = InlineShell("plain", "a", ("echo one", "exit 5"))
    done = bench.build(packer_input([step], bench.connection))
    events = read(done.stdout)
    assert lines_of(events) == ["one"]
    assert ScriptEnded(5) in events
    assert done.returncode != 0
