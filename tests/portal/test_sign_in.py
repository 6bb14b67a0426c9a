"""Logging in: with a link that is good once, back to the page that was wanted, without losing a form."""

import base64
import html
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from in_process import BASE, GROUP, SUBSCRIPTION, RecordedWork, add_group, an_issuer, started
from json_contract import check_answer
from page_visitor import Visitor

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.failures import MOST_OF_AN_ADDRESS
from vmkiln.portal.application import with_portal
from vmkiln.portal.session import COOKIE, MOST_NAME_LETTERS, name_of, own_address, wants_renewal
from vmkiln.store.database import opened
from vmkiln.store.tables import access_tokens, client_secrets

LINKS = "/providers/Vmkiln.Builds/loginLinks"
RENEWALS = "/providers/Vmkiln.Builds/sessions/renew"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A service with its real access control, its owner, and a browser that nobody is logged in with."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        access = AccessControl(store, an_issuer())
        service = started(store, tmp_path, access, RecordedWork())  # type: ignore[arg-type]
        owner, secret = store.principals.create("owner")
        store.principals.assign(owner.object_id, "Owner", "/")
        yesterday = store.now() - timedelta(days=1)
        store.connections.change(client_secrets.update().values(created=yesterday))
        add_group(service)
        browser = Visitor(with_portal(service.app), token="")
        yield SimpleNamespace(store=store, service=service, owner=owner, secret=secret, browser=browser)
        service.settled()


def token_at(world: SimpleNamespace, begun: datetime, **claims: int) -> str:
    """A token of the owner that was given then, for an hour."""
    return an_issuer().token(world.owner, audience=BASE, now=begun, lasts_seconds=3600, **claims)


def code_of(link: str) -> str:
    return link.partition("code=")[2]


def test_a_link_logs_its_owner_in_once_and_looking_at_it_does_not_use_it_up(world: SimpleNamespace) -> None:
    token = token_at(world, world.store.now())
    answer = world.service.request("POST", LINKS, token=token, api_version=None)
    check_answer("open", answer.json())
    link = answer.json()["url"]
    assert link.startswith(f"{BASE}/portal/login?code=")
    assert answer.headers["cache-control"] == "no-store"
    for _ in range(2):
        shown = world.browser.get(link.removeprefix(BASE)).text
        assert f'name="code" value="{code_of(link)}"' in shown
    right = world.browser.send("/portal/login", code=code_of(link))
    assert (right.status_code, right.headers["location"]) == (303, "/portal/")
    world.browser.token = re.match(rf"{COOKIE}=([^;]+)", right.headers["set-cookie"]).group(1)  # type: ignore[union-attr]
    assert world.browser.get("/portal/groups").status_code == 200
    again = world.browser.send("/portal/login", code=code_of(link))
    assert (again.status_code, "set-cookie" in again.headers) == (401, False)
    assert code_of(link) not in str(world.store.connections.rows(access_tokens.select())), "only a hash is kept"


def test_after_too_many_wrong_ones_of_an_address_no_link_is_looked_at(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = world.store.principals.add_login_code(world.owner.object_id)
    with monkeypatch.context() as held_up:
        held_up.setattr(world.service.service.failures_of_addresses, "recent", lambda _place: MOST_OF_AN_ADDRESS)
        assert "set-cookie" not in world.browser.send("/portal/login", code=code).headers
    assert "set-cookie" in world.browser.send("/portal/login", code=code).headers, "it was not used up"


def test_a_link_that_is_over_or_replaced_or_guessed_logs_nobody_in(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    principals, owner = world.store.principals, world.owner.object_id
    first, second = principals.add_login_code(owner), principals.add_login_code(owner)
    assert principals.redeem_login_code(first) is None, "a newer one takes its place"
    assert world.service.get("/subscriptions", token=second).status_code == 401, "a code is no token"
    later = world.store.now() + timedelta(seconds=601)
    monkeypatch.setattr(type(world.store.connections), "now", lambda _self: later)
    assert principals.redeem_login_code(second) is None
    assert world.browser.send("/portal/login", code="guessed").status_code == 401


def test_a_login_leads_to_the_page_that_was_wanted(world: SimpleNamespace) -> None:
    path = f"/portal{GROUP}?q=a&state=Failed"
    asked = world.browser.get(path).headers["location"]
    shown = world.browser.get(asked).text
    wanted = html.unescape(re.search(r'name="next" value="([^"]*)"', shown).group(1))  # type: ignore[union-attr]
    assert wanted == path
    fields = {"app_id": world.owner.app_id, "password": "wrong", "next": wanted}
    wrong = world.browser.send("/portal/login", **fields)
    assert "The application id or the password is wrong." in wrong.text
    assert world.browser.send("/portal/login", **{**fields, "password": world.secret}).headers["location"] == path


@pytest.mark.parametrize("token", ["\u00e9", "vmk_\u20ac", "a\nb", "\x00", "x" * 9000])
def test_what_is_no_token_is_refused_as_one(world: SimpleNamespace, token: str) -> None:
    assert world.browser.send("/portal/login", token=token).status_code == 401
    cookie = {"cookie": f"{COOKIE}={token}".encode()}
    assert world.browser.get("/portal/groups", headers=cookie).headers["location"].startswith("/portal/login")


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/portal/", "//evil.example/portal/", "/\\\\evil.example", "/portal/../x",
        "javascript:alert(1)",         "/portal/\nLocation: x", "/portal/login", "/portal/logout", "/elsewhere", "",
        "/portal/" + "x" * 3000, "/portal//[", "/portal/%2e%2e/x", "/portal/.%2E/portal/logout", "/portal/%6cogout",
        "/portal/logout/", "/portal/./logout", "/portal/log%69n?next=/", "/%70ortal/../x", "/portal/%2e/logout",
    ],
)  # fmt: skip
def test_a_login_leads_to_no_other_place(text: str) -> None:
    assert own_address(text) in {"/portal/", "/portal//["}


