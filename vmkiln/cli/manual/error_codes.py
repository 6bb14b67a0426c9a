"""What each error code means and what to do about it, of the command line, of runs and of the service.

Source: `error_codes.txt`; a test finds the codes in the source and misses the ones that are not in it.
"""

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("error_codes.txt")


@dataclass(frozen=True)
class ErrorCode:
    """A code as programs see it, what it means, and what to do."""

    code: str
    about: str
    cure: str


def error_codes() -> tuple[ErrorCode, ...]:
    """All of them, in the order of the alphabet."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(ErrorCode(*line.split("|")) for line in lines if not line.startswith("#"))


def reference_page() -> str:
    """The page of the documentation; pure but for the file that is read."""
    rows = "\n".join(f"| `{one.code}` | {one.about} | {one.cure} |" for one in error_codes())
    return f"""# Error codes

What an error of the command line (`--json`), of a run or of the service (`az`) has as its `code`, as `vmkiln explain CODE` tells it. `vmkiln explain --codes` prints this page.

| code | what it means | what to do |
|---|---|---|
{rows}
"""  # noqa: E501 (a paragraph of Markdown is a line)
