"""Logging in: what clients ask first, tokens, and what does not count as one."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from in_process import BASE, SUBSCRIPTION, InProcess, RecordedWork, an_issuer, code_of, started

from vmkiln.api.identity import login_turns
from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.failures import MOST_OF_AN_ADDRESS
from vmkiln.api.identity.issuer import issuer_of, new_key
from vmkiln.api.identity.outside_issuer import OutsideIssuer
from vmkiln.errors import ArmError
from vmkiln.store.database import opened
from vmkiln.store.principal_table import PrincipalTable

TENANT = an_issuer().tenant_id
OUTSIDE = "https://login.example.org/tenant/v2.0"
SUBSCRIPTIONS = "/subscriptions/{}/providers/Microsoft.VirtualMachineImages/imageTemplates"


class Outside:
    """An issuer that somebody else runs: its key, its documents, and how often they were asked for."""

    def __init__(self) -> None:
        self.issuer = issuer_of(TENANT, new_key())
        self.asked: list[str] = []

    def fetch(self, url: str) -> Any:
        self.asked.append(url)
        if url.endswith("openid-configuration"):
            return {"issuer": OUTSIDE, "jwks_uri": "https://login.example.org/keys"}
        return self.issuer.key_set()

    def token(self, **changes: Any) -> str:
        now = datetime.now(UTC)
        claims = {"iss": OUTSIDE, "aud": "api://vmkiln", "sub": "s", "oid": "o1", "exp": now + timedelta(hours=1)}
        return jwt.encode(
            {**claims, **changes}, self.issuer.private_key, algorithm="RS256", headers={"kid": self.issuer.key_id}
        )


@pytest.fixture(scope="module")
def outside() -> Outside:
    return Outside()


@pytest.fixture
def real(tmp_path: Path, outside: Outside) -> Iterator[InProcess]:
    """A service with real access control, and the principals `owner` and `reader`."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        foreign = OutsideIssuer(OUTSIDE, "api://vmkiln", fetch=outside.fetch)
        access: Any = AccessControl(store, an_issuer(), foreign)
        found = started(store, tmp_path, access, RecordedWork())
        yield found
        found.settled()


def log_in(
    service: InProcess, app_id: str, secret: str, *, path: str = f"/{TENANT}/oauth2/v2.0/token", **form: str
) -> Any:
    fields = {
        "client_id": app_id,
        "client_secret": secret,
        "grant_type": "client_credentials",
        "scope": f"{BASE}//.default",
        **form,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return service.request(
        "POST", path, content=urlencode(fields).encode(), headers=headers, token=None, api_version=None
    )


def a_principal(
    service: InProcess, role: str = "Owner", scope: str = f"/subscriptions/{SUBSCRIPTION}"
) -> tuple[str, str]:
    principal, secret = service.service.store.principals.create("ci")
    service.service.store.principals.assign(principal.object_id, role, scope)
    return principal.app_id, secret


def may_list(service: InProcess, token: str) -> int:
    return service.get(SUBSCRIPTIONS.format(SUBSCRIPTION), token=token).status_code


@pytest.mark.parametrize("path", [f"/{TENANT}/oauth2/v2.0/token", f"/{TENANT}/oauth2/token", "/adfs/oauth2/token"])
def test_a_principal_logs_in_and_is_let_in(real: InProcess, path: str) -> None:
    app_id, secret = a_principal(real)
    response = log_in(real, app_id, secret, path=path)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert may_list(real, body["access_token"]) == 200


def test_a_secret_may_come_in_a_basic_header(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    form = urlencode({"grant_type": "client_credentials", "scope": f"{BASE}/.default"}).encode()
    basic = base64.b64encode(f"{app_id}:{secret}".encode()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {basic}"}
    path = f"/{TENANT}/oauth2/v2.0/token"
    response = real.request("POST", path, content=form, headers=headers, token=None, api_version=None)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, 7000215),
        ({"client_id": "11111111-0000-0000-0000-000000000000"}, 400, 700016),
        ({"grant_type": "password"}, 400, 70003),
        ({"scope": "nonsense"}, 400, 70011),
    ],
)
def test_a_login_that_is_refused_says_why_in_azures_words(
    real: InProcess, form: dict[str, str], status: int, code: int
) -> None:
    app_id, secret = a_principal(real)
    response = log_in(real, app_id, secret, **form)
    assert response.status_code == status
    assert response.json()["error_codes"] == [code]
    assert f"AADSTS{code}" in response.json()["error_description"]


