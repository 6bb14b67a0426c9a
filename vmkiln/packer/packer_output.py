"""Packer's machine-readable output, read as it comes: log lines, and where Packer is.

A record is `timestamp,target,type,data...` on one line. What a guest prints is always inside a `message` or `error`
record, behind Packer's own `    null: ` or `==> null: `, with its commas escaped: it can neither end a record nor begin
one, and is never taken for Packer's own `say`. From Packer 1.14.3 on it is inside a `say`, too, and known by the mark
that `step_runner.py` puts before all that a step prints. Even so, nothing here decides that a build succeeded: that is
Packer's exit status alone.
Source: Packer's documentation, "Machine-Readable Output"; read from 1.6.6, and from the sources up to 1.16.0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vmkiln.packer import step_runner, winrm_refusal
from vmkiln.secrecy.secret_mask import NO_SECRETS, LineMask, SecretMask, StreamMask

LONGEST_LINE_BYTES = 256 * 1024
_STEP = re.compile(r"==> null: (?:Provisioning with (?:power)?shell script: |Uploading )/aib/packerInput/(\d{4})-")
_RESTARTING = "==> null: Restarting Machine"
_RESTARTED = "==> null: Machine successfully restarted, moving on"
_REFUSED = re.compile(r"WinRM connection err: (.*)")
_CONNECTED = frozenset({"==> null: Connected to SSH!", "==> null: Connected to WinRM!"})
_COMMA = "%!(PACKER_COMMA)"
_CUT = len(_COMMA) + 4
_PREFIXES = ("    null: ", "==> null: ", "--> null: ")
_MARK = step_runner.MARK.decode()
_OF_LINES = ("LINES", "LONG_LINE", "NEXT", "OWN_MARK", "RETURN")
_NAMES = ("STARTED", "ENDED", "WAITS", "GOES_ON", "MISSING", "RESTARTING", "REMARK", *_OF_LINES)
_DRAWN = re.compile(r"[0-9a-f]{16}")
_STATUS = re.compile(r"[0-9]{1,9}")
_KINDS = {name: getattr(step_runner, name).decode() for name in _NAMES}


class Speaker(StrEnum):
    """Who a line is from: Packer itself, or what ran in the VM (its output and its errors come apart)."""

    PACKER = "say"
    GUEST = "message"
    ERROR = "error"


@dataclass(frozen=True)
class Line:
    """One line of the log, without its line end; bytes that are not UTF-8 are there as surrogate escapes."""

    text: str
    speaker: Speaker


@dataclass(frozen=True)
class Connected:
    """Packer logged in to the VM."""


@dataclass(frozen=True)
class StepReached:
    """Packer began the step with this number; the one before has ended."""

    index: int


@dataclass(frozen=True)
class BuildError:
    """What Packer says about the failure of the build; for showing, not for deciding. Without surrogates.

    One without a reason takes the place of none that has one, whichever of Packer's two streams is read first.
    """

    text: str
    has_reason: bool = True


@dataclass(frozen=True)
class ScriptStarted:
    """A step's script begins in the VM; `boot_id` is another one after each start of the VM."""

    boot_id: str


@dataclass(frozen=True)
class ScriptEnded:
    """A step's script has ended in the VM, with this exit status."""

    status: int


@dataclass(frozen=True)
class CheckpointReached:
    """Behind a step's script that succeeded, the VM is about to wait under this name until it is saved."""

    name: str


@dataclass(frozen=True)
class CheckpointLeft:
    """The VM goes on behind a checkpoint, saved or not; what Packer does until its next step is its own."""


@dataclass(frozen=True)
class ScriptLost:
    """A step's script was copied to the VM, and is not there any more: it went away with a restart."""


@dataclass(frozen=True)
class RestartComing:
    """The step's script has ended, and the VM is about to restart or to turn off."""


@dataclass(frozen=True)
class RestartBegun:
    """Packer began to restart a Windows VM: a step of its own, or the end of a round of updates."""


@dataclass(frozen=True)
class RestartDone:
    """Packer found a Windows VM back after it had restarted it."""


PackerEvent = (
    Line
    | Connected
    | StepReached
    | BuildError
    | ScriptStarted
    | ScriptEnded
    | CheckpointReached
    | CheckpointLeft
    | ScriptLost
    | RestartComing
    | RestartBegun
    | RestartDone
)


