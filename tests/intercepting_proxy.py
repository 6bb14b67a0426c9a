"""A proxy that ends TLS itself, as those of some companies do, with an authority of its own: for tests.

Whatever server it is asked for, it answers for it from what it was given, and notes who was asked for, and by whom.
"""

import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from served_listener import served

DAY = timedelta(days=1)


@dataclass
class Authority:
    """A certificate authority in a folder; `name` is its common name."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._signed(self.name, self._key, is_authority=True)
        self.bundle.write_bytes(self._own.public_bytes(serialization.Encoding.PEM))

    @property
    def bundle(self) -> Path:
        """Its certificate (PEM)."""
        return self.folder / "authority.pem"

    def context_for(self, host: str) -> ssl.SSLContext:
        """What a server of that name needs, signed by it."""
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file = self.folder / f"{host}.pem"
        certificate = self._signed(host, key, is_authority=False).public_bytes(serialization.Encoding.PEM)
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form) + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class InterceptingProxy:
    """Where it listens, what it answers (bytes or a file) by the whole address, and what it was asked for."""

    host: str
    port: int
    authority: Authority
    answers: dict[str, bytes | Path] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, login: str = "") -> str:
        """What a client is told."""
        return f"http://{login}{self.host}:{self.port}"


@contextmanager
def intercepting(host: str, authority: Authority) -> Iterator[InterceptingProxy]:
    """Such a proxy on an address of this machine until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_name = ""

        def log_message(self, *arguments: object) -> None:
            pass

        def do_CONNECT(self) -> None:
            proxy.asked.append(("CONNECT", self.path, self.headers.get("Proxy-Authorization", "")))
            self.send_response(200)
            self.end_headers()
            self.server_name = self.path.rpartition(":")[0]
            context, plain = authority.context_for(self.server_name), (self.rfile, self.wfile)
            # who trusts another authority hangs up
            with suppress(OSError), context.wrap_socket(self.connection, server_side=True) as self.connection:
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                with self.rfile, self.wfile:
                    self.close_connection = False
                    while not self.close_connection:
                        self.handle_one_request()
            self.rfile, self.wfile = plain
            self.close_connection = True

        def do_GET(self) -> None:
            whole = f"https://{self.server_name}{self.path}" if self.server_name else self.path
            proxy.asked.append((self.command, whole, self.headers.get("Proxy-Authorization", "")))
            answer = proxy.answers.get(whole)
            size = 0 if answer is None else len(answer) if isinstance(answer, bytes) else answer.stat().st_size
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.command != "HEAD" and isinstance(answer, Path):
                with answer.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile, 1 << 20)
            elif self.command != "HEAD":
                self.wfile.write(answer or b"")
            self.wfile.flush()

        def do_HEAD(self) -> None:
            self.do_GET()

    listener = ThreadingHTTPServer((host, 0), Handler)
    listener.daemon_threads = True
    proxy = InterceptingProxy(host, listener.server_address[1], authority)
    with served(listener):
        yield proxy
