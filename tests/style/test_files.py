"""Files are as .editorconfig says, and decisions are numbered and have their parts."""

import configparser
import re

from style.markdown import ROOT, kept_files

WRITTEN_BY_PROGRAMS = {".ambr", ".lock", ".sql"}
TEXTS = [
    path
    for path in kept_files()
    if path.suffix not in WRITTEN_BY_PROGRAMS and path.name != "package-lock.json" and b"\0" not in path.read_bytes()
]
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


def test_the_editors_settings_are_for_every_file() -> None:
    read = configparser.ConfigParser()
    read.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert read["top"]["root"] == "true"
    assert read["*"]["insert_final_newline"] == read["*"]["trim_trailing_whitespace"] == "true"


def test_a_file_ends_with_a_line_end_and_has_no_stray_spaces() -> None:
    unfinished, stray, odd = [], [], []
    for path in TEXTS:
        content = path.read_bytes()
        name = str(path.relative_to(ROOT))
        if content and not content.endswith(b"\n"):
            unfinished.append(name)
        if path.suffix != ".md" and re.search(rb"[ \t]$", content, re.MULTILINE):
            stray.append(name)
        if b"\r\n" in content or " " in name or re.search(rb"^(<{7}|>{7}) ", content, re.MULTILINE):
            odd.append(name)
    assert (unfinished, stray, odd) == ([], [], [])


def test_a_decision_has_a_number_of_its_own() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert len(set(numbers)) == len(numbers), "the later one takes the next number"
    for path in DECISIONS:
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name
