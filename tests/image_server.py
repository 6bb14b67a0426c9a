"""A small HTTP server for tests: serves bytes, with ranges, and misbehaves when told to."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from served_listener import served

ETAG = '"one"'


def new_certificate(file: Path) -> Path:
    """A certificate for `localhost` that vouches for itself, with its key, as PEM; `SSL_CERT_FILE` may name it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@dataclass
class ImageServer:
    """Files by path, what to answer instead (one answer is used up by each request), and what was asked for."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[int | str]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str = ETAG
    modified: str = "Sun, 22 Nov 2026 02:09:44 GMT"

    def url(self, path: str) -> str:
        """The address of a file."""
        return f"{self.address}{path}"

    def ranges(self, path: str) -> list[str | None]:
        """The Range header of each request for a file."""
        return [asked_range for asked_path, asked_range in self.asked if asked_path == path]


@contextmanager
def serving(*, certificate: Path | None = None) -> Iterator[ImageServer]:
    """A server on 127.0.0.1 until the block is left; `localhost` by https with a certificate and its key in a file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            answers = server.answers.get(self.path, [])
            answer = answers.pop(0) if answers else ""
            content = server.files.get(self.path)
            if isinstance(answer, int) or content is None:
                self._send(answer if isinstance(answer, int) else 404, b"no")
                return
            start = 0
            if wanted and answer != "whole" and self.headers.get("If-Range") in {None, server.etag, server.modified}:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self._send(416, b"")
                    return
            self._send(206 if start else 200, content[start:], start=start, total=len(content), answer=str(answer))

        def _send(self, status: int, body: bytes, *, start: int = 0, total: int = 0, answer: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status in {200, 206}:
                self.send_header("Last-Modified", server.modified)
                if server.etag:
                    self.send_header("ETag", server.etag)
            if status == 206:
                shown = start + 1 if answer == "other range" else start
                self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
            if answer == "cut":
                body = body[: len(body) // 2]
                self.close_connection = True
            self.end_headers()
            self.wfile.write(body)

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up early is part of the tests

    listener = Listener(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    address = f"http://127.0.0.1:{listener.server_address[1]}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        address = f"https://localhost:{listener.server_address[1]}"
    server = ImageServer(address)
    with served(listener):
        yield server
