"""A server on 127.0.0.1 that notes every request with its headers, and answers as it is told, redirects among that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from served_listener import served

OUR_SERVERS = {"VMKILN_PRIVATE_SERVERS": "127.0.0.1"}  # for services that fetch what tests serve
BODY = b"#!/bin/sh\necho from inside\n"


@dataclass
class AskedServer:
    """Its port; answers by path (headers of a 302, or of a 200 with a body); the requests that came."""

    port: int
    redirects: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str = "/x", *, host: str = "127.0.0.1") -> str:
        """The address of a path."""
        return f"http://{host}:{self.port}{path}"


@contextmanager
def serving(*, on_request: Callable[[], None] = lambda: None, address: str = "127.0.0.1") -> Iterator[AskedServer]:
    """A server until the block is left; other paths than those that were told get `BODY`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            on_request()
            server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            path = self.path.partition("?")[0]
            if location := server.redirects.get(path):
                self.send_response(302)
                self.send_header("Location", location)
                self.send_header("Set-Cookie", "who=you")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers, body = server.answers.get(path, ({}, BODY))
            self.send_response(200)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # who hangs up early is part of the tests

    listener = Listener((address, 0), Handler)
    server = AskedServer(listener.server_address[1])
    with served(listener):
        yield server