def test_another_tenant_is_not_here(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    response = log_in(real, app_id, secret, path="/other/oauth2/v2.0/token")
    assert response.json()["error_codes"] == [90002]


def test_guessing_is_slowed_down_and_the_right_secret_is_not(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    answers = [log_in(real, app_id, f"guess {number}") for number in range(22)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert log_in(real, app_id, secret).status_code == 200


def test_a_login_that_has_to_wait_too_long_is_refused_as_json(real: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    app_id, secret = a_principal(real)
    monkeypatch.setattr(login_turns, "MOST_WAITING", 0)
    answer = log_in(real, app_id, secret)
    assert (answer.status_code, code_of(answer)) == (429, "TooManyRequests")
    assert int(answer.headers["Retry-After"]) > 0


def test_other_spellings_of_an_application_id_give_no_more_guesses(real: InProcess) -> None:
    app_id, _ = a_principal(real)
    spellings = [app_id.upper(), app_id] * 11
    answers = [log_in(real, spelling, f"guess {number}") for number, spelling in enumerate(spellings)]
    assert answers[-1].status_code == 429


def test_an_address_with_many_wrong_logins_is_hashed_nothing_more(
    real: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id, secret = a_principal(real)
    for number in range(MOST_OF_AN_ADDRESS):
        log_in(real, f"nobody {number}", "guess")
    monkeypatch.setattr(PrincipalTable, "check_secret", None)
    refused = log_in(real, app_id, secret)
    assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert int(refused.headers["Retry-After"]) > 0


def test_wrong_logins_of_one_address_hold_up_no_other(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    for _ in range(MOST_OF_AN_ADDRESS):
        real.service.failures_of_addresses.count("192.0.2.1")
    assert log_in(real, app_id, secret).status_code == 200


def test_the_outside_issuer_cannot_speak_for_a_principal_of_ours(real: InProcess, outside: Outside) -> None:
    app_id, _ = a_principal(real)
    principal = real.service.store.principals.find(app_id)
    assert principal is not None
    for claims in ({"oid": principal.object_id}, {"oid": None, "sub": principal.object_id.upper()}):
        assert may_list(real, outside.token(**claims)) == 401


def test_a_token_for_another_service_is_refused(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    body = log_in(real, app_id, secret, scope="https://storage.azure.com/.default").json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["aud"] == "https://storage.azure.com"
    assert may_list(real, body["access_token"]) == 401


def test_the_names_of_the_certificate_are_the_services_own(real: InProcess) -> None:
    names = ("build.example.org", "*.images.example.org")
    control = AccessControl(real.service.store, an_issuer(), names=names)
    app_id, secret = a_principal(real)
    for host, is_own in (("build", True), ("x.images", True), ("x.y.images", False), ("images", False)):
        scope = f"https://{host}.example.org/.default"
        token = log_in(real, app_id, secret, scope=scope).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        if is_own:
            assert control.authenticate(headers, base_url=BASE).name == "ci"
        else:
            with pytest.raises(ArmError):
                control.authenticate(headers, base_url=BASE)


def test_a_forged_host_header_does_not_make_a_token_fit(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    body = log_in(real, app_id, secret, scope="https://storage.azure.com/.default").json()
    forged = {"Host": "storage.azure.com", "Authorization": f"Bearer {body['access_token']}"}
    response = real.request("GET", SUBSCRIPTIONS.format(SUBSCRIPTION), token=None, headers=forged)
    assert response.status_code == 401


def test_the_audience_that_sdks_take_by_default_is_accepted(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    body = log_in(real, app_id, secret, scope="https://management.azure.com/.default").json()
    assert may_list(real, body["access_token"]) == 200


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forged(service: InProcess, kind: str) -> str:
    app_id, secret = a_principal(service)
    good = log_in(service, app_id, secret).json()["access_token"]
    claims = jwt.decode(good, options={"verify_signature": False})
    issuer = an_issuer()
    other = issuer_of(TENANT, new_key())
    headers = {"kid": issuer.key_id}
    now = datetime.now(UTC)
    header, payload, signature = good.split(".")
    match kind:
        case "another key":
            return jwt.encode(claims, other.private_key, algorithm="RS256", headers=headers)
        case "no signature":
            return jwt.encode(claims, None, algorithm="none", headers=headers)  # type: ignore[arg-type]
        case "the public key as a password":
            public = issuer.private_key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            start = f"{_base64(json.dumps({**headers, 'alg': 'HS256'}).encode())}.{payload}"
            return f"{start}.{_base64(hmac.digest(public, start.encode(), 'sha256'))}"
        case "a key of its own":
            own = {"kid": issuer.key_id, "jwk": other.key_set()["keys"][0]}
            return jwt.encode(claims, other.private_key, algorithm="RS256", headers=own)
        case "another issuer":
            return jwt.encode(
                {**claims, "iss": "https://evil/"}, issuer.private_key, algorithm="RS256", headers=headers
            )
        case "expired":
            past = {**claims, "exp": now - timedelta(hours=1), "nbf": now - timedelta(hours=2)}
            return jwt.encode(past, issuer.private_key, algorithm="RS256", headers=headers)
        case "not yet":
            later = {**claims, "nbf": now + timedelta(hours=1)}
            return jwt.encode(later, issuer.private_key, algorithm="RS256", headers=headers)
        case "changed":
            content = json.loads(base64.urlsafe_b64decode(payload + "=="))
            return f"{header}.{_base64(json.dumps({**content, 'oid': 'x'}).encode())}.{signature}"
        case "a list of audiences":
            many = {**claims, "aud": [claims["aud"], "https://evil"]}
            return jwt.encode(many, issuer.private_key, algorithm="RS256", headers=headers)
    return kind


@pytest.mark.parametrize(
    "kind",
    [
        "another key", "no signature", "the public key as a password", "a key of its own", "another issuer", "expired",
        "not yet", "changed", "a list of audiences", "", "x", "a.b.c", "vmk_guess", "e30.e30.", "." * 5000,
    ],
)  # fmt: skip
def test_what_is_no_token_of_ours_is_refused(real: InProcess, kind: str) -> None:
    response = real.get(SUBSCRIPTIONS.format(SUBSCRIPTION), token=_forged(real, kind))
    assert response.status_code == 401
    assert code_of(response) in {"AuthenticationFailed", "InvalidAuthenticationToken", "ExpiredAuthenticationToken"}
    assert response.headers["WWW-Authenticate"].startswith(f'Bearer authorization_uri="{BASE}/{TENANT}"')


def test_a_removed_principal_is_out_at_once(real: InProcess) -> None:
    app_id, secret = a_principal(real)
    token = log_in(real, app_id, secret).json()["access_token"]
    assert may_list(real, token) == 200
    real.service.store.principals.remove(app_id)
    assert may_list(real, token) == 401


def test_roles_of_another_scope_do_not_count(real: InProcess) -> None:
    app_id, secret = a_principal(real, scope=f"/subscriptions/{SUBSCRIPTION}0")
    assert may_list(real, log_in(real, app_id, secret).json()["access_token"]) == 403


def test_a_command_line_token_works_until_it_is_removed(real: InProcess) -> None:
    app_id, _ = a_principal(real)
    principal = real.service.store.principals.find(app_id)
    assert principal is not None
    token = real.service.store.principals.add_token(principal.object_id, "laptop")
    assert may_list(real, token) == 200
    real.service.store.principals.remove(app_id)
    assert may_list(real, token) == 401


def test_secrets_and_tokens_are_not_kept(real: InProcess, tmp_path: Path) -> None:
    app_id, secret = a_principal(real)
    principal = real.service.store.principals.find(app_id)
    assert principal is not None
    token = real.service.store.principals.add_token(principal.object_id, "laptop")
    content = b"".join(path.read_bytes() for path in tmp_path.glob("vmkiln.sqlite*"))
    assert app_id.encode() in content  # the search finds what is there
    assert secret.encode() not in content
    assert token.encode() not in content


def test_tokens_of_the_outside_issuer_are_checked(real: InProcess, outside: Outside) -> None:
    real.service.store.principals.assign("o1", "Reader", f"/subscriptions/{SUBSCRIPTION}")
    assert may_list(real, outside.token()) == 200
    for changes in ({"aud": "api://other"}, {"iss": OUTSIDE + "/"}, {"exp": datetime.now(UTC) - timedelta(hours=1)}):
        assert may_list(real, outside.token(**changes)) == 401
    impostor = Outside()
    impostor.issuer = issuer_of(TENANT, new_key())
    assert may_list(real, impostor.token()) == 401


def test_unknown_keys_do_not_make_us_ask_the_outside_issuer_again_and_again(real: InProcess, outside: Outside) -> None:
    may_list(real, outside.token())
    before = len(outside.asked)
    other = Outside()
    for _ in range(5):
        may_list(real, other.token())
    assert len(outside.asked) == before


def test_discovery_leads_to_the_token_and_the_keys(real: InProcess) -> None:
    cloud = real.get("/metadata/endpoints?api-version=2022-09-01", token=None).json()
    assert cloud["authentication"]["audiences"] == [BASE]
    assert isinstance(real.get("/metadata/endpoints?api-version=2019-05-01", token=None).json(), list)
    path = f"/{TENANT}/v2.0/.well-known/openid-configuration"
    document = real.get(path, token=None, api_version=None).json()
    assert document["token_endpoint"] == f"{BASE}/{TENANT}/oauth2/v2.0/token"
    key = real.get(document["jwks_uri"], token=None, api_version=None).json()["keys"][0]
    app_id, secret = a_principal(real)
    token = log_in(real, app_id, secret).json()["access_token"]
    jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=BASE)
