"""The command line as a client: of a service over TLS, and of the same application in its own process."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from in_process import SUBSCRIPTION, a_template
from json_contract import check
from loop_thread import in_a_thread
from stub_build import stub_build
from typer.testing import CliRunner, Result

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.first_start import ensure_owner, service_directory
from vmkiln.api.identity.issuer import ensure_issuer
from vmkiln.api.identity.tls import ensure_tls
from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient, seconds_of
from vmkiln.cli.commands.access.login import service_url
from vmkiln.cli.main import app
from vmkiln.cli.output import error_data
from vmkiln.cli.service.answers import failure, refusal
from vmkiln.errors import ArmError, InputError, VmkilnError
from vmkiln.lifetime import last_words
from vmkiln.listener import Address, bound, serve
from vmkiln.run_state import RunState
from vmkiln.service import only_service, remember_endpoint, running
from vmkiln.settings import Settings
from vmkiln.store.database import opened, utc_now

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
SUBSCRIPTIONS = ("rest", "get", "/subscriptions", "--api-version", "2022-12-01")


@dataclass(frozen=True)
class Listening:
    """A service that listens: its URL, its authority, and a principal with Reader of one subscription."""

    url: str
    authority: Path
    app_id: str
    secret: str
    token: str


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders; gives the state directory."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def listening(user: Path) -> Iterator[Listening]:
    """A service of this state directory, over TLS on a port of its own."""
    settings = Settings(user)
    directory = service_directory(user)
    issuer = ensure_issuer(directory, settings.keys_folder)
    tls = ensure_tls(directory / "tls", ["localhost", "127.0.0.1"], now=utc_now())
    with only_service(settings), opened(settings.database) as store, bound(Address("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        ensure_owner(store, user, tenant_id=issuer.tenant_id)
        remember_endpoint(settings, url)
        reader, secret = store.principals.create("reader")
        store.principals.assign(reader.object_id, "Reader", f"/subscriptions/{SUBSCRIPTION}")
        token = store.principals.add_token(reader.object_id, "laptop")

        async def main(is_ready: Callable[[], None]) -> None:
            async def on_ready() -> None:
                is_ready()

            access = AccessControl(store, issuer)
            build = stub_build(settings, store)
            async with running(settings, store, access, issuer=issuer, build=build) as application:
                await serve(application, listener, certificate=tls.certificate, key=tls.key, on_ready=on_ready)

        with in_a_thread(main):
            yield Listening(url, tls.authority, reader.app_id, secret, token)


def vmkiln(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)


def error_of(result: Result) -> VmkilnError:
    assert isinstance(result.exception, VmkilnError), result.output
    return result.exception


def kept(user: Path) -> Path:
    return user.parent / "config" / "vmkiln" / "contexts.json"


def log_in(service: Listening, *, typed: str | None = None, app_id: str = "") -> Result:
    options = ("--ca-file", str(service.authority), "--app-id", app_id or service.app_id, "--secret-stdin")
    return vmkiln("login", service.url, *options, typed=service.secret + "\n" if typed is None else typed)


def test_after_a_login_requests_go_to_that_service_as_that_principal(listening: Listening) -> None:
    assert log_in(listening).exit_code == 0
    shown = vmkiln(*SUBSCRIPTIONS)
    assert shown.exit_code == 0, shown.exception
    assert [item["subscriptionId"] for item in json.loads(shown.stdout)["value"]] == [SUBSCRIPTION]
    refused = error_of(vmkiln("rest", "PUT", GROUP, "--body", "-", typed='{"location": "westus2"}'))
    assert "AuthorizationFailed" in refused.message


def test_a_token_logs_in_too(listening: Listening) -> None:
    options = ("--ca-file", str(listening.authority), "--token-stdin", "--name", "here")
    assert vmkiln("login", listening.url, *options, typed=listening.token).exit_code == 0
    assert json.loads(vmkiln("context", "show").stdout) == {
        "name": "here", "url": listening.url, "login": "token", "appId": "", "inUse": True,
    }  # fmt: skip
    assert SUBSCRIPTION in vmkiln(*SUBSCRIPTIONS).stdout


def test_the_service_of_this_machine_needs_no_secret_to_be_typed(listening: Listening) -> None:
    assert vmkiln("login").exit_code == 0
    assert json.loads(vmkiln("context", "show").stdout)["url"] == listening.url
    made = vmkiln("rest", "PUT", GROUP, "--body", "-", typed='{"location": "westus2"}')
    assert made.exit_code == 0, made.exception


def test_without_a_context_the_service_that_runs_here_is_asked(listening: Listening, user: Path) -> None:
    assert listening.url.startswith("https://127.0.0.1:")
    assert vmkiln("rest", "PUT", GROUP, "--body", "-", typed='{"location": "westus2"}').exit_code == 0
    with opened(user / "vmkiln.sqlite") as store:
        row = store.resources.get(GROUP)
    assert row is not None
    assert row.created_by == "owner"


@pytest.mark.parametrize("app_id", ["", "nobody"], ids=["secret", "application id"])
def test_a_refused_login_is_not_kept(listening: Listening, user: Path, app_id: str) -> None:
    error = error_of(log_in(listening, app_id=app_id, typed="guess"))
    assert error.message == "the application id or the secret is wrong", "in words, and not those of a trace"
    assert error.exit_code == 2
    assert not kept(user).exists()


def test_a_service_whose_authority_is_unknown_gets_no_secret(listening: Listening, user: Path) -> None:
    options = ("--app-id", listening.app_id, "--secret-stdin")
    error = error_of(vmkiln("login", listening.url, *options, typed=listening.secret))
    assert "CERTIFICATE_VERIFY_FAILED" in error.message
    assert "--ca-file" in (error.hint or "")
    assert error.exit_code == 3
    assert not kept(user).exists()


def test_what_was_typed_is_never_shown(listening: Listening) -> None:
    shown = log_in(listening).output + vmkiln("context", "list").output + vmkiln("context", "show").output
    shown += vmkiln("context", "list", "--json").output
    assert listening.app_id in shown  # the search finds what is there
    assert listening.secret not in shown


def test_after_a_logout_its_secret_is_gone(listening: Listening, user: Path) -> None:
    log_in(listening)
    assert listening.secret in kept(user).read_text()
    assert vmkiln("logout").exit_code == 0
    assert listening.secret not in kept(user).read_text()
    assert "no context is in use" in error_of(vmkiln("logout")).message


def test_contexts_are_switched_by_name(listening: Listening) -> None:
    log_in(listening)
    assert vmkiln("context", "use", "--local").exit_code == 0
    assert vmkiln("context", "list").stdout.splitlines()[1].startswith("   127.0.0.1")
    assert vmkiln("context", "use", "127.0.0.1").exit_code == 0
    assert vmkiln("context", "list").stdout.splitlines()[1].startswith("*  127.0.0.1")
    for wrong in (["use", "other"], ["use"], ["use", "127.0.0.1", "--local"]):
        assert isinstance(error_of(vmkiln("context", *wrong)), InputError)


def test_every_mistake_of_a_login_is_named_at_once(user: Path) -> None:
    error = error_of(vmkiln("login", "http://host", "--secret-stdin", "--ca-file", str(user / "none.pem")))
    assert isinstance(error, InputError)
    for part in ("--app-id", "https://HOST:PORT", "--ca-file"):
        assert part in error.message


@pytest.mark.parametrize("text", ["", "host", "http://host", "https://", "https://a:b@host", "https://host/x",
                                  "https://host?x", "https://host:port", "file:///x"])  # fmt: skip
def test_what_is_no_address_of_a_service_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        service_url(text)


def test_addresses_are_kept_in_their_plain_form() -> None:
    assert service_url("https://HOST:443/") == "https://host"
    assert service_url("https://[::1]:8443") == "https://[::1]:8443"


def test_without_a_service_the_same_application_answers_in_this_process(user: Path) -> None:
    made = vmkiln("rest", "PUT", GROUP, "--body", "-", typed='{"location": "westus2", "tags": {"a": "b"}}')
    assert made.exit_code == 0, made.exception
    again = json.loads(vmkiln("rest", "GET", GROUP).stdout)
    assert (again["id"], again["tags"]) == (GROUP, {"a": "b"})
    missing = error_of(vmkiln("rest", "GET", GROUP + "x"))
    assert isinstance(missing, ArmError)
    assert (missing.status, missing.code) == (404, "ResourceGroupNotFound")
    deleted = vmkiln("rest", "DELETE", GROUP)
    assert deleted.exit_code == 0, deleted.exception
    assert error_of(vmkiln("rest", "GET", GROUP)).exit_code == 2


def asked(handler: httpx.MockTransport, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=handler) as web:
            client = ArmClient(web, "https://here:1", "the-token")
            return await client.finished(await client.request("GET", path))

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["https://elsewhere/x", "https://here:11/x", "https://here:1@elsewhere/", "x", ""])
def test_a_token_goes_to_its_own_service_only(path: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    with pytest.raises(InputError):
        asked(httpx.MockTransport(handler), path)


@pytest.mark.parametrize("path", ["//elsewhere/x", "/@elsewhere", "/\\elsewhere"])
def test_odd_paths_stay_with_their_service(path: str) -> None:
    hosts: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(200, json={})

    asked(httpx.MockTransport(handler), path)
    assert hosts == ["here"]


def test_redirects_are_not_followed() -> None:
    hosts: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://elsewhere/"})

    with pytest.raises(VmkilnError, match="wants us to go elsewhere"):
        asked(httpx.MockTransport(handler), "/x")
    assert hosts == ["here"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses."""
    monkeypatch.setattr(arm_client, "LEAST_PAUSE_SECONDS", 0.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("end", [200, 204, 409])
def test_an_answer_that_names_a_location_is_waited_for(end: int) -> None:
    """As DELETE has it; the command said that it waits, and did not."""
    states = [202, 202, end]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/x":
            return httpx.Response(202, headers={"location": "https://here:1/result", "retry-after": "0"})
        assert request.url.path == "/result"
        body = {"error": {"code": "Broken", "message": "it broke"}} if states[0] == 409 else None
        return httpx.Response(states.pop(0), json=body, headers={"retry-after": "0"})

    if end == 409:
        with pytest.raises(ArmError, match="it broke"):
            asked(httpx.MockTransport(handler), "/x")
    else:
        assert asked(httpx.MockTransport(handler), "/x").status_code == end
    assert states == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("end", "is_good"), [("Succeeded", True), ("Failed", False), ("Canceled", False)])
