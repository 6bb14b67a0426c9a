"""What each error code means and what to do about it, of the command line, of runs and of the service.

Source: `error_codes.txt`, so that telling one imports nothing of what raises it; tests hold it against the source.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("error_codes.txt")


@dataclass(frozen=True)
class ErrorCode:
    """A code as programs see it, what it means, what to do, and the exit code where a command of ours ends with it.

    `exit_code_of_run` is there where a run that fails with it ends otherwise than what is refused with it.
    """

    code: str
    about: str
    cure: str
    exit_code: int | None = None
    exit_code_of_run: int | None = None


def error_codes() -> tuple[ErrorCode, ...]:
    """All of them, in the order of the alphabet."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(_read(*line.split("|")) for line in lines if not line.startswith("#"))


def _read(code: str, about: str, cure: str, exit_code: str = "") -> ErrorCode:
    numbers = [int(number) for number in re.findall(r"\d+", exit_code)]
    return ErrorCode(code, about, cure, *numbers)


def cure_of(code: str) -> str | None:
    """What to do about an error, as a hint has it: a part of a sentence; None for a code that is not known."""
    cure = next((one.cure for one in error_codes() if one.code == code), "").rstrip(".")
    return (cure[0].lower() + cure[1:] if cure[1:2].islower() else cure) or None


def reference_page() -> str:
    """The page of the documentation; pure but for the file that is read."""
    rows = "\n".join(f"| `{one.code}` | {one.about} | {one.cure} |" for one in error_codes())
    return f"""# Error codes

What an error of the command line (`--json`), of a run or of the service (`az`) has as its `code`, as `vmkiln explain CODE` tells it. `vmkiln explain --codes` prints this page.

| code | what it means | what to do |
|---|---|---|
{rows}
"""  # noqa: E501 (a paragraph of Markdown is a line)
