"""What a VM tells of a finished Windows image is read as a guest's word: bounded, and each line known by its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.inspecting.residue import Found, Residue
from vmkiln.inspecting.windows_facts import MOST_FACTS_BYTES
from vmkiln.inspecting.windows_residues import NO_WINDOWS, TakenOut, WindowsLook, read_residues, read_taken_out
from vmkiln.run_failures import InspectionFailed

TOLD = b"""\
device=vda2
left=packer-files Windows/Temp/script-1.ps1
left=build-user SAM, packer
told=answer Windows/Panther/unattend.xml
unread=SECURITY, DefaultPassword: it is encrypted
end=
"""


def test_what_is_left_told_and_unread_is_told_apart() -> None:
    assert read_residues(TOLD) == WindowsLook(
        (Found(Residue.BUILD_USER, "SAM, packer"), Found(Residue.PACKER_FILES, "Windows/Temp/script-1.ps1")),
        ("an answer file, which set-up will take: Windows/Panther/unattend.xml",),
        ("SECURITY, DefaultPassword: it is encrypted",),
    )


def test_disks_without_a_windows_are_unproven() -> None:
    assert read_residues(b"end=\n") == WindowsLook(unproven=(NO_WINDOWS,))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"device=vda2\n",
        TOLD.replace(b"end=\n", b""),
        TOLD + b"left=packer-files behind\n",
        TOLD.replace(b"packer-files", b"nothing-known"),
        TOLD.replace(b"told=answer", b"told=else"),
        TOLD.replace(b"device=vda2", b"device"),
        b"unread=" + b"x" * MOST_FACTS_BYTES + b"\nend=\n",
    ],
    ids=["empty", "not ended", "cut", "behind the end", "kind", "sentence", "no sign", "too much"],
)
def test_an_answer_that_is_not_in_its_form_proves_nothing(answer: bytes) -> None:
    with pytest.raises(InspectionFailed):
        read_residues(answer)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_refused(answer: bytes) -> None:
    for read in (read_residues, read_taken_out):
        try:
            read(answer + b"\nend=\n")
        except InspectionFailed:
            continue


def test_control_characters_of_a_guest_do_not_reach_a_terminal() -> None:
    look = read_residues(TOLD.replace(b"script-1", b"script-\x1b[2J"))
    assert "\x1b" not in str(look)


def test_what_was_taken_out_and_what_stays_is_told_in_sentences() -> None:
    answer = b"device=vda2\ntaken=answer Windows/Panther/unattend.xml\ntaken=override pci\nstays=vda3: no\nend=\n"
    found = read_taken_out(answer)
    assert found == TakenOut(("answer Windows/Panther/unattend.xml", "override pci"), ("vda3: no",))
    assert found.sentences == (
        "taken out of the run's copy of the image: the answer file Windows/Panther/unattend.xml",
        "taken out of the run's copy of the image: StartOverride, which keeps a driver from starting, of pci",
        "not taken out of the run's copy of the image: vda3: no",
    )


def test_a_copy_that_was_not_written_to_its_end_is_broken() -> None:
    found = read_taken_out(b"taken=answer a\nbroken=the volume was not written to its end\nend=\n")
    assert found.broken
    assert len(found.sentences) == 1, "what was taken out before is not, for the copy is thrown away"
