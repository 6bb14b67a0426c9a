"""The inspection VM's answer is read in whatever pieces it comes, and refused when it is not in its form."""

import pytest

from vmkiln.inspecting import answer as answer_file
from vmkiln.inspecting.answer import Answer
from vmkiln.inspecting.disk_contents import FILE, FOLDER, LINK, DiskFound
from vmkiln.run_failures import InspectionFailed


def record(kind: str, *fields: bytes) -> bytes:
    """One record as the inspection VM writes it."""
    head = " ".join([kind, str(len(fields)), *(str(len(field)) for field in fields)])
    return head.encode() + b"\n" + b"".join(fields) + b"\n"


VOLUME = record("volume", b"0", b"disk0-1", b"ext4", b"1000", b"400", b"u-u-i-d", b"root", b"")
WHOLE = b"".join(
    [
        record("disk", b"disk0", b"3221225472", b"gpt"),
        VOLUME,
        record("entry", b"0", b"40755", b"0", b"0", b"4096", b"etc", b""),
        record("entry", b"0", b"100640", b"0", b"42", b"9", b"etc/a\nname \xff", b""),
        record("entry", b"0", b"120777", b"0", b"0", b"7", b"bin", b"usr/bin"),
        record("content", b"0", b"etc/passwd", b"root:x:0:0::/root:/bin/sh\nend 0\n"),
        record("mark", b"0", b"root/key", b"private key"),
        record("cut", b"0", b"var/deep", b"folders lie too deep"),
        record("scrubbed", b"0", b"123"),
        record("trimmed", b"0", b"boot-menu"),
        record("end"),
    ]
)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_an_answer_is_read_in_whatever_pieces_it_comes(size: int) -> None:
    answer = Answer()
    for start in range(0, len(WHOLE), size):
        answer.feed(WHOLE[start : start + size])
    found = answer.contents()
    assert found.disks == (DiskFound("disk0", 3221225472, "gpt"),)
    (volume,) = found.volumes
    assert (volume.device, volume.filesystem, volume.size_bytes, volume.used_bytes) == ("disk0-1", "ext4", 1000, 400)
    assert [entry.kind for entry in volume.entries] == [FOLDER, FILE, LINK]
    assert volume.entries[1].path == b"etc/a\nname \xff"
    assert volume.entries[2].target == b"usr/bin"
    assert volume.contents[b"etc/passwd"].endswith(b"end 0\n")
    assert volume.marks == ((b"root/key", "private key"),)
    assert volume.given_back_bytes == 123
    assert volume.trimmed == ("boot-menu",)
    assert found.unproven == ("disk0-1: /var/deep: folders lie too deep",)


def test_an_answer_is_kept_word_for_word_unless_it_is_too_long() -> None:
    for most, kept in ((len(WHOLE), WHOLE), (len(WHOLE) - 1, None), (0, None)):
        answer = Answer(most_told_bytes=most)
        answer.feed(WHOLE[:50])
        assert answer.told is None, "it is not whole"
        answer.feed(WHOLE[50:])
        assert answer.told == kept


@pytest.mark.parametrize(
    "untrue",
    [
        b"x" * 300,
        b"bogus 0\n\n",
        VOLUME + record("trimmed", b"0", b"ssh.service"),
        b"disk 2 1 1\nab\n",
        b"disk 3 1 1 -1\nab\n",
        b"disk 3 1 1 9999999999999999999\nab\n",
        record("disk", b"disk0", b"many", b"gpt"),
        record("volume", b"1", b"disk0-1", b"ext4", b"1", b"1", b"", b"", b""),
        record("entry", b"0", b"40755", b"0", b"0", b"0", b"etc", b""),
        VOLUME + record("entry", b"0", b"999", b"0", b"0", b"0", b"etc", b""),
        VOLUME + record("entry", b"5", b"40755", b"0", b"0", b"0", b"etc", b""),
        record("end")[:-1] + b"x",
        record("end") + record("end"),
    ],
)
def test_what_is_not_in_its_form_is_refused(untrue: bytes) -> None:
    with pytest.raises(InspectionFailed, match="cannot be true"):
        Answer().feed(untrue)


def test_an_answer_without_its_end_counts_for_nothing() -> None:
    answer = Answer()
    answer.feed(WHOLE[: -len(record("end"))])
    with pytest.raises(InspectionFailed, match="not whole"):
        answer.contents()


def test_too_much_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_file, "MOST_ANSWER_BYTES", 1000)
    answer = Answer()
    answer.feed(b"content 3 1 4 2000\n0name")
    with pytest.raises(InspectionFailed, match="more than"):
        answer.feed(b"\0" * 1000)


def test_too_many_records_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_file, "MOST_RECORDS", 3)
    with pytest.raises(InspectionFailed, match="more than 3 records"):
        Answer().feed(record("disk", b"disk0", b"1", b"none") * 4)
