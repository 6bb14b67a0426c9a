"""What ended is told once to whoever takes it, and again to whoever did not; the receivers are live servers."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import a_certificate
from notice_receivers import Hook, hooked, mailed

from vmkiln.azure_names import TRIGGER, ProvisioningState
from vmkiln.errors import InputError
from vmkiln.notice.cloud_event import run_ended
from vmkiln.notice.collecting import MOST_LATE
from vmkiln.notice.mail import message_of, send_by_mail
from vmkiln.notice.receivers import receivers_of
from vmkiln.notice.sending import MOST_TRIED, Notices, Pace
from vmkiln.notice.signature import secrets_of
from vmkiln.notice.webhook import NotSent
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.notices.outbox_table import NoticeState, OutboxTable
from vmkiln.store.rows import ResourceRow, RunOutputRow, RunRow

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
GROUP = "/subscriptions/s/resourcegroups/rg"
TEMPLATE = f"{GROUP}/providers/microsoft.virtualmachineimages/imagetemplates/web"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/web"
SECRET = "a secret of at least twenty-four bytes"


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with opened(tmp_path / "vmkiln.sqlite", clock=clock) as found:
        yield found


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooked() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, hook: Hook) -> Settings:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return Settings(tmp_path, host_name="h", notice_webhook=hook.url, notice_webhook_secret_file=tmp_path / "secret")


def notices(settings: Settings, store: Store) -> Notices:
    found = Notices(settings, store, receivers_of(settings), pace=Pace((10, 100), claim_seconds=60))
    store.outbox.mark()
    return found


def end(store: Store, clock: Clock, run_id: str, *, state: RunState = RunState.SUCCEEDED, code: str = "") -> None:
    clock.pass_by(1)
    store.runs.add(RunRow(run_id, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, clock.now, None, TEMPLATE))
    if state is RunState.SUCCEEDED:
        store.images.put_output(RunOutputRow(run_id, "out", IMAGE, "", ProvisioningState.SUCCEEDED, ""))
    store.runs.move(run_id, expected=[RunState.RUNNING], state=state, message=f"{run_id}\x1b[2J", code=code)


def told(hook: Hook) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in hook.came]


async def test_what_ended_is_told_once_as_cloud_events(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = notices(settings, store)
    end(store, clock, "r1")
    await telling.go_round()
    clock.pass_by(30)
    await telling.go_round()
    ended, published = sorted(told(hook), key=lambda event: str(event["type"]), reverse=True)
    assert (ended["type"], published["type"]) == ("vmkiln.run.ended", "vmkiln.image.published")
    assert ended | {"id": "", "data": {}} == {
        "specversion": "1.0", "id": "", "source": "/vmkiln/h", "type": "vmkiln.run.ended", "subject": TEMPLATE,
        "time": "2026-11-01T12:00:01.000Z", "datacontenttype": "application/json", "data": {},
    }  # fmt: skip
    assert ended["data"]["state"] == "Succeeded"
    assert "\x1b" not in ended["data"]["message"]
    assert published["subject"] == IMAGE
    headers, _ = hook.came[0]
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert store.outbox.counts() == {("webhook", NoticeState.SENT): 2}


async def test_who_answers_500_is_told_again_with_the_same_id_after_a_pause(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = notices(replace(settings, notice_events="run-ended"), store)
    hook.statuses = [500, 200]
    end(store, clock, "r1")
    with pytest.raises(NotSent, match="1 for webhook wait: the webhook answered 500"):
        await telling.go_round()
    with pytest.raises(NotSent):
        await telling.go_round()
    assert len(hook.came) == 1  # not before the pause is over
    clock.pass_by(11)
    await telling.go_round()
    first, second = told(hook)
    assert first == second
    assert store.outbox.counts() == {("webhook", NoticeState.SENT): 1}


async def test_a_receiver_that_never_takes_it_is_given_up_in_the_end(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = notices(replace(settings, notice_events="run-ended"), store)
    hook.statuses = [503]
    end(store, clock, "r1")
    with pytest.raises(NotSent):
        await telling.go_round()
    clock.pass_by(MOST_TRIED.total_seconds() + 1)
    await telling.go_round()
    assert store.outbox.counts() == {("webhook", NoticeState.GIVEN_UP): 1}


async def test_a_redirect_is_not_followed_with_the_signature(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = notices(replace(settings, notice_events="run-ended"), store)
    hook.statuses = [307]
    end(store, clock, "r1")
    with pytest.raises(NotSent, match="a redirect, which is not followed"):
        await telling.go_round()
    assert len(hook.came) == 1


async def test_one_of_several_processes_sends(settings: Settings, store: Store, clock: Clock, hook: Hook) -> None:
    telling = notices(replace(settings, notice_events="run-ended"), store)
    end(store, clock, "r1")
    hook.statuses = [503, 200]
    with pytest.raises(NotSent):
        await telling.go_round()
    clock.pass_by(11)
    (row,) = store.outbox.due("webhook", limit=9)
    assert store.outbox.claim(row, seconds=60)
    assert not store.outbox.claim(row, seconds=60)
    with pytest.raises(NotSent):
        await telling.go_round()
    assert len(hook.came) == 1  # another process has it in hand
    clock.pass_by(61)
    await telling.go_round()  # and died with it
    assert [event["id"] for event in told(hook)] == [row.event_id] * 2


async def test_a_slow_receiver_has_the_rest_in_the_next_round(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    settings = replace(settings, notice_events="run-ended")
    telling = Notices(settings, store, receivers_of(settings), pace=Pace(round_seconds=0.0))
    store.outbox.mark()
    for number in range(2):
        end(store, clock, f"r{number}")
    came = []
    for _ in range(2):
        await telling.go_round()
        came.append(len(hook.came))
    assert came == [1, 2]


async def test_what_ended_just_before_the_first_look_is_not_told(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = Notices(replace(settings, notice_events="run-ended"), store, receivers_of(settings))
    end(store, clock, "r0")
    clock.pass_by(1)
    await telling.go_round()
    assert hook.came == []
    end(store, clock, "r1")  # the twin
    await telling.go_round()
    assert {event["data"]["runId"] for event in told(hook)} == {"r1"}


async def test_what_ended_before_notice_was_set_or_long_ago_is_not_told(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    end(store, clock, "r0")
    clock.pass_by(3600)
    telling = notices(settings, store)
    await telling.go_round()
    end(store, clock, "r1")
    clock.pass_by(MOST_LATE.total_seconds() + 1)
    await telling.go_round()
    assert hook.came == []


async def test_a_template_is_told_to_be_suspended_once(
    settings: Settings, store: Store, clock: Clock, hook: Hook
) -> None:
    telling = notices(replace(settings, notice_events="template-suspended"), store)
    store.resources.put(ResourceRow(f"{TEMPLATE}/triggers/source", TRIGGER, "source", "s", "rg"))
    for number in range(5):
        end(store, clock, f"r{number}", state=RunState.FAILED)
    await telling.go_round()
    (event,) = told(hook)
    assert event["type"] == "vmkiln.template.suspended"
    assert (event["data"]["runId"], event["data"]["reason"]) == ("r2", "the last 3 builds failed")
    end(store, clock, "r5", state=RunState.FAILED, code="LinkedAuthorizationFailed")
    await telling.go_round()
    assert [one["data"]["runId"] for one in told(hook)] == ["r2", "r5"]


async def test_openssl_finds_the_signature_that_the_docs_say(
    settings: Settings, store: Store, clock: Clock, hook: Hook, tmp_path: Path
) -> None:
    binary = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    (tmp_path / "secret").write_text(f"{SECRET}\nwhsec_{binary}\n")
    telling = notices(replace(settings, notice_events="run-ended"), store)
    end(store, clock, "r1")
    await telling.go_round()
    ((headers, body),) = hook.came
    (tmp_path / "body").write_bytes(body)
    script = (
        'printf "%s.%s." "$ID" "$STAMP" | cat - body | openssl dgst -sha256 -mac HMAC -macopt "$KEY" -binary | base64'
    )
    found = []
    for key in (f"key:{SECRET}", f"hexkey:{base64.b64decode(binary).hex()}"):
        values = {
            "ID": headers["webhook-id"],
            "STAMP": headers["webhook-timestamp"],
            "KEY": key,
            "PATH": "/usr/bin:/bin",
        }
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-c", script], env=values, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found.append(f"v1,{done.stdout.strip()}")
    assert headers["webhook-signature"].split(" ") == found


@pytest.mark.parametrize("is_tls_first", [False, True], ids=["STARTTLS", "TLS"])
async def test_an_e_mail_goes_over_tls_with_a_login(tmp_path: Path, is_tls_first: bool) -> None:
    certificate = a_certificate(tmp_path)
    (tmp_path / "password").write_text("wonderful\n")
    with mailed(certificate, is_tls_first=is_tls_first) as box:
        settings = _by_mail(tmp_path, "smtps" if is_tls_first else "smtp", f"me@127.0.0.1:{box.port}")
        settings = replace(settings, ca_bundle=certificate[0], notice_mail_password_file=tmp_path / "password")
        server = receivers_of(settings).mail
        assert server is not None
        await send_by_mail(settings, server, _event())
    (message,) = box.messages
    assert box.was_tls
    assert base64.b64decode(box.logins[0]) == b"\0me\0wonderful"
    assert "Subject: vmkiln: web: run Failed" in message
    assert "To: a@example.com, b@example.com" in message
    assert "Message: it broke" in message


async def test_no_password_goes_to_a_mail_server_without_tls(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wonderful\n")
    with mailed() as box:
        plain = _by_mail(tmp_path, "smtp", f"127.0.0.1:{box.port}")
        server = receivers_of(plain).mail
        assert server is not None
        await send_by_mail(plain, server, _event())  # the twin: this machine's own, without a login
        settings = replace(
            _by_mail(tmp_path, "smtp", f"me@127.0.0.1:{box.port}"), notice_mail_password_file=tmp_path / "password"
        )
        server = receivers_of(settings).mail
        assert server is not None
        with pytest.raises(NotSent, match="STARTTLS"):
            await send_by_mail(settings, server, _event())
    assert (len(box.messages), box.logins) == (1, [])


async def test_a_password_that_no_login_takes_is_told_without_its_letters(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path)
    (tmp_path / "password").write_text("w\u00fcnderbar\n")
    with mailed(certificate, is_tls_first=True) as box:
        settings = _by_mail(tmp_path, "smtps", f"me@127.0.0.1:{box.port}")
        settings = replace(settings, ca_bundle=certificate[0], notice_mail_password_file=tmp_path / "password")
        server = receivers_of(settings).mail
        assert server is not None
        with pytest.raises(NotSent, match="no ASCII") as caught:
            await send_by_mail(settings, server, _event())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_mail_server_that_refuses_or_never_answers_is_told_of(tmp_path: Path) -> None:
    with mailed() as box:
        settings = _by_mail(tmp_path, "smtp", f"127.0.0.1:{box.port}")
        server = receivers_of(settings).mail
        assert server is not None
        box.refusal = "554 what you sent"
        with pytest.raises(NotSent, match="it answered 554"):
            await send_by_mail(settings, server, _event())
        box.is_silent = True
        with pytest.raises(NotSent, match="did not answer in time"):
            await send_by_mail(settings, server, _event(), seconds=0.2)


def test_an_e_mail_keeps_no_power_over_its_headers() -> None:
    event = _event()
    event["data"]["template"] = "web\r\nBcc: other@example.com"
    message = message_of(event, sender="v@example.com", addressees=("a@example.com",))
    assert "Bcc" not in message
    assert message["Message-ID"] == f"<{event['id']}@example.com>"


def test_the_outbox_keeps_no_more_than_it_may(store: Store) -> None:
    outbox = OutboxTable(store.connections, most_waiting=3)
    until = outbox.mark()
    gone = [outbox.add([{"id": str(number)}], ["webhook"], until=until) for number in range(5)]
    assert sum(gone) == 2
    assert outbox.counts() == {("webhook", NoticeState.WAITING): 3, ("webhook", NoticeState.GIVEN_UP): 2}


WRONG = (
    ({"notice_events": "run-ended, lunch"}, "`lunch` is no event"),
    ({"notice_webhook": "http://hooks.example.com/"}, "without TLS"),
    ({"notice_webhook": "https://user:hidden@hooks.example.com/"}, "no web address"),
    ({"notice_webhook": "https://hooks.example.com/"}, "notice_webhook_secret_file is not set"),
    ({"notice_mail_server": "mail.example.com"}, "no mail server"),
    ({"notice_mail_server": "smtp://me:hidden@mail.example.com"}, "has a password"),
    ({"notice_mail_server": "smtp://me@mail.example.com"}, "notice_mail_password_file go together"),
    ({"notice_mail_server": "smtp://mail.example.com"}, "notice_mail_from has 0 addresses"),
    ({"notice_mail_server": "smtp://mail.example.com", "notice_mail_from": "a@b\nc"}, "is no address"),
)  # fmt: skip


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_a_wrong_setting_is_told_by_its_name_and_without_secrets(
    tmp_path: Path, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        receivers_of(Settings(tmp_path, **wrong))  # type: ignore[arg-type]
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("text", ["", "short\n", "whsec_!!!\n", "a\nb\nc\n"])
def test_a_secret_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InputError, match="notice_webhook_secret_file") as caught:
        secrets_of(text)
    assert "short" not in caught.value.message


def test_the_webhooks_address_is_shown_nowhere(settings: Settings) -> None:
    assert "in-the-address" not in f"{settings!r} {receivers_of(settings)!r}"


def _by_mail(home: Path, scheme: str, place: str) -> Settings:
    return Settings(
        home,
        notice_mail_server=f"{scheme}://{place}",
        notice_mail_from="v@example.com",
        notice_mail_to="a@example.com, b@example.com",
    )


def _event() -> dict[str, Any]:
    run = RunRow("r1", "web", "rg", {}, RunState.FAILED, "", "it broke", "", "", {}, START, START, TEMPLATE)
    return run_ended(run, [], source="/vmkiln/h")