def test_operations_are_waited_for_and_their_failure_is_told(end: str, is_good: bool) -> None:
    states = ["InProgress", end]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/x":
            headers = {"azure-asyncoperation": "https://here:1/operation", "retry-after": "0"}
            return httpx.Response(202, headers=headers)
        error = {} if end == "Succeeded" else {"error": {"code": "Broken", "message": "it broke"}}
        return httpx.Response(200, json={"status": states.pop(0), **error}, headers={"retry-after": "0"})

    if is_good:
        assert asked(httpx.MockTransport(handler), "/x").json()["status"] == end
    else:
        with pytest.raises(ArmError, match="it broke"):
            asked(httpx.MockTransport(handler), "/x")
    assert states == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"code": "Conflict", "message": "m"}}', "Conflict"),
        (b'{"code": "Conflict", "message": "m"}', "Conflict"),
        (b'{"error": "invalid_client", "error_description": "d"}', "invalid_client"),
        (b"<html>", "UnexpectedAnswer"),
        (b"[1]", "UnexpectedAnswer"),
    ],
)
def test_refusals_are_read_in_every_shape(body: bytes, code: str) -> None:
    assert refusal(httpx.Response(409, content=body)).code == code


def test_a_refusal_is_told_with_its_details_and_what_helps() -> None:
    """`vmkiln rest` told of a refused deployment that it was refused, and nothing of why."""
    inner = [
        {"code": "BadRequest", "message": "no such size", "target": "properties.vmProfile.vmSize"},
        {"message": "b"},
    ]
    details = [{"code": "ResourceDeploymentFailure", "message": "m", "target": "web", "details": inner}, "odd", {}]
    body = {"error": {"code": "ResourceNotFound", "message": "refused for b", "details": details}}
    error = refusal(httpx.Response(404, json=body))
    assert error.message == "ResourceNotFound: refused for b\n  properties.vmProfile.vmSize: no such size"
    assert "`vmkiln template list`" in str(error.hint)
    assert str(error.hint).startswith("mend name")
    told = error_data(error)["error"]
    assert [(one["path"], one["message"]) for one in told["details"]] == [
        ("properties.vmProfile.vmSize", "no such size"), ("", "b"), ("", ""),
    ]  # fmt: skip
    check({"error": told}, {"$ref": "#/$defs/error"})
    operation = {"status": "Failed", "error": body["error"]}
    assert failure(operation).details == error.details
    assert failure(operation).message.startswith("refused for b\n")
    ended = failure({"status": "Canceled"})
    assert (ended.code, ended.message) == ("Canceled", "the operation ended Canceled")
    deep: dict[str, object] = {"message": "end"}
    for _ in range(9):
        deep = {"message": "m", "details": [deep] * 2}
    error = refusal(httpx.Response(400, json={"error": {"code": "X", "message": "m", "details": [deep]}}))
    assert len(error.details) <= 100


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("0", 0), ("9999", 30), ("soon", 1), ("-1", 1), ("", 1)])
def test_pauses_are_those_that_were_asked_for_within_reason(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.fixture
def stubbed(user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The application in this process, with builds that need no virtual machines; gives a template's file."""
    monkeypatch.setattr(arm_client, "real_build", stub_build)
    monkeypatch.setattr(arm_client, "MOST_PAUSE_SECONDS", 0.1)
    file = user.parent / "web.json"
    file.write_text(json.dumps(a_template("echo \x1b]0;title\x07 hello")))
    return file


@pytest.mark.parametrize("is_remote", [False, True])
def test_the_life_of_a_template(stubbed: Path, request: pytest.FixtureRequest, is_remote: bool) -> None:
    if is_remote:
        request.getfixturevalue("listening")
    where = ("-g", "rg1", "--subscription", SUBSCRIPTION)
    made = vmkiln("template", "create", "web", str(stubbed), *where)
    assert made.exit_code == 0, made.exception
    assert json.loads(made.stdout)["properties"]["provisioningState"] == "Succeeded"
    ran = vmkiln("template", "run", "web", *where)
    assert ran.exit_code == 0, ran.exception
    assert "PACKER OUT echo \\x1b]0;title\\x07 hello" in ran.stdout, "followed, and harmless"
    assert json.loads(vmkiln("template", "show", "web", *where).stdout)["name"] == "web"
    assert "web" in vmkiln("template", "list", "--subscription", SUBSCRIPTION).stdout
    assert "web" in vmkiln("template", "list", "--subscription", SUBSCRIPTION, "-g", "rg1").stdout
    assert "hello" in vmkiln("template", "logs", "web", *where).stdout
    assert "hello" in vmkiln("template", "logs", "web", "-f", *where).stdout
    assert error_of(vmkiln("template", "cancel", "web", *where)).code == "OperationNotAllowed"
    refused = vmkiln("template", "run", "web", "--no-wait", *where)
    assert (refused.exit_code == 0) is is_remote
    if is_remote:
        assert vmkiln("template", "logs", "web", "-f", *where).exit_code == 0
    deleted = vmkiln("template", "delete", "web", *where)
    assert deleted.exit_code == 0, deleted.exception
    none = vmkiln("template", "list", "-g", "rg1", "--subscription", SUBSCRIPTION)
    assert "there is no image template in the resource group rg1 of the subscription" in none.stderr
    assert error_of(vmkiln("template", "list", "-g", "nope", "--subscription", SUBSCRIPTION)).exit_code == 2
    for act in ("show", "delete"):
        assert error_of(vmkiln("template", act, "web", *where)).code == "ResourceNotFound"


def test_a_run_that_fails_is_told_by_the_exit_code(stubbed: Path) -> None:
    where = ("-g", "rg1", "--subscription", SUBSCRIPTION)
    stubbed.write_text(json.dumps(a_template("fail")))
    assert vmkiln("template", "create", "-n", "web", str(stubbed), *where).exit_code == 0
    failed = vmkiln("template", "run", "web", "--json", *where)
    assert error_of(failed).exit_code == 1
    assert json.loads(failed.stdout)["properties"]["runState"] == "Failed"


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_run_is_run_again_by_the_beginning_of_its_id(
    stubbed: Path, user: Path, request: pytest.FixtureRequest, is_remote: bool
) -> None:
    if is_remote:
        request.getfixturevalue("listening")
    where = ("-g", "rg1", "--subscription", SUBSCRIPTION)
    assert vmkiln("template", "create", "web", str(stubbed), *where).exit_code == 0
    assert vmkiln("template", "run", "web", *where).exit_code == 0
    with opened(user / "vmkiln.sqlite") as store:
        [first] = store.runs.list(limit=2)
        store.runs.add(replace(first, run_id="feedfeed-0000", template_id="", facts={}))
    again = vmkiln("run", "retry", first.run_id[:8])
    assert again.exit_code == 0, again.exception
    assert "hello" in again.stdout, "followed"
    assert f"this run repeats run {first.run_id}" in again.stdout, "its build knows which"
    refused = error_of(vmkiln("run", "retry", first.run_id, "--parameters", "size=1"))
    assert "one of an image template" in refused.message
    told = json.loads(vmkiln("run", "retry", first.run_id, "--json").stdout)["properties"]
    assert (told["runState"], told["facts"]["retry_of"]) == ("Succeeded", first.run_id)
    of_a_file = error_of(vmkiln("run", "retry", "feedfeed"))
    assert "built of a file" in of_a_file.message
    assert "`vmkiln build FILE`" in str(of_a_file.hint)
    assert "no run has an id" in error_of(vmkiln("run", "retry", "0123abcd-x")).message
    assert error_of(vmkiln("run", "retry", "01")).exit_code == 2
    if is_remote:
        started = vmkiln("run", "retry", first.run_id, "--no-wait")
        assert started.exit_code == 0, started.exception
        assert vmkiln("template", "logs", "web", "-f", *where).exit_code == 0


@contextlib.contextmanager
def interrupted_at_work(home: Path) -> Iterator[None]:
    """Ctrl-C, once a run is at work."""

    def press() -> None:
        for _ in range(600):
            with contextlib.suppress(VmkilnError), opened(home / "vmkiln.sqlite") as store:
                if any(row.state == RunState.RUNNING for row in store.runs.list(limit=1)):
                    os.kill(os.getpid(), signal.SIGINT)
                    return
            time.sleep(0.1)

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        yield
    finally:
        pressing.join()


@pytest.mark.parametrize("cancels", [False, True], ids=["goes on", "--cancel-on-interrupt"])
@pytest.mark.usefixtures("listening")
def test_ctrl_c_on_a_run_of_a_service_says_that_it_goes_on(
    stubbed: Path, user: Path, cancels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a command that was asked to end is ended for sure ten minutes later, and here that is the process of the tests
    monkeypatch.setattr(last_words, "end_within", lambda *_, **__: None)
    where = ("-g", "rg1", "--subscription", SUBSCRIPTION)
    stubbed.write_text(json.dumps(a_template("wait")))
    assert vmkiln("template", "create", "web", str(stubbed), *where).exit_code == 0
    with interrupted_at_work(user):
        ended = vmkiln("template", "run", "web", *where, *(["--cancel-on-interrupt"] if cancels else []))
    state = json.loads(vmkiln("template", "show", "web", *where).stdout)["properties"]["lastRunStatus"]["runState"]
    if cancels:
        assert "cancelling the run" in ended.stderr
        assert state == "Canceled"
        return
    assert ended.exit_code == 130
    assert "the run goes on; `vmkiln template cancel web -g rg1 --subscription" in ended.stderr
    assert "deleted" not in ended.output
    assert state == "Running"
    assert vmkiln("template", "cancel", "web", *where).exit_code == 0


def test_a_service_that_does_not_answer_gives_3(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_in(listening).exit_code == 0

    def away(*_args: object, **_options: object) -> None:
        raise httpx.ConnectError("All connection attempts failed")

    monkeypatch.setattr(httpx.AsyncClient, "stream", away)
    error = error_of(vmkiln(*SUBSCRIPTIONS))
    assert error.exit_code == 3
    assert "context use --local" in (error.hint or "")


def test_mistakes_of_a_template_are_named_before_anything_is_asked(stubbed: Path) -> None:
    stubbed.write_text(json.dumps(a_template(source={"type": "PlatformImage"}, mine=1)))
    error = error_of(vmkiln("template", "create", "web", str(stubbed), "-g", "rg1", "--subscription", SUBSCRIPTION))
    assert error.exit_code == 2
    assert "publisher" in str(error)
    assert "sku" in str(error)
    assert json.loads(vmkiln("rest", "GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups").stdout)["value"] == []
