"""A run as plain lines, for files, pipes and CI: a time and a step on each line, steps marked where a CI folds them."""

import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType

from vmkiln.cli.view.going_on import GoingOn
from vmkiln.harmless_text import harmless, harmless_lines, without_marks
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import (
    LogLine,
    Notice,
    PartStarted,
    PhaseStarted,
    RunEnded,
    RunEvent,
    StepFailed,
    StepStarted,
)
from vmkiln.run_state import RunState

PREFIXES = ("    null: ", "==> null: ", "--> null: ")  # Packer's own, before what a guest says


class Marks(StrEnum):
    """Whose marks for groups of lines and for errors are written."""

    NONE = "none"
    GITHUB = "github"
    GITLAB = "gitlab"


def said(text: str) -> str:
    """What a guest or Packer said, without Packer's prefix and without power over a terminal; pure."""
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    return harmless(text)


def step_text(index: int, count: int, name: str) -> str:
    """`step 2 of 3: name`, or the hidden last step's name."""
    return name if index >= count else f"step {index + 1} of {count}: {name}"


def on_one_line(text: str) -> str:
    """Text as a mark of GitHub takes it: of one line, with its signs escaped; pure."""
    return harmless_lines(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


class PlainView:
    """Plain lines. What Packer says of itself is left out, unless it `tells_packer`.

    Each line begins with its time and has no mark, so that neither a guest nor a template writes what a CI obeys.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        marks: Marks = Marks.NONE,
        tells_packer: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write, self._marks, self._tells_packer, self._clock, self._now = write, marks, tells_packer, clock, now
        self._begin = clock()
        self._place = "Starting"
        self._step_begin: float | None = None
        self._groups = 0
        self._is_open = False
        self._going_on = GoingOn()

    def tell(self, event: RunEvent) -> None:
        begins = self._going_on.note(event)
        match event:
            case PhaseStarted(phase):
                self._end_step()
                self._place = str(phase)
                self._line(f"==== {phase}")
            case PartStarted(is_beside=False):  # what a step leads to begins when it has succeeded
                self._end_step()
            case StepStarted(_, index, count, name):
                self._end_step()
                title = step_text(index, count, harmless(name))
                self._place = harmless(name) if index >= count else f"{index + 1}/{count} {harmless(name)}"
                self._step_begin = self._clock()
                self._open(title)
                self._line(f"---- {title}")
            case StepFailed():
                self._end_step("failed after ")
            case LogLine(_, text, speaker):
                if speaker is not Speaker.PACKER or self._tells_packer:
                    self._line(f"[{self._place}] {said(text)}")
            case Notice(text, is_warning):
                told = harmless_lines(text)
                if is_warning and self._marks is Marks.GITHUB:
                    self._write(f"::warning title=vmkiln::{on_one_line(text)}")
                self._line(f"warning: {told}" if is_warning else told)
            case RunEnded(state, message, _):
                self._end_step()
                if state is not RunState.SUCCEEDED and self._marks is Marks.GITHUB:
                    self._write(f"::error title=vmkiln {state}::{on_one_line(message)}")
                self._line(f"==== {state}")
        if begins and (usual := self._going_on.usual_seconds) is not None and self._going_on.name:
            self._line(f"{self._going_on.name}, which usually takes {usual:.1f} s")

    def _line(self, text: str) -> None:
        begin = f"{self._clock() - self._begin:8.1f} s  "
        for line in text.split("\n"):
            self._write(without_marks(begin + line))

    def _end_step(self, how: str = "") -> None:
        if self._step_begin is not None:
            self._line(f"[{self._place}] {how}{self._clock() - self._step_begin:.1f} s")
            self._step_begin = None
        self._close()

    def _open(self, title: str) -> None:
        self._groups += 1
        self._is_open = self._marks is not Marks.NONE
        if self._marks is Marks.GITHUB:
            self._write(f"::group::{on_one_line(title)}")
        elif self._marks is Marks.GITLAB:
            self._write(f"\x1b[0Ksection_start:{int(self._now())}:vmkiln_{self._groups}\r\x1b[0K{title}")

    def _close(self) -> None:
        if self._is_open and self._marks is Marks.GITHUB:
            self._write("::endgroup::")
        elif self._is_open:
            self._write(f"\x1b[0Ksection_end:{int(self._now())}:vmkiln_{self._groups}\r\x1b[0K")
        self._is_open = False

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is open, also when the run could not begin."""
        self._close()
