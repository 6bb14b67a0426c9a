"""An issuer at which people log in, on 127.0.0.1: it lets its one person in without a question, and checks its clients.

Source: OpenID Connect Core 1.0, section 3.1; RFC 7636; RFC 9207.
"""

import base64
import datetime
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import jwt
from served_listener import served

from vmkiln.api.identity.issuer import Issuer, issuer_of, new_key

CLIENT = "vmkiln portal"
SECRET = "a secret: of/that+client"
SUBJECT = "person|1"


@dataclass
class LoginIssuer:
    """Its port and key; `changes` are claims in place of the usual ones; `asked` are forms that came for tokens."""

    port: int
    own: Issuer
    changes: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    algorithm: str = "RS256"
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes on."""
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert "openid" in asked["scope"].split()
        code = uuid.uuid4().hex
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer to a form: a token for a code, once, to the client that it was given to."""
        self.asked.append(form)
        both = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if tuple(map(unquote, both.split(":"))) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        is_same = asked is not None and asked["redirect_uri"] == form["redirect_uri"]
        if asked is None or not is_same or asked["code_challenge"] != challenge.decode():
            return 400, {"error": "invalid_grant"}
        return 200, {"token_type": "Bearer", "access_token": "none of ours", "id_token": self.id_token(asked["nonce"])}

    def id_token(self, nonce: str) -> str:
        now = datetime.datetime.now(datetime.UTC)
        claims = {"iss": self.url, "sub": SUBJECT, "aud": CLIENT, "iat": now, "nonce": nonce}
        claims |= {"exp": now + datetime.timedelta(minutes=5), **self.changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        key = {"RS256": self.own.private_key, "HS256": SECRET, "none": None}[self.algorithm]
        return jwt.encode(claims, key, algorithm=self.algorithm, headers={"kid": self.own.key_id})  # type: ignore[arg-type]


@contextmanager
def login_issuer() -> Iterator[LoginIssuer]:
    """An issuer until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", issuer.authorize(dict(parse_qsl(parts.query))))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(200, issuer.document if parts.path.startswith("/.well-known") else issuer.own.key_set())

        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.answer(*issuer.token(form, self.headers.get("Authorization", "")))

        def answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

    listener = Listener(("127.0.0.1", 0), Handler)
    with served(listener):
        issuer = LoginIssuer(listener.server_address[1], issuer_of(str(uuid.uuid4()), new_key()))
        issuer.document = {
            "issuer": issuer.url,
            "authorization_endpoint": f"{issuer.url}/authorize",
            "token_endpoint": f"{issuer.url}/token",
            "jwks_uri": f"{issuer.url}/keys",
        }
        yield issuer
