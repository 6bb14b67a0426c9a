"""Logging in at an issuer that the operator chose: who gets in, as whom, and what lets nobody in."""

import base64
import functools
import html
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from in_process import BASE, GROUP, RecordedWork, add_group, an_issuer, started
from login_issuer import CLIENT, SECRET, SUBJECT, LoginIssuer, login_issuer
from page_visitor import Visitor

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.failures import MOST_OF_AN_ADDRESS
from vmkiln.api.identity.login_provider import LoginProvider
from vmkiln.api.protocol.auditing import SIGN_IN
from vmkiln.fetching.documents import fetch_json, send_form
from vmkiln.fetching.server_rule import FOR_THE_OPERATOR
from vmkiln.portal import session
from vmkiln.portal.application import with_portal
from vmkiln.portal.provider_login import COOKIE, WORDS
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import opened
from vmkiln.store.rows import KeyKind

RENEWALS = "/providers/Vmkiln.Builds/sessions/renew"


@pytest.fixture
def issuer() -> Iterator[LoginIssuer]:
    with login_issuer() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, issuer: LoginIssuer) -> Iterator[SimpleNamespace]:
    """A service with its real access control that knows the issuer, and a person of it who is a principal here."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    with opened(tmp_path / "vmkiln.sqlite") as store:
        service = started(store, tmp_path, AccessControl(store, an_issuer()), RecordedWork())  # type: ignore[arg-type]
        fetch = functools.partial(fetch_json, rule=FOR_THE_OPERATOR)
        send = functools.partial(send_form, rule=FOR_THE_OPERATOR)
        provider = LoginProvider(issuer.url, CLIENT, secret, fetch=fetch, send=send)
        object.__setattr__(service.service, "login", provider)
        person, _ = store.principals.create("person")
        store.principals.assign(person.object_id, "Owner", "/")
        trust = {"issuer": issuer.url, "subject": SUBJECT, "audiences": [CLIENT]}
        key = store.principals.add_key(person.app_id, KeyKind.FEDERATED, "portal", trust)
        add_group(service)
        browser = Visitor(with_portal(service.app), token="")
        yield SimpleNamespace(store=store, service=service, person=person, key=key, browser=browser, trust=trust)
        service.settled()


def cookies_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in answer.headers.get_list("set-cookie"):
        found |= SimpleCookie(text)
    return found


def left(world: SimpleNamespace, wanted: str = "/portal/") -> tuple[str, str]:
    """The issuer's address that a browser is led to, and the cookie that it has then."""
    answer = world.browser.get(f"/portal/login/provider?next={wanted}")
    assert answer.status_code == 303, answer.text
    cookie = cookies_of(answer)[COOKIE]
    assert (cookie["samesite"], cookie["httponly"], cookie["secure"], cookie["path"]) == ("lax", True, True, "/")
    return str(answer.headers["location"]), cookie.value


def back(world: SimpleNamespace, path: str, cookie: str) -> httpx.Response:
    """What the browser gets when the issuer leads it here."""
    headers = {"cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "cross-site", "Origin": "null"}
    answer: httpx.Response = world.browser.get(path.removeprefix(BASE), headers=headers)
    assert "Max-Age=0" in next(text for text in answer.headers.get_list("set-cookie") if text.startswith(COOKIE))
    return answer


def logged_in(world: SimpleNamespace, wanted: str = "/portal/") -> httpx.Response:
    """What the browser gets at the end of a whole login."""
    address, cookie = left(world, wanted)
    return back(world, httpx.get(address).headers["location"], cookie)


def test_a_person_logs_in_at_the_issuer_as_the_principal_that_trusts_them(
    world: SimpleNamespace, issuer: LoginIssuer
) -> None:
    wanted = f"/portal{GROUP}"
    assert f"Log in at {urlsplit(issuer.url).netloc}</a>" in world.browser.get(f"/portal/login?next={wanted}").text
    answer = logged_in(world, wanted)
    assert (answer.status_code, f'href="{wanted}"' in answer.text) == (200, True), answer.text
    cookie = cookies_of(answer)[session.COOKIE]
    assert (cookie["samesite"], cookie["httponly"]) == ("strict", True)
    claims = an_issuer().claims(cookie.value, now=world.store.now())
    assert (claims["oid"], "auth_time" in claims) == (world.person.object_id, True)
    world.browser.token = cookie.value
    assert world.browser.get(wanted).status_code == 200
    assert world.service.request("POST", RENEWALS, token=cookie.value, api_version=None).status_code == 200
    [asked] = issuer.asked
    assert "client_secret" not in asked
    assert "Max-Age=0" in world.browser.send("/portal/logout").headers["set-cookie"]
    world.service.settled()
    asked_for = AuditQuery("", datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))
    acts = world.store.audit.find(asked_for, limit=50)
    [act] = [act for act in acts if act.operation == SIGN_IN and act.caller_id == world.person.object_id]
    assert (act.status, act.detail["appId"]) == ("Succeeded", world.person.app_id)


