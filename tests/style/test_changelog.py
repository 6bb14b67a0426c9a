"""The changelog has the form that its first paragraph promises."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
LINES = (ROOT / "CHANGELOG.md").read_text().splitlines()
RELEASES = [line for line in LINES if line.startswith("## ")]


def test_a_release_has_a_version_and_a_date_newest_first() -> None:
    numbered = RELEASES[1:] if RELEASES[0] == "## [Unreleased]" else RELEASES
    found = [re.fullmatch(r"## \[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", line) for line in numbered]
    assert all(found), numbered
    versions = [tuple(map(int, each.groups())) for each in found if each]
    assert versions == sorted(set(versions), reverse=True)


def test_the_newest_release_is_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = next(line for line in RELEASES if line != "## [Unreleased]")
    assert newest.startswith(f"## [{version}] ")


def test_a_release_has_the_known_kinds_of_changes_in_order() -> None:
    text = "\n".join(LINES)
    for release in text.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds], release[:40]


def test_an_entry_is_short_and_ends_like_a_sentence() -> None:
    entries = [line.removeprefix("- ") for line in LINES if line.startswith("- ")]
    assert len(entries) > 50
    assert len(set(entries)) == len(entries), "an entry stands there twice"
    assert [entry for entry in entries if len(entry.split()) > 40] == []
    assert [entry for entry in entries if not entry.endswith(".")] == []


def test_every_line_is_a_heading_an_entry_or_the_first_paragraph() -> None:
    odd = [line for line in LINES[3:] if line and not line.startswith(("- ", "## ", "### ", "#### "))]
    assert odd == []
