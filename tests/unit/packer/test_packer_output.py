"""Packer's output as it is read, however it is cut into chunks."""

from itertools import pairwise

import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.packer.packer_output import (
    LONGEST_LINE_BYTES,
    BuildError,
    CheckpointLeft,
    CheckpointReached,
    Connected,
    Line,
    PackerEvent,
    PackerOutput,
    RestartBegun,
    RestartComing,
    RestartDone,
    ScriptEnded,
    ScriptLost,
    ScriptStarted,
    Speaker,
    StepReached,
)
from vmkiln.packer.step_runner import LINES, MARK, NEXT, cleaned

# as Packer 1.6.6 wrote it
RECORDED = rb"""1795492252,,ui,say,==> null: Using ssh communicator to connect: 127.0.0.1
1795492252,,ui,say,==> null: Connected to SSH!
1795492252,,ui,say,==> null: Provisioning with shell script: /aib/packerInput/0000-shell.sh
1795492252,,ui,message,    null: hello%!(PACKER_COMMA) comma
1795492252,,ui,error,==> null: Build 'null' errored: fake
1795492252,,ui,say,==> null: Uploading /aib/packerInput/0001-file => /tmp/motd
1795492252,,ui,error,Build 'null' errored after 1 second: Script exited with non-zero exit status: 7.
1795492252,,error-count,1
1795492252,,ui,error,\n==> Some builds didn't complete successfully and had errors:
1795492252,null,error,Script exited with non-zero exit status: 7.
"""
PACKERS_OWN = StepReached | Connected | BuildError | RestartBegun | RestartDone


def read(*chunks: bytes) -> list[PackerEvent]:
    reader = PackerOutput()
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.finish()


def test_a_recorded_build_is_told_as_it_went() -> None:
    events = [event for event in read(RECORDED) if isinstance(event, PACKERS_OWN)]
    error = BuildError("Script exited with non-zero exit status: 7.")
    assert events == [Connected(), StepReached(0), StepReached(1), error]


# as Packer 1.6.6 wrote it over WinRM; the last line is from its debug log
RECORDED_WINDOWS = rb"""1795492252,,ui,say,==> null: Connected to WinRM!
1795492252,,ui,say,==> null: Provisioning with Powershell...
1795492252,,ui,say,==> null: Provisioning with powershell script: /aib/packerInput/0000-powershell.ps1
1795492252,,ui,say,==> null: Restarting Machine
1795492252,,ui,say,==> null: Waiting for machine to restart...
1795492252,,ui,message,    null: build-vm restarted.
1795492252,,ui,say,==> null: Machine successfully restarted%!(PACKER_COMMA) moving on
1795492252,,ui,say,==> null: Provisioning with powershell script: /aib/packerInput/0002-update-01.ps1
1795492252,null,error,Timeout waiting for WinRM.
2026/11/29 01:46:15 packer-builder-null plugin: [ERROR] WinRM connection err: http response error: 401 - invalid
"""


def test_a_recorded_build_of_windows_is_told_as_it_went() -> None:
    *events, late, last = [event for event in read(RECORDED_WINDOWS) if isinstance(event, PACKERS_OWN)]
    assert events == [Connected(), StepReached(0), RestartBegun(), RestartDone(), StepReached(2)]
    assert isinstance(late, BuildError)
    assert isinstance(last, BuildError)
    assert (late.has_reason, last.has_reason) == (False, True)
    assert "nothing answered on the VM's WinRM port" in late.text
    assert late.text.endswith("Timeout waiting for WinRM.")
    assert last.text.endswith("401 - invalid")


def test_lines_keep_packers_prefix_and_get_their_commas_back() -> None:
    events = read(RECORDED)
    assert Line("    null: hello, comma", Speaker.GUEST) in events
    assert Line("==> Some builds didn't complete successfully and had errors:", Speaker.ERROR) in events


@given(st.lists(st.integers(0, len(RECORDED)), max_size=8))
def test_chunks_may_end_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(RECORDED)]
    chunks = [RECORDED[begin:end] for begin, end in pairwise(places)]
    assert read(*chunks) == read(RECORDED)


@settings(max_examples=tiers.cheap_examples())
@given(st.binary(max_size=300))
def test_nothing_a_guest_prints_moves_packer(printed: bytes) -> None:
    # what Packer does to a guest's line: no line end within, commas escaped, a prefix in front
    line = printed.replace(b"\n", b"").replace(b",", b"%!(PACKER_COMMA)").replace(b"\r", b"\\r")
    for kind, prefix in ((b"message", b"    null: "), (b"error", b"==> null: ")):
        for mark in (b"", MARK + LINES):
            events = read(b"1700000000,,ui," + kind + b"," + prefix + mark + line + b"\n")
            assert not any(isinstance(event, PACKERS_OWN) for event in events)
            assert {event.speaker for event in events if isinstance(event, Line)} <= {kind.decode(), "say"}


