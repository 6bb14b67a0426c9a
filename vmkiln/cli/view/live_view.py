"""A run on the terminal while it goes on: finished steps above, one line below with phase, time and current step.

One JSON object a line when asked for.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from vmkiln.cli import invocation
from vmkiln.cli.output import plain
from vmkiln.cli.view.going_on import GoingOn
from vmkiln.cli.view.plain_view import said, step_text
from vmkiln.harmless_text import harmless, harmless_lines
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import (
    LogLine,
    Notice,
    PartEnded,
    PartStarted,
    PhaseStarted,
    RunEnded,
    RunEvent,
    StepFailed,
    StepStarted,
    UsualTimes,
)
from vmkiln.run_state import Phase, RunState

MOST_SHOWN_LINES = 5_000  # of a step that failed; the stored log has all
STYLES = {Speaker.PACKER: "bold", Speaker.GUEST: "", Speaker.ERROR: "red"}
DONE = ("\u2713", "green")
UNFINISHED = {RunState.FAILED: ("\u2717", "red"), RunState.CANCELED: ("\u2013", "yellow")}  # a step of such a run


class View(Protocol):
    """What shows a run's events."""

    def tell(self, event: RunEvent) -> None:
        """Show one event."""

    def __enter__(self) -> "View": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class JsonView:
    """One JSON object a line; the last one is the run's summary alone."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def tell(self, event: RunEvent) -> None:
        if isinstance(event, RunEnded):
            self._write(json.dumps(event.summary))
            invocation.mark_answered()
        elif not isinstance(event, UsualTimes | PartStarted | PartEnded):  # the summary has all parts
            content = {"event": type(event).__name__, **asdict(event)}
            # bytes that are no UTF-8 have no place in JSON
            text = json.dumps(content, default=plain, ensure_ascii=False)
            self._write(json.dumps(json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))))

    def __enter__(self) -> "JsonView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class LiveView:
    """Rich: one line a finished step, the last line is alive with what is said now; a step that fails is shown whole.

    With `tells_all` every line of the log scrolls by, Packer's own too.
    """

    def __init__(
        self, console: Console, *, tells_all: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._tells_all = tells_all
        self._clock = clock
        self._phase = "Starting"
        self._step = ""
        self._last = ""
        self._begin = self._step_begin = clock()
        self._step_end: float | None = None  # it is over, and how it ended is not known yet
        self._said: deque[tuple[str, Speaker]] = deque(maxlen=MOST_SHOWN_LINES)
        self._count = 0
        self._going_on = GoingOn(clock)
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._line, console=console, refresh_per_second=8, transient=True)

    def _line(self) -> Spinner:
        text = Text.assemble(
            (f"{self._phase} ", "bold cyan"),
            f"{_minutes(self._clock() - self._begin)} ",
            (f"{self._step} {_minutes(self._step_seconds)} " if self._step else ""),
            self._waited_for(),
            (self._last, "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        self._spinner.update(text=text)
        return self._spinner

    def _waited_for(self) -> str:
        """What goes on that is no step, for how long it does, and how long that usually takes."""
        name, usual = self._going_on.name, self._going_on.usual_seconds
        parts = [f"{name} {_minutes(self._going_on.seconds)}"] if name else []
        parts += [f"(usually {_minutes(usual)})"] if usual is not None else []
        return "".join(f"{part} " for part in parts)

    def tell(self, event: RunEvent) -> None:
        self._going_on.note(event)
        match event:
            case PhaseStarted(Phase.CLEANING_UP as phase):  # of a run that failed, too: the run's end tells of its step
                self._step_end = self._clock()
                self._phase = str(phase)
            case PhaseStarted(phase):
                self._end_step()
                self._phase = str(phase)
            case PartStarted(is_beside=False):  # what a step leads to begins when it has succeeded
                self._end_step()
            case StepStarted(_, index, count, name):
                self._end_step()
                self._step = step_text(index, count, harmless(name))
                self._step_begin = self._clock()
            case StepFailed():
                self._end_step(RunState.FAILED)
            case LogLine(_, text, speaker):
                self._log(text, speaker)
            case Notice(text, is_warning):
                style = "yellow" if is_warning else "dim"
                self._console.print(Text(harmless_lines(text), style=style), soft_wrap=True)
            case RunEnded(state, _, _):
                self._end_step(state)
                self._phase = str(state)

    def _log(self, text: str, speaker: Speaker) -> None:
        if self._tells_all:
            self._console.print(Text(harmless(text), style=STYLES[speaker]), soft_wrap=True)
        elif speaker is not Speaker.PACKER:
            self._last = said(text)
            self._said.append((self._last, speaker))
            self._count += 1

    @property
    def _step_seconds(self) -> float:
        return (self._clock() if self._step_end is None else self._step_end) - self._step_begin

    def _end_step(self, run: RunState | None = None) -> None:
        """A line for the step that is over; one that failed with all that it said. `run` is how a run ends with it."""
        if run is RunState.FAILED:
            if self._count > len(self._said):
                self._console.print(Text(f"... {self._count - len(self._said)} lines before", style="dim"))
            for text, speaker in self._said:
                self._console.print(Text(text, style=STYLES[speaker]), soft_wrap=True)
        if self._step:
            sign = DONE if run is None else UNFINISHED.get(run, DONE)
            told = Text.assemble(sign, f" {self._step}  {self._step_seconds:.1f} s")
            self._console.print(told, soft_wrap=True)
        self._step = self._last = ""
        self._step_end = None
        self._said.clear()
        self._count = 0

    def __enter__(self) -> "LiveView":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
