"""Whether a service ends, for answers that have no end of their own: they are not waited for, if they look.

The listener puts the question into the state of each request's scope, and what lets a request's body take its time.
Source: ASGI, "HTTP & WebSocket" message format, `state`.
"""

from collections.abc import Callable, Mapping
from typing import Any

IS_ENDING = "is_ending"
LASTS = "lasts"


def state(is_ending: Callable[[], bool]) -> dict[str, Any]:
    """What the requests of a listener have in their state; pure."""
    return {IS_ENDING: is_ending}


def is_ending(scope: Mapping[str, Any]) -> bool:
    """Whether the listener that took a request ends; where none did, as in a test, it does not."""
    ask = scope.get("state", {}).get(IS_ENDING)
    return ask is not None and bool(ask())


def lasts(scope: Mapping[str, Any]) -> None:
    """Let the body of this request have no end in time; to be called when it is known whose it is."""
    if allow := scope.get("state", {}).get(LASTS):
        allow()
