"""How a build is shown while it goes on: the options of `vmkiln build`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Progress(StrEnum):
    """How a run is shown: `auto` is a live view on a terminal, and plain lines elsewhere."""

    AUTO = "auto"
    TTY = "tty"
    PLAIN = "plain"
    JSON = "json"


class CiMarks(StrEnum):
    """Whose marks plain lines have, so that a CI folds steps and lists errors (`view/plain_view.py` writes them)."""

    NONE = "none"
    GITHUB = "github"
    GITLAB = "gitlab"


ProgressOption = Annotated[
    Progress,
    typer.Option("--progress", help="A live view, plain lines with a time and a step each, or JSON like --json."),
]
MarksOption = Annotated[
    CiMarks, typer.Option("--ci-marks", help="Mark steps as groups, and errors, as this CI wants it; plain lines.")
]
MistakeMarksOption = Annotated[
    CiMarks, typer.Option("--ci-marks", help="Mark each mistake at its line, as GitHub shows it beside the change.")
]
SummaryOption = Annotated[
    Path | None,
    typer.Option(
        "--summary-file", metavar="FILE", help="Append what the run came to as Markdown ($GITHUB_STEP_SUMMARY)."
    ),
]
