"""Pages from templates: everything that is filled in is text, never markup, and never obeyed by the browser."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from vmkiln import __version__
from vmkiln.harmless_text import harmless_lines
from vmkiln.portal.icons import ICONS, kind_of_state
from vmkiln.portal.overview.begun import begun_words
from vmkiln.portal.resources.resource_face import is_time, told_act
from vmkiln.portal.scheme import Scheme
from vmkiln.portal.trail import RAIL, section_of, trail
from vmkiln.portal.waterfall import moment

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
WHERE_TO_LOOK = "During the image build a failure has occurred"
MOST_SHORT_LETTERS = 240
END_OF_TIME = "0001-01-01"  # how Azure writes that something has not ended


def duration(seconds: float | None) -> str:
    """Seconds as people read them."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def when(text: str | None) -> str:
    """A time of the API as people read it (UTC)."""
    found = None if not text or text.startswith(END_OF_TIME) else moment(text)
    return "" if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def lasted(start: str | None, end: str | None) -> str:
    """How long something took, or has taken so far."""
    begun, ended = moment(start), None if not end or end.startswith(END_OF_TIME) else moment(end)
    return "" if begun is None else duration(max(0.0, ((ended or datetime.now(UTC)) - begun).total_seconds()))


def since(began: float | None, at: float) -> str:
    """How long after a beginning something came, both in seconds since 1970: minutes and seconds."""
    seconds = max(0, int(at - (at if began is None else began)))
    return f"{seconds // 60}:{seconds % 60:02}"


def short_name(resource_id: str) -> str:
    """The last name of an ARM id."""
    return resource_id.rstrip("/").rpartition("/")[2]


def in_short(message: str) -> str:
    """What a run's message says first, for a table; where Azure has one look for the log, a link leads here."""
    first = message.partition(f". {WHERE_TO_LOOK}")[0]
    return first if len(first) <= MOST_SHORT_LETTERS else f"{first[:MOST_SHORT_LETTERS].rpartition(' ')[0]} …"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def pretty(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plain(text: Any) -> str:
    """Text of several lines without its power over what shows it."""
    return harmless_lines(str(text))


@dataclass(frozen=True)
class OfVisit:
    """What every page of a visit says: what was done before it, in which colours, and who is logged in."""

    told: str = ""
    scheme: Scheme = Scheme.SYSTEM
    visitor: str = ""


_visit: ContextVar[OfVisit] = ContextVar("visit", default=OfVisit())  # noqa: B039 (it is frozen)


@contextlib.contextmanager
def filled_in_for(visit: OfVisit) -> Iterator[None]:
    """Pages that are filled in here are of this visit."""
    token = _visit.set(visit)
    try:
        yield
    finally:
        _visit.reset(token)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vmkiln.portal", "pages"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    environment.filters |= {
        "duration": duration,
        "when": when,
        "short_name": short_name,
        "pretty": pretty,
        "in_short": in_short,
        "act": told_act,
    }
    environment.filters |= {"size": size, "since": since, "begun": begun_words}
    environment.globals |= {"lasted": lasted, "ICONS": ICONS, "kind_of_state": kind_of_state, "is_time": is_time}
    environment.globals |= {"RAIL": RAIL, "trail": trail, "section_of": section_of}
    environment.globals |= {"VERSION": __version__, "SCHEMES": tuple(Scheme)}
    environment.globals |= {
        "told": lambda: _visit.get().told,
        "scheme": lambda: _visit.get().scheme,
        "visitor": lambda: _visit.get().visitor,
    }
    return environment


ENVIRONMENT = _environment()


def compile_pages() -> int:
    """Compile all pages, and tell how many; for a thread, for it takes half a second of a processor."""
    names = ENVIRONMENT.list_templates()
    for name in names:
        ENVIRONMENT.get_template(name)
    return len(names)


async def page(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of `pages/`, filled in; in a thread, for a long list takes a while."""
    text = await run_in_threadpool(_filled_in, name, values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def _filled_in(name: str, values: Mapping[str, Any]) -> str:
    return ENVIRONMENT.get_template(name).render(**values)


def part(name: str, values: Mapping[str, Any]) -> str:
    """A part of a page, filled in; for a thread."""
    return _filled_in(name, values)