class PackerOutput:
    """Turns chunks of bytes into events; holds at most one unfinished line of 256 KiB, and what a mask holds back.

    A longer line comes in parts, which all have the speaker of the first and say nothing about where Packer is.
    `mask` takes the secrets out of every text; also one that lies across two parts.
    """

    def __init__(self, mask: SecretMask = NO_SECRETS) -> None:
        self._mask = LineMask(mask)
        self._part = StreamMask(mask)
        self._pending = bytearray()
        self._part_of: Speaker | None = None

    def feed(self, chunk: bytes) -> list[PackerEvent]:
        """The events of all lines that this chunk completes."""
        events: list[PackerEvent] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._pending += line
            events += self._take(is_whole=True)
        self._pending += rest
        if len(self._pending) >= LONGEST_LINE_BYTES:
            events += self._take(is_whole=False)
        return events

    def finish(self) -> list[PackerEvent]:
        """The events of what is left when the stream has ended."""
        return self._take(is_whole=True) if self._pending else []

    def _take(self, *, is_whole: bool) -> list[PackerEvent]:
        # an invisible byte stays what it was: written to the log, it is the same byte again
        text = self._pending.decode(errors="surrogateescape").rstrip("\r")
        self._pending.clear()
        speaker = self._part_of
        if speaker is None and is_whole:
            return [self._masked(event) for event in _read(text)]
        if speaker is None:
            *whole, last = [event for event in _read(text) if isinstance(event, Line)] or [Line("", Speaker.GUEST)]
            self._part_of = last.speaker
            return [*map(self._masked, whole), *self._parts(last.text, last.speaker, is_whole=False)]
        self._part_of = None if is_whole else speaker
        return list(self._parts(_unescaped(text), speaker, is_whole=is_whole))

    def _parts(self, text: str, speaker: Speaker, *, is_whole: bool) -> Iterator[Line]:
        """A part of a long line; its end, where a letter or a comma may be cut, becomes the beginning of the next."""
        if not is_whole:
            text, rest = text[:-_CUT], text[-_CUT:]
            self._pending += rest.encode(errors="surrogateescape")
        masked = self._part.feed(text) + (self._part.finish() if is_whole else "")
        if masked:
            yield Line(masked, speaker)

    def _masked(self, event: PackerEvent) -> PackerEvent:
        match event:
            case Line(text, speaker):
                return Line(self._mask(text), speaker)
            case BuildError(text, has_reason):
                return BuildError(self._mask(text), has_reason)
        return event


def _read(record: str) -> list[PackerEvent]:
    fields = record.split(",")
    is_record = len(fields) >= 4 and fields[0].isdigit()
    if not is_record:
        # not a record: Packer's own trouble, such as a crash, or why it could not log in by WinRM
        found = _REFUSED.search(record)
        why = [BuildError(_shown(winrm_refusal.meaning(found.group(1))))] if found else []
        return [Line(record, Speaker.PACKER), *why] if record.strip() else []
    if fields[2] == "error" and fields[1]:
        text = _unescaped(",".join(fields[3:]))
        if text.startswith(winrm_refusal.TIME_OUT):
            return [BuildError(_shown(winrm_refusal.meaning(text)), has_reason=False)]
        return [BuildError(_shown(text))]
    if fields[2] != "ui" or len(fields) < 5:
        return []  # artifacts, counts and the like say nothing a reader needs
    speaker = Speaker(fields[3]) if fields[3] in set(Speaker) else Speaker.PACKER
    text = _unescaped(",".join(fields[4:]))
    if (prefix := _prefix(text)) and text.startswith(_MARK, len(prefix)):
        told = _of_step(text[len(prefix) + 1 :], is_error=speaker is Speaker.ERROR)
        if told:
            return told
    lines = _lines(text)
    events: list[PackerEvent] = [Line(line, speaker) for line in lines]
    if speaker is Speaker.PACKER:
        if lines[0] in _CONNECTED:
            events.append(Connected())
        elif lines[0] == _RESTARTING:
            events.append(RestartBegun())
        elif lines[0] == _RESTARTED:
            events.append(RestartDone())
        elif found := _STEP.match(lines[0]):
            events.append(StepReached(int(found.group(1))))
    return events


def _of_step(text: str, *, is_error: bool) -> list[PackerEvent]:
    """What `step_runner.py` wrote, without its mark; nothing for what it never writes."""
    kind, rest = text[:1], text[1:]
    speaker, prefix = (Speaker.ERROR, "==> null: ") if is_error else (Speaker.GUEST, "    null: ")
    if kind == _KINDS["LINES"]:
        lines = rest.split(_KINDS["NEXT"])
        return [Line(prefix + _returned(line).replace(_KINDS["OWN_MARK"], _MARK), speaker) for line in lines]
    if kind == _KINDS["LONG_LINE"]:
        return [Line(prefix + _returned(rest), speaker)]
    if kind == _KINDS["STARTED"]:
        return [ScriptStarted(rest)]
    if kind == _KINDS["ENDED"] and _STATUS.fullmatch(rest):
        return [ScriptEnded(int(rest))]
    if kind == _KINDS["WAITS"] and _DRAWN.fullmatch(rest):
        return [CheckpointReached(rest)]
    if kind == _KINDS["GOES_ON"]:
        return [CheckpointLeft()]
    if kind == _KINDS["MISSING"]:
        return [ScriptLost()]
    if kind == _KINDS["RESTARTING"]:
        return [RestartComing()]
    return [Line(f"==> null: {rest}", Speaker.PACKER)] if kind == _KINDS["REMARK"] else []


def _returned(text: str) -> str:
    return text.replace(_KINDS["RETURN"], "\r")


def _prefix(text: str) -> str:
    return next((prefix for prefix in _PREFIXES if text.startswith(prefix)), "")


def _unescaped(text: str) -> str:
    return text.replace(_COMMA, ",")


def _lines(text: str) -> list[str]:
    r"""The lines of a record; Packer writes a line end as `\n`, and does not escape a `\n` of the guest's.

    Within a build's own records each line has the same prefix, which tells the two apart.
    """
    prefix = _prefix(text)
    text = text.replace("\\r", "\r") if not prefix else text
    parts = text.split(f"\\n{prefix}")
    lines = [parts[0], *(prefix + part for part in parts[1:])]
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return lines


def _shown(text: str) -> str:
    return text.replace("\\n", "\n").encode(errors="surrogateescape").decode(errors="replace").strip()
