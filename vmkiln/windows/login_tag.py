"""How a Windows image is got to make the login of a run, where a template's tag or an earlier check says it; pure."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from vmkiln.errors import Mistake


class Hook(StrEnum):
    """What runs the script when set-up is done: set-up's own last script, or the first logon of the build's user."""

    SETUP_COMPLETE = "setup-complete"
    FIRST_LOGON = "first-logon"


TAG = "vmkiln-windows-login"
GATE = "windows-login-1"  # of the verdicts; another number when what a check asks for changes
TITLES = {Hook.SETUP_COMPLETE: "at the end of set-up", Hook.FIRST_LOGON: "at a first logon"}


def gate_of(way: Hook) -> str:
    """The gate that an image has passed when this way was tried with it, and somebody could log in."""
    return f"{GATE}-{way}"


def told_way(tags: Mapping[str, str]) -> Hook | None:
    """The way that a template's tag names; none without one, or with one that names no way."""
    text = _text(tags)
    return Hook(text) if text in set(Hook) else None


def login_tag_mistakes(tags: Mapping[str, str]) -> Iterator[Mistake]:
    """A tag that names no way."""
    text = _text(tags)
    if text and text not in set(Hook):
        yield Mistake(f"tags.{TAG}", f"`{text[:80]}` is no way to log in", f"one of {', '.join(Hook)}")


def _text(tags: Mapping[str, str]) -> str:
    return next((value.strip().lower() for name, value in tags.items() if name.lower() == TAG), "")
