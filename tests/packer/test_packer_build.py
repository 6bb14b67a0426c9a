"""What the real Packer makes of our template, and what we read from it."""

from pathlib import Path

from packer_bench import Bench, bench_  # noqa: F401 (a fixture)

from vmkiln.packer.packer_output import BuildError, Connected, Line, PackerEvent, PackerOutput, Speaker, StepReached
from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell, Step, packer_input


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
