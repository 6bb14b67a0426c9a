"""Receivers of notices on 127.0.0.1: a web server that answers as it is told, and a mail server that keeps messages."""

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from served_listener import served

LOCATION = "http://127.0.0.1:1/elsewhere"


@dataclass
class Hook:
    """Its port, the statuses to answer with (the last one again and again), and what came."""

    port: int
    statuses: list[int] = field(default_factory=lambda: [200])
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    is_silent: bool = False
    is_asked: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=in-the-address"


@contextmanager
def hooked() -> Iterator[Hook]:
    """A web server until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            hook.is_asked.set()
            if hook.is_silent:
                hook.is_over.wait()
                return
            status = hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", LOCATION)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # who is killed hangs up early

    listener = Listener(("127.0.0.1", 0), Handler)
    hook = Hook(listener.server_address[1])
    with served(listener):
        try:
            yield hook
        finally:
            hook.is_over.set()


@dataclass
class Mailbox:
    """Its port, what came, the logins, and whether the last message came over TLS."""

    port: int
    messages: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    was_tls: bool = False
    refusal: str = ""
    is_silent: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def mailed(certificate: tuple[Path, Path] | None = None, *, is_tls_first: bool = False) -> Iterator[Mailbox]:
    """A mail server until the block is left, with STARTTLS (or TLS first) where it has a certificate."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

    class Handler(socketserver.StreamRequestHandler):
        is_tls = False

        def finish(self) -> None:
            with contextlib.suppress(OSError):  # who looked hangs up early
                super().finish()
            self.connection.close()

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def encrypt(self) -> None:
            assert context is not None
            self.rfile.close()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined]
            self.is_tls = True

        def handle(self) -> None:
            if is_tls_first:
                self.encrypt()
            if box.is_silent:
                box.is_over.wait()
                return
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                self.answer(line)
                if line.upper() == "QUIT":
                    return

        def answer(self, line: str) -> None:
            word = line.split(" ", maxsplit=1)[0].upper()
            if word == "EHLO":
                offered = ["250-here"]
                offered += ["250-STARTTLS"] if context is not None and not self.is_tls else []
                offered += ["250-AUTH PLAIN"] if self.is_tls else []
                self.say("\r\n".join([*offered, "250 8BITMIME"]))
            elif word == "STARTTLS":
                self.say("220 go on")
                self.encrypt()
            elif word == "AUTH":
                box.logins.append(line.split(" ")[2])
                self.say("235 welcome")
            elif word == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(part)
                if box.refusal:
                    self.say(box.refusal)
                    return
                box.messages.append("\n".join(lines))
                box.was_tls = self.is_tls
                self.say("250 kept")
            else:
                self.say("221 bye" if word == "QUIT" else "250 well")

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    listener = Listener(("127.0.0.1", 0), Handler)
    box = Mailbox(listener.server_address[1])
    with served(listener):
        try:
            yield box
        finally:
            box.is_over.set()
