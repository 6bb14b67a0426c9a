"""Packer's machine-readable output, read as it comes: log lines, and where Packer is.

A line is `timestamp,target,type,data...`; what a guest prints is always inside a `message` or `error` record with its
line ends and commas escaped, so it can neither end a record nor pretend to be Packer's own `say`. Even so, nothing
here decides whether a build succeeded: that is Packer's exit status alone.
Source: Packer's documentation, "Machine-Readable Output".
"""

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST_LINE_BYTES = 256 * 1024
_STEP = re.compile(r"(?:Provisioning with shell script: |Uploading )/aib/packerInput/(\d{4})-")


class Speaker(StrEnum):
    """Who a line is from: Packer itself, or what ran in the VM (its output and its errors come apart)."""

    PACKER = "say"
    GUEST = "message"
    ERROR = "error"


@dataclass(frozen=True)
class Line:
    """One line of the log, without its line end."""

    text: str
    speaker: Speaker


@dataclass(frozen=True)
class Connected:
    """Packer logged in to the VM."""


@dataclass(frozen=True)
class StepReached:
    """Packer began the step with this number."""

    index: int


@dataclass(frozen=True)
class BuildError:
    """What Packer says about the failure of the build; for showing, not for deciding."""

    text: str


PackerEvent = Line | Connected | StepReached | BuildError


class PackerOutput:
    """Turns chunks of bytes into events; holds at most one unfinished line of 256 KiB."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[PackerEvent]:
        """The events of all lines that this chunk completes."""
        self._pending.extend(chunk)
        events: list[PackerEvent] = []
        *lines, rest = bytes(self._pending).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._pending[:] = rest
        for line in lines:
            events += _read(line.decode(errors="replace"))
        return events

    def finish(self) -> list[PackerEvent]:
        """The events of what is left when the stream has ended."""
        rest = bytes(self._pending)
        self._pending.clear()
        return _read(rest.decode(errors="replace")) if rest else []


def _read(line: str) -> list[PackerEvent]:
    fields = line.rstrip("\r").split(",")
    if len(fields) < 5 or fields[2] != "ui" or not fields[0].isdigit():
        # artifact records and the like say nothing a reader needs; anything else is Packer's own trouble
        is_record = len(fields) >= 4 and fields[0].isdigit()
        return [] if is_record or not line.strip() else [Line(line, Speaker.PACKER)]
    speaker = Speaker(fields[3]) if fields[3] in set(Speaker) else Speaker.PACKER
    text = ",".join(fields[4:]).replace("%!(PACKER_COMMA)", ",").replace("\\r", "\r").replace("\\n", "\n")
    events: list[PackerEvent] = [Line(part, speaker) for part in text.rstrip("\n").split("\n")]
    if speaker is Speaker.PACKER:
        if "Connected to SSH!" in text or "Connected to WinRM!" in text:
            events.append(Connected())
        elif found := _STEP.search(text):
            events.append(StepReached(int(found.group(1))))
    elif speaker is Speaker.ERROR and text.startswith("Build '") and " errored" in text:
        events.append(BuildError(text.partition(": ")[2].strip() or text))
    return events
