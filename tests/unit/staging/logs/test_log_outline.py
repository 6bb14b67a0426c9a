"""The steps of a log and where its lines are."""

from pathlib import Path

from vmkiln.staging.customization_log import LONGEST_READ_BYTES, CustomizationLog, lines_from
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.staging.logs.log_outline import BLOCK_BYTES, LogOutline, outline_of
from vmkiln.staging.logs.log_search import containing, lines_by_number, number_at, of_error, search

DAY = 1_780_000_000.0
RUN_ID = "0123abcd-0000-4000-8000-000000000000"


def test_a_log_has_a_group_for_each_step_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    assert outline_of(path) == LogOutline()
    with CustomizationLog(path, RUN_ID) as log, LogIndex(path) as index:
        index.note(log.end, DAY)
        log.write("booting")
        for number, step in enumerate(("install", "configure"), start=1):
            index.step = step
            index.note(log.end, DAY + 10 * number)
            log.write("out")
            log.write("bad", kind="ERR")
            found = outline_of(path)
            assert found.groups[-1].step == step, "it is there while it is written"
            assert found.groups[-1].ended == DAY + 10 * number
        index.step = "next"
        index.note(log.end, DAY + 30)
        assert [group.step for group in outline_of(path).groups] == ["", "install", "configure", "next"]
    found = outline_of(path)
    assert [(group.first_line, group.lines, group.errors) for group in found.groups] == [
        (1, 1, 0),
        (2, 2, 1),
        (4, 2, 1),
        (6, 1, 0),
    ]
    assert [(group.began, group.ended) for group in found.groups][1] == (DAY + 10, DAY + 20)
    assert found.lines == 7 - 1
    assert found.groups[-1].end == found.end == path.stat().st_size


def test_a_log_without_an_index_is_one_group_and_a_new_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nunfinished")
    found = outline_of(path)
    assert [(group.step, group.lines) for group in found.groups] == [("", 2)]
    assert found.end == 8
    path.write_bytes(b"new\n")
    assert outline_of(path).lines == 1


def test_a_line_is_found_by_its_number_and_its_number_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b"line %d %s\n" % (number, b"x" * (number % 90)) for number in range(1, 20_001)]
    path.write_bytes(b"".join(lines))
    outline = outline_of(path)
    assert len(outline.marks) > path.stat().st_size // BLOCK_BYTES > 3
    for number in (1, 2, 9_999, 20_000):
        piece = lines_by_number(path, outline, number, most_lines=2, most_bytes=9999)
        assert piece.lines == tuple(lines[number - 1 : number + 1])
        assert piece.start == sum(map(len, lines[: number - 1]))
        assert number_at(path, outline, piece.start) == number
    assert lines_by_number(path, outline, 20_001, most_lines=2, most_bytes=9999).lines == ()


def test_an_overlong_line_counts_as_its_parts_as_where_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * (2 * LONGEST_READ_BYTES + 5) + b"\nlast\n")
    assert outline_of(path).lines == len(list(lines_from(path, 0))) == 5
    assert lines_by_number(path, outline_of(path), 5, most_lines=1, most_bytes=99).lines == (b"last\n",)


def test_a_text_is_found_in_what_lines_say_and_errors_by_stderr_or_word(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, RUN_ID) as log:
        log.write("Packer says OUT")
        log.write("\x1b[31mUn\x1b[0mable to locate package ngnix")
        log.write("fine", kind="ERR")
        log.write("nothing")
    assert [one.number for one in search(path, containing("packer")).found] == [1, 5], "not in each line's prefix"
    found = search(path, containing("unABLE to"))
    assert [(one.number, one.position) for one in found.found] == [(2, path.read_bytes().index(b"\n") + 1)]
    assert [one.number for one in search(path, of_error).found] == [2, 3]
    many = search(path, lambda _line: True, most=2)
    assert (many.total, len(many.found)) == (5, 2)