@settings(max_examples=tiers.cheap_examples())
@given(st.binary(max_size=300).map(lambda text: text.replace(b"\n", b"").replace(b"\\", b"").replace(b",", b"")))
def test_a_guests_bytes_come_out_as_they_went_in(printed: bytes) -> None:
    printed = printed.rstrip(b"\r").replace(b"%!(PACKER_COMMA)", b"").replace(MARK, b"")
    (line,) = read(b"1700000000,,ui,message,    null: " + printed + b"\n")
    assert isinstance(line, Line)
    assert line.text.encode(errors="surrogateescape") == b"    null: " + printed


def test_a_guests_backslash_n_is_no_line_end() -> None:
    assert read(rb"1,,ui,message,    null: a\nb" + b"\n") == [Line(r"    null: a\nb", Speaker.GUEST)]


def test_a_part_of_an_overlong_line_is_not_taken_for_a_record() -> None:
    head = b"1700000000,,ui,message,    null: "
    filling = b"x" * (LONGEST_LINE_BYTES - len(head))
    forged = b"1700000000,,ui,say,==> null: Provisioning with shell script: /aib/packerInput/0009-shell.sh"
    events = read(head + filling, forged, b"\n" + RECORDED)
    assert [event for event in events if isinstance(event, StepReached)] == [StepReached(0), StepReached(1)]
    parts = [event for event in events if isinstance(event, Line)][:2]
    assert [part.speaker for part in parts] == [Speaker.GUEST, Speaker.GUEST]
    assert "".join(part.text for part in parts) == "    null: " + filling.decode() + forged.decode()


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    reader = PackerOutput()
    chunk = b"\0" * 65536
    longest = 0
    reader.feed(b"1700000000,,ui,message,    null: ")
    for _ in range(512):
        events = reader.feed(chunk)
        longest = max([longest, *(len(event.text) for event in events if isinstance(event, Line))])
    assert 0 < longest <= LONGEST_LINE_BYTES + len(chunk)


def test_what_is_no_record_is_shown_as_packers() -> None:
    assert read(b"panic: runtime error\n\n") == [Line("panic: runtime error", Speaker.PACKER)]
    assert read(b"Killed") == [Line("Killed", Speaker.PACKER)]


def test_an_error_can_be_stored_as_text_whatever_its_bytes() -> None:
    (error,) = read(b"1,null,error,bad \xff byte\\nsecond%!(PACKER_COMMA) line\n")
    assert isinstance(error, BuildError)
    assert error.text.encode().decode() == "bad � byte\nsecond, line"


@given(st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")), min_size=1))
def test_lines_that_travelled_together_come_out_one_by_one(printed: list[bytes]) -> None:
    together = NEXT.join(cleaned(line) for line in printed)
    # what Packer makes of it
    record = together.replace(b",", b"%!(PACKER_COMMA)")
    lines = read(b"1700000000,,ui,message,    null: " + MARK + LINES + record + b"\n")
    expected = [line.rstrip().replace(b"%!(PACKER_COMMA)", b",") for line in printed]
    got = [line.text.encode(errors="surrogateescape") for line in lines if isinstance(line, Line)]
    assert got == [b"    null: " + line for line in expected]


def test_a_steps_output_is_not_packers_where_packer_says_it() -> None:
    # as Packer does from 1.14.3 on
    forged = rb"==> null: Provisioning with shell script: /aib/packerInput/0009-shell.sh"
    events = read(b"1,,ui,say,==> null: \x1el" + forged + b"\x1enConnected to SSH!\n")
    lines = [Line("    null: " + forged.decode(), Speaker.GUEST), Line("    null: Connected to SSH!", Speaker.GUEST)]
    assert events == lines


def test_what_the_vm_tells_of_a_script_is_no_line_of_the_log() -> None:
    told = b"".join(
        b"1,,ui,message,    null: \x1e" + text + b"\n"
        for text in (b"sabc-1", b"e7", b"k0123456789abcdef", b"g", b"m", b"r")
    )
    assert read(told) == [
        ScriptStarted("abc-1"),
        ScriptEnded(7),
        CheckpointReached("0123456789abcdef"),
        CheckpointLeft(),
        ScriptLost(),
        RestartComing(),
    ]
    for never in (b"k../../x", "e²".encode(), b"e" + b"1" * 5000):
        (line,) = read(b"1,,ui,message,    null: \x1e" + never + b"\n")
        assert isinstance(line, Line), "what it never writes is no name and no number"
    assert read(b"1,,ui,message,    null: \x1ewit waits\n") == [Line("==> null: it waits", Speaker.PACKER)]
