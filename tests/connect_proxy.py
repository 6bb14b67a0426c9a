"""A proxy on 127.0.0.1 for tests: forwards requests and tunnels (CONNECT), and notes who was asked for, and by whom.

It takes names as its own resolver would: all that it is asked for is one server of the test's.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from served_listener import served


@dataclass
class ConnectProxy:
    """Its port, the port on 127.0.0.1 that everything leads to, and what it was asked for, with the login."""

    port: int
    leads_to: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What a client is told."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def proxying(leads_to: int) -> Iterator[ConnectProxy]:
    """A proxy until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def _noted(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))

        def do_CONNECT(self) -> None:
            self._noted()
            with socket.create_connection(("127.0.0.1", proxy.leads_to)) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pour, args=(there, self.connection), daemon=True)
                back.start()
                _pour(self.connection, there)
                back.join(10)
            self.close_connection = True

        def do_GET(self) -> None:
            self._noted()
            parts = urlsplit(self.path)
            with socket.create_connection(("127.0.0.1", proxy.leads_to)) as there:
                there.sendall(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
                _pour(there, self.connection)
            self.close_connection = True

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    proxy = ConnectProxy(listener.server_address[1], leads_to)
    with served(listener):
        yield proxy


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
