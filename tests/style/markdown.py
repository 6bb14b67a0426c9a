"""Reading the repository's pages: their headings, and what they link to; and the files that git keeps."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(```|~~~)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@cache
def kept_files() -> tuple[Path, ...]:
    """Every file of the checkout that is git's, or that would be; without git those that lie in its folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        folders = ("bench", "docs", "examples", "packaging", "script", "tests", "vmkiln")
        found = [*ROOT.glob("*.*"), *(path for name in folders for path in (ROOT / name).rglob("*"))]
    return tuple(sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts))


def pages() -> list[Path]:
    return [path for path in kept_files() if path.suffix == ".md"]


@cache
def prose(page: Path) -> tuple[str, ...]:
    """The lines of a page outside of fenced code."""
    lines, is_code = [], False
    for line in page.read_text().splitlines():
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            lines.append(line)
    return tuple(lines)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names under which the headings of a page can be linked to, as GitHub and GitLab make them."""
    found: list[str] = []
    for line in prose(page):
        if heading := re.match(r"#{1,6}\s+(.*)", line):
            name = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            found.append(f"{name}-{count}" if (count := found.count(name)) else name)
    return frozenset(found)


def links(page: Path) -> list[str]:
    return [target for line in prose(page) for target in _LINK.findall(re.sub(r"`[^`]*`", "", line))]
