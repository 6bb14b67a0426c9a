"""The second serial port of a Windows VM is read as it comes, and is a guest's."""

import re

import pytest

from vmkiln.windows import scripts
from vmkiln.windows.serial_report import MOST_LINE_BYTES, MOST_LINES, Act, SerialReport


def report(*chunks: bytes) -> SerialReport:
    found = SerialReport()
    for chunk in chunks:
        found.feed(chunk)
    return found


def test_acts_and_the_end_are_read_in_whatever_pieces_they_come() -> None:
    whole = b"VMKILN complete user ok\r\nVMKILN complete winrm failed a policy forbids it\r\nVMKILN-READY ok\r\n"
    for size in (1, 7, len(whole)):
        found = report(*(whole[at : at + size] for at in range(0, len(whole), size)))
        assert found.acts == [Act("complete", "user"), Act("complete", "winrm", "a policy forbids it")]
        assert [act.has_failed for act in found.acts] == [False, True]
        assert found.is_ready
        assert found.left is None


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"VMKILN-FINISH ok\r\n", ""),
        (b"VMKILN-FINISH missing user: in use; logs: no\r\n", "user: in use; logs: no"),
        (b"VMKILN-FINISH \r\n", "an end without a word"),
        (b"VMKILN-FINISH ok but not all\n", "but not all"),
        (b"VMKILN-FINISH ok", None),
        (b"say VMKILN-FINISH ok\n", None),
    ],
)
def test_an_end_is_one_only_when_its_whole_line_says_so(line: bytes, left: str | None) -> None:
    assert report(line).left == left


def test_a_port_that_talks_without_end_is_left_out() -> None:
    assert report(b"x" * (MOST_LINE_BYTES + 1), b"\n", b"VMKILN-READY ok\n").is_ready
    assert not report(b"VMKILN\n" * MOST_LINES, b"VMKILN-READY ok\n").is_ready
    end = b" " * MOST_LINE_BYTES + b"VMKILN-READY ok"
    assert not report(b"x" + end, b"\n").is_ready, "the end of a line that is too long is no line"
    assert not report(b"x", end, b"", b"\n").is_ready
    found = report(b"VMKILN complete user failed \x1b]0;x\x07\n")
    assert "\x1b" not in found.acts[0].reason


def test_what_the_firmware_writes_at_each_boot_hides_no_line_of_the_scripts() -> None:
    drawn = b"\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\n" * MOST_LINES + b"\x1b[=3h"
    assert report(drawn, b"\nVMKILN-READY ok\n", drawn, b"\nVMKILN-FINISH ok\n").left == ""
    for name in (scripts.FIRST_BOOT, scripts.DEPROVISION):
        assert '$port.Write("`n$Line`n")' in scripts.text(name), "each line begins with the end of another's"


def test_the_scripts_write_the_lines_that_are_read() -> None:
    first, last = scripts.text(scripts.FIRST_BOOT), scripts.text(scripts.DEPROVISION)
    lines = re.findall(r"Write-ToHost ['\"]([^'\"]+)['\"]", first + last)
    assert lines == [
        "VMKILN $Phase $Name ok",
        "VMKILN $Phase $Name failed $reason",
        "VMKILN-READY ok",
        "VMKILN-FINISH ok",
        "VMKILN-FINISH missing $($missing -join ",
    ]
