"""A server of the tests that answers in a thread of its own until the block is left."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer


@contextmanager
def served(listener: BaseServer) -> Iterator[None]:
    """Let it take connections; it is closed afterwards, and its thread has ended."""
    with listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown()
            thread.join()
