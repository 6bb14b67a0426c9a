"""az logs in without a secret: with a certificate, and with the token of an issuer on this machine."""

import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from real_clients import Az, Login
from served_listener import served

from vmkiln.api.identity.issuer import Issuer, issuer_of, new_key

SUBJECT = "repo:you/yours:environment:images"


@pytest.fixture
def issuer() -> Iterator[tuple[str, Issuer]]:
    """An issuer that serves its two documents, and its URL."""
    keys = issuer_of("issuer", new_key())

    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = f"http://127.0.0.1:{self.server.server_address[1]}"
            document = {"issuer": place, "jwks_uri": f"{place}/keys"}
            body = json.dumps(keys.key_set() if self.path == "/keys" else document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Documents)
    with served(server):
        yield f"http://127.0.0.1:{server.server_address[1]}", keys


def a_principal(az: Az, *keys: str) -> str:
    """A principal that may read, with a key; made on the service's machine."""

    def vmkiln(*arguments: str) -> str:
        command = [sys.executable, "-m", "vmkiln", *arguments]
        done = subprocess.run(command, env=az.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    app_id = str(json.loads(vmkiln("principal", "create", "ci"))["appId"])
    vmkiln("role", "assign", "Reader", app_id, "--scope", "/")
    vmkiln("principal", keys[0], app_id, *keys[1:])
    assert len(json.loads(vmkiln("principal", "keys", app_id, "--json"))) == 1
    return app_id


def logged_in(az: Az, login: Login, app_id: str, *proof: str) -> str:
    """Log in in place of who was, and ask something; gives what az said when that failed."""
    who = ("login", "--service-principal", "-u", app_id, "--tenant", login.tenant, *proof)
    done = az.run(*who, "-o", "json")
    if done.returncode == 0:
        assert az("account", "show")["user"]["name"] == app_id
        assert "rg1" in {item["name"] for item in az("group", "list")}
    return done.stderr if done.returncode else ""


def test_az_makes_federated_credentials_of_an_identity(az: Az) -> None:
    az("identity", "create", "-g", "rg1", "-n", "workflow")
    which = ("--identity-name", "workflow", "-g", "rg1")
    trusted = ("--issuer", "https://token.actions.githubusercontent.com", "--subject", SUBJECT)
    az("identity", "federated-credential", "create", *which, "-n", "github", *trusted)
    (found,) = az("identity", "federated-credential", "list", *which)
    assert (found["name"], found["subject"]) == ("github", SUBJECT)
    az("identity", "federated-credential", "delete", *which, "-n", "github", "--yes")
    assert az("identity", "federated-credential", "list", *which) == []


def test_az_logs_in_with_a_certificate(az: Az, login: Login, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ci")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=2))
    pem = dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + pem)
    app_id = a_principal(az, "certificate", str(tmp_path / "both.pem"))
    assert logged_in(az, login, app_id, "--certificate", str(tmp_path / "both.pem")) == ""


def test_az_logs_in_with_the_token_of_another_issuer(az: Az, login: Login, issuer: tuple[str, Issuer]) -> None:
    url, keys = issuer
    now = datetime.datetime.now(datetime.UTC)
    claims = {"iss": url, "sub": SUBJECT, "aud": "api://AzureADTokenExchange", "exp": now + datetime.timedelta(hours=1)}

    def token(**changes: str) -> str:
        headers = {"kid": keys.key_id}
        return jwt.encode({**claims, **changes}, keys.private_key, algorithm="RS256", headers=headers)

    app_id = a_principal(az, "federate", "--issuer", url, "--subject", SUBJECT)
    refused = logged_in(az, login, app_id, "--federated-token", token(sub="repo:you/yours:pull_request"))
    assert "AADSTS700213" in refused
    assert logged_in(az, login, app_id, "--federated-token", token()) == ""
