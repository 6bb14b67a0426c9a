"""The ARM functions on dates: dateTimeAdd, dateTimeFromEpoch, dateTimeToEpoch; and times in .NET's patterns.

A result of dateTimeAdd without a format has the form of its base. A duration's year has 365 days and its month 30, as
.NET's XmlConvert reads ISO 8601. Source: the "Date functions for ARM templates" reference; ".NET custom date and time
format strings".
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from vmkiln.arm_template.budget import Arguments
from vmkiln.arm_template.values import Function, needs_int, needs_string

LONGEST_PATTERN = 1000  # letters; each piece is written alone
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO = "yyyy-MM-ddTHH:mm:ssZ"
SHOWN = "M/d/yyyy h:mm:ss tt"  # how .NET shows a time: what the reference says of a base as `utcNow('u')` gives it
_PIECES = {
    "yyyy": "%Y",
    "yy": "%y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "hh": "%I",
    "mm": "%M",
    "ss": "%S",
    "tt": "%p",
    "dddd": "%A",
    "ddd": "%a",
    "MMMM": "%B",
    "MMM": "%b",
}
_SHORT = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "f": "dddd, dd MMMM yyyy HH:mm",
    "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm",
    "G": "MM/dd/yyyy HH:mm:ss",
    "m": "MMMM dd",
    "M": "MMMM dd",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffZ",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffZ",
    "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "t": "HH:mm",
    "T": "HH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ssZ",
    "U": "dddd, dd MMMM yyyy HH:mm:ss",
    "y": "yyyy MMMM",
    "Y": "yyyy MMMM",
}
_TOKEN = re.compile(
    r"yyyy|yy|MMMM|MMM|MM|M|dddd|ddd|dd|d|HH|H|hh|h|mm|m|ss|s|f{1,7}|tt|zzz|K|'[^']*'|\"[^\"]*\"|\\.|%|.", re.DOTALL
)
_DURATION = re.compile(
    r"(-)?P(?=.)(?:([0-9]{1,6})Y)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})W)?(?:([0-9]{1,7})D)?"
    r"(?:T(?=.)(?:([0-9]{1,8})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,10}(?:\.[0-9]{1,7})?)S)?)?"
)
_DAYS = (365, 30, 7, 1)  # of a year, a month, a week, a day
# what a base may look like: how it is read (strptime), and the pattern that a result without a format gets
_FORMS = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?", "%Y-%m-%dT%H:%M:%S", ISO),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?", "%Y-%m-%d %H:%M:%S", SHOWN),
    (r"\d{8}T\d{6}(\.\d{1,7})?(Z)?", "%Y%m%dT%H%M%S", "yyyyMMddTHHmmssZ"),
    (r"\d{4}-\d\d-\d\d()()", "%Y-%m-%d", ISO),
    (r"\d\d?/\d\d?/\d{4} \d\d?:\d\d:\d\d()() [AP]M", "%m/%d/%Y %I:%M:%S %p", SHOWN),
    (r"\d\d?/\d\d?/\d{4} \d\d?:\d\d:\d\d()()", "%m/%d/%Y %H:%M:%S", "MM/dd/yyyy HH:mm:ss"),
)


def formatted_time(moment: datetime, pattern: str) -> str:
    """A time in .NET's pattern, such as `yyyyMMddTHHmmssZ`; the ones without leading zero are `M d H h m s`."""
    pattern = _SHORT.get(pattern, pattern)
    return "".join(_piece(moment, token) for token in _TOKEN.findall(pattern))


def _piece(moment: datetime, piece: str) -> str:
    if piece in _PIECES:
        shown = moment.strftime(_PIECES[piece])
        return shown.rjust(4, "0") if piece == "yyyy" else shown
    if piece in ("M", "d", "H", "h", "m", "s"):
        return moment.strftime(_PIECES[piece * 2]).lstrip("0") or "0"
    if piece.startswith("f"):
        return f"{moment.microsecond:06}0"[: len(piece)]
    if piece in ("zzz", "K", "%"):
        return {"zzz": "+00:00", "K": "Z", "%": ""}[piece]
    return piece[1:-1] if piece[0] in "'\"" and len(piece) > 1 else piece.lstrip("\\") or piece


def read_time(text: str) -> tuple[datetime, str]:
    """The moment (UTC) that a text tells, and the pattern it has. Raises ValueError."""
    for form, read, pattern in _FORMS:
        if found := re.fullmatch(form, text.strip()):
            fraction, zone = found[1] or "", found[2] or ""
            plain = text.strip().removesuffix(zone).removesuffix(fraction) if zone or fraction else text.strip()
            moment = datetime.strptime(plain, read).replace(tzinfo=UTC)
            moment += timedelta(microseconds=int(fraction[1:7].ljust(6, "0"))) if fraction else timedelta()
            if zone not in ("", "Z"):
                hours, minutes = int(zone[1:3]), int(zone[4:6])
                moment -= timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
            return moment, pattern
    raise ValueError(f"`{text[:80]}` is not a date and time such as 2026-01-31T13:00:00Z")


def read_duration(text: str) -> timedelta:
    """A duration in the form of ISO 8601: `P3Y`, `-P9D`, `PT1H30M`. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"`{text[:80]}` is not a duration such as P3Y, -P9D or PT1H30M")
    days = sum(int(number or 0) * each for number, each in zip(found.groups()[1:5], _DAYS, strict=True))
    hours, minutes, seconds = (float(number or 0) for number in found.groups()[5:8])
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -length if found[1] else length


def check_pattern(pattern: Any) -> None:
    """Raises ValueError for what is no pattern of a time, but a text of some length."""
    if len(needs_string(pattern, "the format")) > LONGEST_PATTERN:
        raise ValueError(f"a format of a time has at most {LONGEST_PATTERN} characters")


def _add(arguments: Arguments) -> str:
    base, pattern = read_time(needs_string(arguments[0], "the base"))
    if len(arguments) > 2:
        check_pattern(arguments[2])
    moment = base + read_duration(needs_string(arguments[1], "the duration"))
    return formatted_time(moment, needs_string(arguments[2], "the format") if len(arguments) > 2 else pattern)


def _from_epoch(arguments: Arguments) -> str:
    # not by `fromtimestamp`, which raises what the C library makes of a number that is too large for it
    return formatted_time(EPOCH + timedelta(seconds=needs_int(arguments[0], "the seconds")), ISO)


def _to_epoch(arguments: Arguments) -> int:
    return int(read_time(needs_string(arguments[0], "the date"))[0].timestamp() // 1)


DATE_FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "datetimeadd": (2, 3, _add),
    "datetimefromepoch": (1, 1, _from_epoch),
    "datetimetoepoch": (1, 1, _to_epoch),
}
