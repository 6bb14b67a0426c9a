"""Logging in without a secret: certificates, and tokens of issuers such as GitHub's and Azure DevOps'."""

import base64
import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from in_process import BASE, GROUP, SUBSCRIPTION, InProcess, RecordedWork, an_issuer, started
from test_login import SUBSCRIPTIONS, TENANT, a_principal, log_in

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.client_assertion import KIND, read_certificate
from vmkiln.api.identity.issuer import issuer_of, new_key
from vmkiln.api.identity.outside_issuer import Issuers
from vmkiln.errors import InputError
from vmkiln.store.database import opened
from vmkiln.store.rows import KeyKind

GITHUB = "https://token.actions.example.org"
SUBJECT = "repo:you/yours:ref:refs/heads/main"
AUDIENCE = "api://AzureADTokenExchange"
ENDPOINT = f"{BASE}/{TENANT}/oauth2/v2.0/token"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
CREDENTIAL = f"{IDENTITY}/federatedIdentityCredentials/github"


class Github:
    """An issuer of workflows' tokens, and what it was asked for."""

    def __init__(self) -> None:
        self.issuer = issuer_of(str(uuid.uuid4()), new_key())
        self.asked: list[str] = []
        self.is_away = False

    def fetch(self, url: str) -> Any:
        self.asked.append(url)
        if self.is_away:
            raise ValueError("no such host")
        if url == f"{GITHUB}/.well-known/openid-configuration":
            return {"issuer": GITHUB, "jwks_uri": f"{GITHUB}/keys"}
        assert url == f"{GITHUB}/keys"
        return {"keys": [*self.issuer.key_set()["keys"], {"kid": "other", "kty": "unknown"}]}

    def token(self, **changes: Any) -> str:
        now = datetime.datetime.now(datetime.UTC)
        claims = {"iss": GITHUB, "sub": SUBJECT, "aud": AUDIENCE, "exp": now + datetime.timedelta(minutes=5)}
        key, kid = self.issuer.private_key, {"kid": self.issuer.key_id}
        return jwt.encode({**claims, **changes}, key, algorithm="RS256", headers=kid)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def github() -> Github:
    return Github()


@pytest.fixture
def real(tmp_path: Path, github: Github) -> Iterator[InProcess]:
    with opened(tmp_path / "vmkiln.sqlite") as store:
        access: Any = AccessControl(store, an_issuer())
        found = started(store, tmp_path, access, RecordedWork())
        object.__setattr__(found.service, "issuers", Issuers(fetch=github.fetch))
        yield found
        found.settled()


