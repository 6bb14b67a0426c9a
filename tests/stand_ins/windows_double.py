"""Stands in for the WinRM service of a Windows VM: WS-Management over HTTPS, as far as Packer speaks it.

Standard library only, so that it also runs in a guest. It proves what Packer does with what we give it, and nothing
about Windows: no PowerShell runs here (`windows_machine.py`).
Source: docs/windows.md; Packer 1.6.6 and its client, by what they send.
"""

import base64
import contextlib
import http.server
import re
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stand_ins.windows_machine import Gone, Task, WindowsMachine

NAMESPACES = (
    'xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" '
    'xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd" '
    'xmlns:rsp="http://schemas.microsoft.com/wbem/wsman/1/windows/shell"'
)
STATE = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState"
TIMED_OUT, NO_SHELL = "2150858793", "2150858843"
LOOK_SECONDS = 2.0


@dataclass
class Double:
    """The service on a port of `host`; what it was told to do, and did, is in its machine's journal."""

    machine: WindowsMachine
    context: ssl.SSLContext
    user: str
    password: str
    port: int = 0
    host: str = "127.0.0.1"
    _listener: socket.socket | None = None
    _connections: dict[socket.socket, str] = field(default_factory=dict)
    _shells: set[str] = field(default_factory=set)
    _peers: set[str] = field(default_factory=set)
    _tasks: dict[str, Task] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def has_shells(self) -> bool:
        """Whether somebody is logged in."""
        return bool(self._shells)

    def open(self) -> None:
        """Listen on the port; a service that was down is there again, and knows no shell of before."""
        with self._lock:
            self._shells.clear()
            self._tasks.clear()
            listener = socket.create_server((self.host, self.port), backlog=64)
            self.port = int(listener.getsockname()[1])
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self, how: str = "fin") -> None:
        """Stop listening, and end each connection: with FIN or with RST."""
        with self._lock:
            if self._listener is not None:
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
        self.cut(how)

    def cut(self, how: str) -> None:
        """End each connection, and go on listening."""
        with self._lock:
            for raw in self._connections:
                self._connections[raw] = how
                with contextlib.suppress(OSError):
                    if how == "rst":
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    # not the method of TLS, after which what is still written would go out as it is
                    socket.socket.shutdown(raw, socket.SHUT_RD if how == "rst" else socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                raw, (peer, _) = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener is not self._listener:
                    raw.close()
                    return
                if peer not in self._peers:
                    self._peers.add(peer)
                    self.machine.note(f"connection from {peer}")
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            wrapped = self.context.wrap_socket(raw, server_side=True)
        except (OSError, ValueError):
            raw.close()
            return
        with self._lock:
            self._connections[wrapped] = ""
        try:
            _Handler(wrapped, ("127.0.0.1", 0), self)  # type: ignore[arg-type]
        except (Gone, OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._connections.pop(wrapped, None)
            wrapped.close()

    def answer(self, message: str) -> tuple[int, str]:
        """The status and the body's inside that answer one message."""
        action = _first(r"<a:Action[^>]*>[^<]*/([A-Za-z]+)</a:Action>", message)
        shell = _first(r'Name="ShellId"[^>]*>([^<]+)<', message)
        if action == "Create":
            shell = str(uuid.uuid4()).upper()
            self._shells.add(shell)
            return 200, f'<w:SelectorSet><w:Selector Name="ShellId">{shell}</w:Selector></w:SelectorSet>'
        if shell not in self._shells:
            return 500, _fault("w:InvalidSelectors", NO_SHELL, "the shell was not found on the server")
        if action == "Command":
            command = _unescaped(_first(r"<rsp:Command>(.*?)</rsp:Command>", message, re.DOTALL))
            identity = str(uuid.uuid4()).upper()
            self._tasks[identity] = self.machine.begin(command)
            return 200, f"<rsp:CommandResponse><rsp:CommandId>{identity}</rsp:CommandId></rsp:CommandResponse>"
        if action == "Receive":
            return self._received(_first(r'CommandId="([^"]+)"', message))
        if action == "Delete":
            self._shells.discard(shell)
        return 200, ""

    def _received(self, identity: str) -> tuple[int, str]:
        task = self._tasks.get(identity)
        if task is None:
            return 500, _fault("w:InvalidSelectors", NO_SHELL, "the command was not found on the server")
        pieces, code = task.look(LOOK_SECONDS)
        if not pieces and code is None:
            return 500, _fault("w:TimedOut", TIMED_OUT, "The WS-Management service cannot complete the operation "
                               "within the time specified in OperationTimeout.")  # fmt: skip
        inside = "".join(
            f'<rsp:Stream Name="{name}" CommandId="{identity}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in pieces
        )
        if code is not None:
            inside += (
                f'<rsp:CommandState CommandId="{identity}" State="{STATE}/Done">'
                f"<rsp:ExitCode>{code}</rsp:ExitCode></rsp:CommandState>"
            )
        return 200, f"<rsp:ReceiveResponse>{inside}</rsp:ReceiveResponse>"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any
    timeout = None

    def do_POST(self) -> None:
        double: Double = self.server
        message = self.rfile.read(int(self.headers["Content-Length"])).decode()
        wanted = base64.b64encode(f"{double.user}:{double.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            double.machine.note("401")
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, inside = double.answer(message)
        body = f"<s:Envelope {NAMESPACES}><s:Header/><s:Body>{inside}</s:Body></s:Envelope>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/soap+xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the journal tells."""


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """TLS as a Windows speaks it; both are paths of PEM files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


@contextlib.contextmanager
def opened(
    machine: WindowsMachine, *, certificate: str, key: str, user: str, password: str, port: int = 0
) -> Iterator[Double]:
    """A double that is there; `certificate` and `key` are paths of PEM files. With a port, it listens on that one."""
    double = Double(machine, context_of(certificate, key), user, password, port)
    machine.connect(down=double.close, up=double.open, cut=double.cut)
    double.open()
    try:
        yield double
    finally:
        machine.end()
        double.close()


def _first(pattern: str, text: str, flags: int = 0) -> str:
    found = re.search(pattern, text, flags)
    return found.group(1) if found else ""


def _unescaped(text: str) -> str:
    plain = re.sub(r"<!\[CDATA\[(.*?)\]\]>", r"\1", text, flags=re.DOTALL)
    for name, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        plain = plain.replace(name, letter)
    return plain


def _fault(code: str, number: str, reason: str) -> str:
    return (
        f"<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{number}">'
        f"<f:Message>{reason}</f:Message></f:WSManFault></s:Detail></s:Fault>"
    )