def test_after_too_many_wrong_ones_of_an_address_the_issuer_is_not_asked(
    world: SimpleNamespace, issuer: LoginIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as held_up:
        held_up.setattr(world.service.service.failures_of_addresses, "recent", lambda _place: MOST_OF_AN_ADDRESS)
        assert session.COOKIE not in cookies_of(logged_in(world))
    assert issuer.asked == []
    assert session.COOKIE in cookies_of(logged_in(world))


def test_an_identity_that_no_one_principal_trusts_gets_in_nowhere(world: SimpleNamespace, issuer: LoginIssuer) -> None:
    issuer.changes = {"sub": "person|2", "oid": world.person.object_id, "roles": ["Owner"], "groups": ["/"]}
    answer = logged_in(world)
    assert (answer.status_code, session.COOKIE in cookies_of(answer)) == (403, False)
    assert "--subject 'person|2' --audience 'vmkiln portal'" in html.unescape(answer.text), "a shell can be given it"
    principals, other = world.store.principals, world.store.principals.create("other")[0]
    elsewhere = {**world.trust, "subject": "person|2", "audiences": ["api://AzureADTokenExchange"]}
    principals.add_key(other.app_id, KeyKind.FEDERATED, "workflow", elsewhere)
    assert logged_in(world).status_code == 403, "a workflow's credential is no person's login"
    issuer.changes = {}
    assert logged_in(world).status_code == 200
    principals.add_key(other.app_id, KeyKind.FEDERATED, "portal", world.trust)
    assert logged_in(world).status_code == 403, "of two it would be a guess"
    principals.remove_key(world.key.key_id)
    principals.remove(other.app_id)
    assert logged_in(world).status_code == 403


def test_a_session_ends_with_the_credential_that_it_was_begun_by(world: SimpleNamespace) -> None:
    token = cookies_of(logged_in(world))[session.COOKIE].value
    renewed = world.service.request("POST", RENEWALS, token=token, api_version=None)
    world.store.principals.remove_key(world.key.key_id)
    for one in (token, renewed.json()["access_token"]):  # the principal has a secret still, which others may use
        answer = world.service.request("POST", RENEWALS, token=one, api_version=None)
        assert (answer.status_code, "SessionOver" in answer.text) == (403, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another client"}, {"iss": "https://issuer.example.org"}, {"nonce": "of another login"},
        {"nonce": None}, {"exp": 1}, {"sub": None}, {"aud": [CLIENT, "x"]}, {"aud": [CLIENT, "x"], "azp": "x"},
        {"azp": "x"},
    ],
)  # fmt: skip
def test_a_token_that_is_not_for_this_login_lets_nobody_in(
    world: SimpleNamespace, issuer: LoginIssuer, changes: dict[str, Any]
) -> None:
    issuer.changes = changes
    answer = logged_in(world)
    assert (answer.status_code, session.COOKIE in cookies_of(answer)) == (401, False)
    assert "LoginRefused" in answer.text


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_chooses_no_algorithm(world: SimpleNamespace, issuer: LoginIssuer, algorithm: str) -> None:
    issuer.algorithm = algorithm
    assert logged_in(world).status_code == 401


def test_an_answer_of_another_login_or_browser_is_not_taken(world: SimpleNamespace, issuer: LoginIssuer) -> None:
    address, cookie = left(world)
    place = httpx.get(address).headers["location"]
    wrong = parse_qs(urlsplit(left(world)[0]).query)["state"][0]
    right = parse_qs(urlsplit(place).query)["state"][0]
    for path, kept in (
        (place, ""),
        (place, "e30"),
        (place, "%%%"),
        (place, base64.urlsafe_b64encode(json.dumps(dict.fromkeys(WORDS, "\ud800")).encode()).decode()),
        (place.replace(right, wrong), cookie),
        (place.partition("&state")[0], cookie),
        (place.partition("&iss=")[0] + "&iss=https://issuer.example.org", cookie),
        (f"/portal/login/back?state={right}&error=access_denied", cookie),
    ):
        answer = back(world, path, kept)
        assert (answer.status_code, session.COOKIE in cookies_of(answer)) == (401, False), path
    assert "access_denied" in answer.text
    assert issuer.asked == [], "no code was given away"
    assert back(world, place, cookie).status_code == 200
    assert back(world, place, cookie).status_code == 401, "a code is good once"


def test_a_code_is_good_with_its_own_verifier_only(world: SimpleNamespace) -> None:
    stolen = httpx.get(left(world)[0]).headers["location"]
    own, cookie = left(world)
    mixed = dict(parse_qsl(urlsplit(stolen).query)) | {"state": parse_qs(urlsplit(own).query)["state"][0]}
    assert back(world, f"/portal/login/back?{httpx.QueryParams(mixed)}", cookie).status_code == 401


def test_an_issuer_that_cannot_be_asked_is_told_without_why(world: SimpleNamespace, issuer: LoginIssuer) -> None:
    issuer.document["authorization_endpoint"] = "http://login.example.org/authorize"
    for _ in range(2):
        answer = world.browser.get("/portal/login/provider")
        assert (answer.status_code, "IssuerAway" in answer.text, "example.org" in answer.text) == (503, True, False)
        assert COOKIE not in cookies_of(answer)
        issuer.document["issuer"] = "https://login.example.org"


def test_without_an_issuer_there_is_no_login_at_one(world: SimpleNamespace) -> None:
    object.__setattr__(world.service.service, "login", None)
    assert "Log in at" not in world.browser.get("/portal/login").text
    assert world.browser.get("/portal/login/provider").status_code == 404
