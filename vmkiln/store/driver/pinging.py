"""Whether a connection that was kept is asked for a sign of life before it is used: one turn to the server each time.

Who finds out anyway, and can begin anew on another connection, trusts the one that was kept.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Engine

_is_trusted: ContextVar[bool] = ContextVar("is_trusted", default=False)


@contextlib.contextmanager
def trusted() -> Iterator[None]:
    """Take a connection of this context as it is."""
    token = _is_trusted.set(True)
    try:
        yield
    finally:
        _is_trusted.reset(token)


def leave_out_where_trusted(engine: Engine) -> None:
    """Let an engine ask for no sign of life where its connections are trusted."""
    ask = engine.dialect.do_ping

    def do_ping(driver_connection: Any) -> bool:
        return _is_trusted.get() or ask(driver_connection)

    engine.dialect.do_ping = do_ping  # type: ignore[method-assign, assignment]
