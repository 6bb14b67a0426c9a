"""Whatever page or section is linked to, or cited as a source, exists."""

import re
from pathlib import Path

import pytest
from style.markdown import ROOT, anchors, kept_files, links, pages

READABLE = {".md", ".py", ".toml", ".sh", ".html", ".js", ".css", ".service", ".yaml", ""}
SOURCES = [path for path in kept_files() if path.suffix in READABLE]
CITED = re.compile(r"docs/reference/([\w-]+\.md)(#[\w-]+)?((?:,? (?:and )?#[\w-]+)*)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)\s:]+)\)")
MOST_PICTURES, MOST_PICTURE_BYTES = 4, 100_000
UNKNOWN = re.compile(r"\baib-reference\b|\bthreat[- ]model\b|\bT-[A-Z]{2,4}-\d+\b|(?<![\w/])clients\.md, section")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{link}: there is no such page"
        assert there.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(there), f"{link}: the page has no such heading"


def test_every_picture_is_small_and_shown_on_a_page() -> None:
    pictures = {path for path in kept_files() if path.suffix in {".webp", ".png", ".jpg", ".gif"}}
    shown = {(page.parent / name).resolve() for page in pages() for name in PICTURE.findall(page.read_text())}
    assert shown == pictures
    assert len(pictures) <= MOST_PICTURES
    assert [path.name for path in pictures if path.stat().st_size > MOST_PICTURE_BYTES] == []


def test_every_page_that_is_named_exists() -> None:
    named = re.compile(r"\bdocs/[\w./-]+\.(?:md|json)\b")
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in named.findall(path.read_text())
        if not (ROOT / name).exists() and not name.endswith("/PAGE.md")
    }
    assert missing == set()


def test_every_file_that_a_page_names_exists() -> None:
    named = re.compile(r"`((?:vmkiln|tests|script|bench|examples|packaging)/[\w./-]*\w|[a-z_]+(?:/[\w-]+)+\.py)`")
    missing = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages()
        if page.name != "CHANGELOG.md"
        for line in page.read_text().splitlines()
        for name in named.findall(line)
        if not (ROOT / name).exists() and not (ROOT / "vmkiln" / name).exists()
    }
    assert missing == set()


def test_every_source_that_is_cited_is_a_section_of_the_reference() -> None:
    count = 0
    for path in SOURCES:
        if path.is_relative_to(ROOT / "docs/reference") or path == Path(__file__):
            continue
        for page, first, more in CITED.findall(path.read_text()):
            there = ROOT / "docs/reference" / page
            assert there.exists(), f"{path}: {page}"
            for anchor in re.findall(r"#([\w-]+)", first + more):
                assert anchor in anchors(there), f"{path}: {page} has no section {anchor}"
                count += 1
    assert count > 60


def test_no_source_is_cited_that_nobody_can_follow() -> None:
    unknown = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in SOURCES
        if path != Path(__file__) and (found := UNKNOWN.search(path.read_text()))
    }
    assert unknown == set()


def test_every_page_of_the_reference_is_in_its_list() -> None:
    folder = ROOT / "docs/reference"
    listed = {link.partition("#")[0] for link in links(folder / "README.md")}
    assert {path.name for path in folder.iterdir()} - {"README.md"} <= listed


def test_every_page_of_the_docs_can_be_found_from_the_readme() -> None:
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        linked = {(page.parent / link.partition("#")[0]).resolve() for page in new for link in links(page)}
        folders = {child for path in linked if path.is_dir() for child in path.glob("*.md")}
        new = {path for path in linked | folders if path.suffix == ".md" and path.is_relative_to(ROOT)} - found
    assert {str(page.relative_to(ROOT)) for page in pages() if page not in found} == set()