def test_a_form_sent_after_the_session_ended_is_sent_after_the_login(world: SimpleNamespace) -> None:
    world.browser.token = token_at(world, world.store.now() - timedelta(hours=3))
    written = '{"of": "<two>",\r\n"lines": 2}'
    ended = world.browser.send("/portal/new", subscription=SUBSCRIPTION, group="rg1", name="", body=written)
    assert ended.status_code == 401
    assert "Your session has ended" in ended.text
    kept = html.unescape(re.search(r'name="kept" value="([^"]*)"', ended.text).group(1))  # type: ignore[union-attr]
    fields = {"next": "/portal/new", "kept": kept, "app_id": world.owner.app_id, "password": world.secret}
    again = world.browser.send("/portal/login", **fields)
    assert (again.status_code, 'action="/portal/new"' in again.text) == (200, True)
    world.browser.token = re.match(rf"{COOKIE}=([^;]+)", again.headers["set-cookie"]).group(1)  # type: ignore[union-attr]
    assert json.loads(kept)["body"] == written
    shown = world.browser.send("/portal/new", kept=kept)
    assert "the template needs a name" in shown.text
    assert "&lt;two&gt;" in shown.text


def test_a_session_is_renewed_while_it_is_used_and_not_for_ever(world: SimpleNamespace) -> None:
    now = world.store.now()
    world.browser.token = token_at(world, now - timedelta(minutes=5))
    assert "set-cookie" not in world.browser.get("/portal/groups").headers
    world.browser.token = token_at(world, now - timedelta(minutes=40))
    renewed = world.browser.get("/portal/groups").headers["set-cookie"]
    token = re.match(rf"{COOKIE}=([^;]+)", renewed).group(1)  # type: ignore[union-attr]
    claims = an_issuer().claims(token, now=now)
    assert abs(int(claims["auth_time"]) - (now - timedelta(minutes=40)).timestamp()) < 2, "the login, not the renewal"
    since = int((now - timedelta(hours=13)).timestamp())
    old = token_at(world, now - timedelta(minutes=40), authenticated=since)
    assert world.service.request("POST", RENEWALS, token=old, api_version=None).status_code == 403
    world.browser.token = token_at(world, now - timedelta(minutes=40), authenticated=since)
    assert wants_renewal(world.browser.token)
    assert world.browser.get("/portal/groups").status_code == 200
    assert not wants_renewal(world.browser.token), "a page that looks again and again asks once"
    again = world.service.request("POST", LINKS, token=token, api_version=None)
    assert (again.status_code, "url" in again.json()) == (403, False), "no session begins another one"
    world.store.principals.remove(world.owner.app_id)
    assert world.service.request("POST", RENEWALS, token=token, api_version=None).status_code == 401
    assert not any(wants_renewal(text) for text in ("", "owner", "a.b.c", "vmk_x.y.z", "e30.e30.e30"))


def test_a_session_ends_when_the_secrets_of_its_login_are_replaced(world: SimpleNamespace) -> None:
    principals, app_id = world.store.principals, world.owner.app_id
    session = token_at(world, world.store.now() - timedelta(minutes=40))
    principals.add_secret(app_id)
    assert world.service.request("POST", RENEWALS, token=session, api_version=None).status_code == 200
    principals.add_secret(app_id, is_only=True)
    over = world.service.request("POST", RENEWALS, token=session, api_version=None)
    assert (over.status_code, "was replaced" in over.json()["error"]["message"]) == (403, True)
    fresh = token_at(world, world.store.now())
    assert world.service.request("POST", RENEWALS, token=fresh, api_version=None).status_code == 200


def test_each_page_says_who_is_logged_in(world: SimpleNamespace) -> None:
    assert 'class="who"' not in world.browser.get("/portal/login").text
    world.browser.token = token_at(world, world.store.now())
    assert '<p class="who"><span class="unseen">Logged in as </span>owner</p>' in world.browser.get("/portal/").text


@pytest.mark.parametrize("said", [[], {}, {"name": 1}, {"name": ""}, "text", {"name": ["<b>"]}])
def test_a_token_that_names_nobody_is_no_error(said: object) -> None:
    def with_claims(claims: object) -> str:
        part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"x.{part}.y"

    assert name_of(with_claims(said)) == ""
    assert not wants_renewal(with_claims(said))
    assert [name_of(token) for token in ("", "owner", "a.b", "a.!.c")] == ["", "", "", ""]
    assert name_of(with_claims({"name": "x" * 1000, "appid": "y"})) == "x" * MOST_NAME_LETTERS
