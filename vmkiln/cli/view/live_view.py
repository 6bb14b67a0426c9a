"""A run on the terminal while it goes on: log lines above, one line below with phase, time and current step.

Plain lines when the output is not a terminal; one JSON object a line when asked for.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from vmkiln.harmless_text import harmless
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import LogLine, Notice, PhaseStarted, RunEnded, RunEvent, StepStarted

STYLES = {Speaker.PACKER: "bold", Speaker.GUEST: "", Speaker.ERROR: "red"}


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
        else:
            content = {"event": type(event).__name__, **asdict(event)}
            # bytes that are no UTF-8 have no place in JSON
            text = json.dumps(content, default=str, ensure_ascii=False)
            self._write(json.dumps(json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))))

    def __enter__(self) -> "JsonView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class PlainView:
    """Plain lines, for files and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def tell(self, event: RunEvent) -> None:
        match event:
            case PhaseStarted(phase):
                self._write(f"==== {phase}")
            case StepStarted(_, index, count, name):
                self._write(f"---- {step_text(index, count, harmless(name))}")
            case LogLine(_, text, _):
                self._write(harmless(text))
            case Notice(text, is_warning):
                self._write(f"{'warning: ' if is_warning else ''}{harmless_lines(text)}")
            case RunEnded(state, _, _):
                self._write(f"==== {state}")

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


def step_text(index: int, count: int, name: str) -> str:
    """`customizer 2 of 3: name`, or the hidden last step's name."""
    return name if index >= count else f"step {index + 1} of {count}: {name}"


def harmless_lines(text: str) -> str:
    """Text of several lines, each made harmless."""
    return "\n".join(harmless(line) for line in text.split("\n"))


class LiveView:
    """Rich: the log scrolls, the last line is alive."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = "Starting"
        self._step = ""
        self._begin = time.monotonic()
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._line, console=console, refresh_per_second=8, transient=True)

    def _line(self) -> Spinner:
        seconds = int(time.monotonic() - self._begin)
        text = Text.assemble((f"{self._phase} ", "bold cyan"), f"{seconds // 60}:{seconds % 60:02} ", self._step)
        self._spinner.update(text=text)
        return self._spinner

    def tell(self, event: RunEvent) -> None:
        match event:
            case PhaseStarted(phase):
                self._phase, self._step = str(phase), ""
            case StepStarted(_, index, count, name):
                self._step = step_text(index, count, harmless(name))
            case LogLine(_, text, speaker):
                self._console.print(Text(harmless(text), style=STYLES[speaker]), soft_wrap=True)
            case Notice(text, is_warning):
                style = "yellow" if is_warning else "dim"
                self._console.print(Text(harmless_lines(text), style=style), soft_wrap=True)
            case RunEnded(state, _, _):
                self._phase, self._step = str(state), ""

    def __enter__(self) -> "LiveView":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
