"""The answer of the inspection VM, read as it comes and made into values; what is not in its form is refused.

Its kernel reads file systems that a guest wrote and may be taken over by one, so its answer is data like a guest's: it
has a bound in bytes and in records, and numbers, counts and order are checked.
"""

from dataclasses import dataclass, field
from typing import Any

from vmkiln.inspecting.disk_contents import DiskContents, DiskFound, Entry, Volume
from vmkiln.inspecting.trims import TRIMS
from vmkiln.run_failures import AnswerRefused, InspectionFailed

MOST_ANSWER_BYTES = 160 * 1024**2
MOST_RECORDS = 1_200_000
MOST_HEADER_BYTES = 256
MOST_DIGITS = 15
FIELDS = {"disk": 3, "volume": 8, "entry": 7, "content": 3, "mark": 3, "cut": 3, "scrubbed": 2, "trimmed": 2, "end": 0}


@dataclass
class _Reading:
    """A volume while its records come."""

    head: tuple[Any, ...]
    entries: list[Entry] = field(default_factory=list)
    contents: dict[bytes, bytes] = field(default_factory=dict)
    marks: list[tuple[bytes, str]] = field(default_factory=list)
    cut: list[tuple[bytes, str]] = field(default_factory=list)
    given_back_bytes: int | None = None
    trimmed: list[str] = field(default_factory=list)

    def volume(self) -> Volume:
        device, filesystem, size_bytes, used_bytes, uuid, label, unread = self.head
        return Volume(
            device,
            filesystem,
            size_bytes,
            used_bytes,
            uuid,
            label,
            unread,
            tuple(self.entries),
            self.contents,
            tuple(self.marks),
            tuple(self.cut),
            self.given_back_bytes,
            tuple(self.trimmed),
        )


class Answer:
    """Reads the records, in whatever pieces they come; `contents` is what they tell, once the last has come.

    `told` is all of it word for word, where it is no longer than `most_told_bytes`; none where it is.
    """

    def __init__(self, *, most_told_bytes: int = 0) -> None:
        self._most_told_bytes = most_told_bytes
        self._told = bytearray()
        self._pending = bytearray()
        self._seen = 0
        self._records = 0
        self._disks: list[DiskFound] = []
        self._volumes: list[_Reading] = []
        self.is_complete = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises: `AnswerRefused` for what is not in the form of an answer, or too much."""
        self._seen += len(chunk)
        if self._seen > MOST_ANSWER_BYTES:
            raise AnswerRefused(f"the inspection VM told more than {MOST_ANSWER_BYTES >> 20} MiB")
        self._pending += chunk
        if self._seen <= self._most_told_bytes:
            self._told += chunk
        else:
            self._told.clear()
        start = 0
        while (end := self._record(start)) is not None:
            start = end
        del self._pending[:start]

    @property
    def told(self) -> bytes | None:
        """The answer as it came; none while it is not whole, or when it is too long to be kept."""
        return bytes(self._told) if self.is_complete and self._seen <= self._most_told_bytes else None

    def contents(self) -> DiskContents:
        """What was found. Raises: `InspectionFailed` when the answer is not whole."""
        if not self.is_complete:
            raise InspectionFailed("the inspection VM's answer is not whole")
        return DiskContents(tuple(self._disks), tuple(reading.volume() for reading in self._volumes))

    def _record(self, start: int) -> int | None:
        """Read the record that begins there, if all of it has come; returns where it ends."""
        line_end = self._pending.find(b"\n", start, start + MOST_HEADER_BYTES)
        if line_end < 0:
            if len(self._pending) - start >= MOST_HEADER_BYTES:
                raise _untold("a record without an end")
            return None
        kind, *numbers = bytes(self._pending[start:line_end]).decode("ascii", errors="replace").split(" ")
        lengths = [_number(text) for text in numbers]
        if kind not in FIELDS or not lengths or lengths[0] != FIELDS[kind] or len(lengths) != FIELDS[kind] + 1:
            raise _untold("a record of an unknown form")
        if self.is_complete:
            raise _untold("a record behind the last")
        end = line_end + 1 + sum(lengths[1:])
        if len(self._pending) <= end:
            return None
        if self._pending[end] != ord("\n"):
            raise _untold("a record of another length")
        fields, position = [], line_end + 1
        for length in lengths[1:]:
            fields.append(bytes(self._pending[position : position + length]))
            position += length
        self._records += 1
        if self._records > MOST_RECORDS:
            raise AnswerRefused(f"the inspection VM told more than {MOST_RECORDS} records")
        self._take(kind, fields)
        return end + 1

    def _take(self, kind: str, fields: list[bytes]) -> None:
        match kind, fields:
            case "end", []:
                self.is_complete = True
            case "disk", [serial, size, table]:
                self._disks.append(DiskFound(_text(serial), _number(_text(size)), _text(table)))
            case "volume", [number, device, filesystem, size, used, uuid, label, unread]:
                if _number(_text(number)) != len(self._volumes):
                    raise _untold("a volume out of order")
                sizes = (_number(_text(size)), max(0, _number(_text(used))))
                names = (_text(device), _text(filesystem))
                self._volumes.append(_Reading((*names, *sizes, _text(uuid), _text(label), _text(unread))))
            case "entry", [number, mode, uid, gid, size, path, target]:
                owner = (_number(_text(uid)), _number(_text(gid)))
                entry = Entry(path, _octal(mode), *owner, _number(_text(size)), target)
                self._reading(number).entries.append(entry)
            case "content", [number, path, content]:
                self._reading(number).contents[path] = content
            case "mark", [number, path, what]:
                self._reading(number).marks.append((path, _text(what)))
            case "cut", [number, path, reason]:
                self._reading(number).cut.append((path, _text(reason)))
            case "scrubbed", [number, size]:
                self._reading(number).given_back_bytes = _number(_text(size))
            case "trimmed", [number, what]:
                if _text(what) not in TRIMS:
                    raise _untold("something was taken away that nobody asked for")
                self._reading(number).trimmed.append(_text(what))

    def _reading(self, number: bytes) -> _Reading:
        if not self._volumes or _number(_text(number)) != len(self._volumes) - 1:
            raise _untold("a file of another volume")
        return self._volumes[-1]


def _untold(what: str) -> AnswerRefused:
    return AnswerRefused(f"what the inspection VM tells cannot be true: {what}")


def _text(field_: bytes) -> str:
    return field_.decode(errors="backslashreplace")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise _untold("a number that is none")
    return int(text)


def _octal(field_: bytes) -> int:
    text = _text(field_)
    if not text or len(text) > MOST_DIGITS or set(text) - set("01234567"):
        raise _untold("a mode that is none")
    return int(text, 8)