def certificate_of(key: Any, *, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ci")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def register(service: InProcess, app_id: str, pem: bytes) -> None:
    found = read_certificate(pem)
    detail = {"pem": found.pem, "sha1": found.sha1, "sha256": found.sha256, "notAfter": found.ends.isoformat()}
    service.service.store.principals.add_key(app_id, KeyKind.CERTIFICATE, "certificate", detail)


def signed(app_id: str, key: Any, pem: bytes, *, algorithm: str = "RS256", old: bool = True, **changes: Any) -> str:
    now = datetime.datetime.now(datetime.UTC)
    certificate = x509.load_pem_x509_certificate(pem)
    digest = certificate.fingerprint(hashes.SHA1() if old else hashes.SHA256())  # noqa: S303 (a name)
    name = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    claims = {"iss": app_id, "sub": app_id, "aud": ENDPOINT, "jti": "1", "exp": now + datetime.timedelta(minutes=10)}
    headers = {"x5t": name} if old else {"x5t#S256": name}
    return jwt.encode({**claims, **changes}, key, algorithm=algorithm, headers=headers)


def tried(service: InProcess, app_id: str, assertion: str, **form: str) -> Any:
    given = {"client_assertion_type": KIND, "client_assertion": assertion, **form}
    return log_in(service, app_id, "", **given)


def code_of(response: Any) -> int:
    return int(response.json()["error_codes"][0])


def may_list(service: InProcess, response: Any) -> int:
    assert response.status_code == 200, response.text
    token = response.json()["access_token"]
    return service.get(SUBSCRIPTIONS.format(SUBSCRIPTION), token=token).status_code


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_principal_logs_in_with_its_certificate(real: InProcess, key: Any, old: bool, algorithm: str) -> None:
    app_id, _ = a_principal(real)
    pem = certificate_of(key)
    register(real, app_id, pem)
    assert may_list(real, tried(real, app_id, signed(app_id, key, pem, algorithm=algorithm, old=old))) == 200


def test_certificates_of_elliptic_curves_log_in_too(real: InProcess) -> None:
    app_id, _ = a_principal(real)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = certificate_of(key)
    register(real, app_id, pem)
    assert may_list(real, tried(real, app_id, signed(app_id, key, pem, algorithm="ES256"))) == 200


def test_what_is_wrong_with_a_certificates_assertion_is_told(real: InProcess, key: Any) -> None:
    app_id, _ = a_principal(real)
    pem = certificate_of(key)
    unknown = tried(real, app_id, signed(app_id, key, pem))
    assert (unknown.status_code, code_of(unknown)) == (401, 700027)
    assert "not registered" in unknown.json()["error_description"]
    register(real, app_id, pem)
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    assert code_of(tried(real, app_id, signed(app_id, key, pem, exp=past))) == 700024
    assert (
        code_of(tried(real, app_id, signed(app_id, key, pem, aud="https://login.example.org/x/oauth2/token"))) == 700023
    )
    assert code_of(tried(real, app_id, signed(app_id, key, pem, aud=BASE))) == 700023
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert code_of(tried(real, app_id, signed(app_id, other, pem))) == 700027
    forged = jwt.encode({"iss": app_id, "sub": app_id, "aud": ENDPOINT, "exp": 2**31}, "x" * 32, algorithm="HS256")
    assert code_of(tried(real, app_id, forged)) == 700027
    assert code_of(tried(real, app_id, "no.token")) == 50027
    long = tried(real, app_id, "x" * 20_000)
    assert (code_of(long), "more than 16384 letters" in long.text) == (50027, True), "it is not read"
    assert code_of(tried(real, app_id, signed(app_id, key, pem), client_assertion_type="saml")) == 900144
    nobody = str(uuid.uuid4())
    assert code_of(tried(real, nobody, signed(nobody, key, pem))) == 700016
    register(real, app_id, certificate_of(key, days=-1))
    assert code_of(tried(real, app_id, signed(app_id, key, certificate_of(key, days=-1)))) == 700027


def test_a_weak_or_missing_certificate_is_not_registered() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (that is the point)
    for content in (certificate_of(weak), b"", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InputError):
            read_certificate(content)


def trust(service: InProcess, app_id: str, **changes: Any) -> None:
    detail = {"issuer": GITHUB, "subject": SUBJECT, "audiences": [AUDIENCE], **changes}
    service.service.store.principals.add_key(app_id, KeyKind.FEDERATED, "github", detail)


def test_a_workflow_logs_in_with_the_token_of_its_own_issuer(real: InProcess, github: Github) -> None:
    app_id, _ = a_principal(real)
    trust(real, app_id)
    assert may_list(real, tried(real, app_id, github.token())) == 200
    assert may_list(real, tried(real, app_id, github.token(aud=["other", AUDIENCE]))) == 200
    assert len(github.asked) == 2, "the keys are remembered"


def test_what_is_wrong_with_a_workflows_token_is_told(real: InProcess, github: Github) -> None:
    app_id, _ = a_principal(real)
    none = tried(real, app_id, github.token())
    assert (code_of(none), "az identity federated-credential" in none.text) == (70021, True)
    trust(real, app_id)
    assert code_of(tried(real, app_id, github.token(iss="https://elsewhere.example.org"))) == 700211
    wrong = tried(real, app_id, github.token(sub="repo:you/yours:pull_request"))
    assert (code_of(wrong), "repo:you/yours:pull_request" in wrong.text) == (700213, True)
    assert code_of(tried(real, app_id, github.token(aud="api://other"))) == 700212
    assert not github.asked, "no issuer is asked for a token that nobody trusts"
    assert code_of(tried(real, app_id, github.token(exp=1))) == 700024
    other = Github()
    assert code_of(tried(real, app_id, other.token())) == 50013
    symmetric = jwt.encode({"iss": GITHUB, "sub": SUBJECT, "aud": AUDIENCE, "exp": 2**31}, "x" * 32, algorithm="HS256",
                           headers={"kid": github.issuer.key_id})  # fmt: skip
    assert code_of(tried(real, app_id, symmetric)) == 50013


def test_an_issuer_that_is_away_is_told_without_what_the_service_saw(real: InProcess, github: Github) -> None:
    app_id, _ = a_principal(real)
    trust(real, app_id)
    github.is_away = True
    for _ in range(2):
        away = tried(real, app_id, github.token())
        assert (code_of(away), "no such host" in away.text) == (50166, False)
    assert len(github.asked) == 1, "it is not asked at every login"


def test_a_managed_identity_logs_in_with_a_federated_credential(real: InProcess, github: Github) -> None:
    app_id, secret = a_principal(real)
    owner = log_in(real, app_id, secret).json()["access_token"]
    real.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1", {"location": "westus2"}, token=owner)
    identity = real.put(IDENTITY, {"location": "westus2"}, token=owner).json()["properties"]
    body = {"properties": {"issuer": GITHUB, "subject": SUBJECT, "audiences": [AUDIENCE]}}
    assert real.put(CREDENTIAL, body, token=owner).status_code == 201
    assert real.get(CREDENTIAL, token=owner).json()["properties"]["subject"] == SUBJECT
    listed = real.get(CREDENTIAL.rpartition("/")[0], token=owner).json()["value"]
    assert [item["name"] for item in listed] == ["github"]
    found = tried(real, identity["clientId"], github.token())
    assert may_list(real, found) == 403, "it has no role yet"
    real.service.store.principals.assign(identity["principalId"], "Contributor", GROUP)
    token = found.json()["access_token"]
    assert real.get(f"{GROUP}/resources", token=token).status_code == 200
    assert real.request("DELETE", IDENTITY, token=owner).status_code == 200
    assert real.get(f"{GROUP}/resources", token=token).status_code == 401
    assert code_of(tried(real, identity["clientId"], github.token())) == 700016
    assert real.get(CREDENTIAL, token=owner).status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://token.example.org"},
        {"issuer": "https://x/?a=b"},
        {"issuer": "https://me:secret@x"},
        {"issuer": 5},
        {"subject": ""},
        {"subject": "x" * 601},
        {"audiences": []},
        {"audiences": "x"},
        {"audiences": [AUDIENCE] * 21},
        {"audiences": ["x" * 601]},
    ],
)
def test_what_is_no_federated_credential_is_refused(service: InProcess, changes: dict[str, Any]) -> None:
    service.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1", {"location": "westus2"})
    service.put(IDENTITY, {"location": "westus2"})
    properties = {"issuer": GITHUB, "subject": SUBJECT, "audiences": [AUDIENCE], **changes}
    refused = service.put(CREDENTIAL, {"properties": properties})
    assert refused.status_code == 400
    assert f"properties.{next(iter(changes))}" in refused.text


def test_two_credentials_of_an_identity_do_not_trust_the_same_subject(service: InProcess) -> None:
    service.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1", {"location": "westus2"})
    service.put(IDENTITY, {"location": "westus2"})
    body = {"properties": {"issuer": GITHUB, "subject": SUBJECT, "audiences": [AUDIENCE]}}
    assert service.put(CREDENTIAL, body).status_code == 201
    assert service.put(CREDENTIAL, body).status_code == 200
    assert service.put(f"{CREDENTIAL}2", body).status_code == 400
