"""Requests of the command line: to the service of a context, else to the same application in this process.

A token goes to the context's own address only, over TLS that is always verified; redirects are not followed.

A service that was there and does not answer, or asks for patience, is asked again for a minute: what cannot have been
begun yet, and what changes nothing. One that never answered is told at once. A token that is over is asked for anew.
Source: RFC 9110, 9.2.2 (what may be repeated), 15.6.4 and RFC 6585, 4 (Retry-After).
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from vmkiln.api.identity.caller import LOCAL_OPERATOR, Caller, Rights
from vmkiln.api.identity.first_start import owner_file, read_credentials, service_directory
from vmkiln.api.identity.issuer import ensure_issuer
from vmkiln.cli.contexts import Context
from vmkiln.cli.output import say
from vmkiln.cli.service.answers import OTHER_SERVICE, ServiceAway, UnexpectedAnswer, body_of, failure, refusal
from vmkiln.errors import InputError, VmkilnError
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.preparation import opened_store
from vmkiln.service import Occupant, Occupied, beside_commands, real_build, running
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import shared_storage

EMBEDDED = "https://localhost"
AUDIENCE = "https://management.azure.com"  # what every service takes, under whatever name it is reached
REQUEST_SECONDS = 120.0
START_SECONDS = 20.0  # a service that has its state directory answers by then
HTTPS_PORT = 443
CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 60.0  # from the beginning of a request that is asked again and again
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0  # between two of its attempts, where nothing else is asked for
UNKNOWN_ID = "unauthorized_client"  # OAuth's, of an application that nobody knows (RFC 6749, 5.2)
NOTHING_BEGUN = "ServerBusy"  # the code of a 503 that came before anything was done; of others nobody knows
NOT_SOON = {"TooManyShells"}  # people have them for minutes and hours: whoever waits is told why at once
NOBODY_KNOWS = {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT}
CHANGES_NOTHING = {"GET", "HEAD"}
NO_PATIENCE_HELPS = (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol)
LOOK_SECONDS = 0.2
ANSWER_SECONDS = 300.0  # from a request to the end of its answer
MOST_ANSWER_BYTES = 64 * 1024**2
OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}  # of a body that is read already
GOING_ON = {"accepted", "running", "inprogress", "creating", "updating", "deleting", "canceling"}
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 30.0  # of those that a service asks for


class OperatorAccess:
    """Access of whoever may read the state directory: the operator of this machine, who may do everything."""

    def authenticate(self, headers: Mapping[str, str], *, base_url: str) -> Caller:  # noqa: ARG002
        """The operator."""
        return LOCAL_OPERATOR

    def rights(self, caller: Caller) -> Rights:  # noqa: ARG002
        """All."""
        return Rights(is_local=True)

    def is_own(self, host: str) -> bool:  # noqa: ARG002
        """Nothing: nobody logs in here."""
        return False


class ArmClient:
    """Asks one service. `base` is its URL without a slash at its end; `has_host` whether anybody would run a run.

    `login` has the secret for a token, and for another one when the first is over.
    """

    def __init__(
        self,
        web: httpx.AsyncClient,
        base: str,
        token: str = "",
        *,
        has_host: Callable[[], bool] = lambda: True,
        login: Context | None = None,
    ) -> None:
        self.has_host = has_host
        self._web = web
        self._base = base
        self._token = token
        self._login = login
        self._was_there = False  # it answered as a service of ours does
        self._is_taken = False  # the token was good once

    @property
    def is_embedded(self) -> bool:
        """Whether the service is this process, and ends with it."""
        return self._base == EMBEDDED

    async def request(self, method: str, path: str, *, api_version: str = "", body: Any = None) -> httpx.Response:
        """The answer to one request. `path` begins with `/`, or is a URL of this service.

        Raises: `ArmError` for an answer of 400 and above, `InputError` for 401; `ServiceAway` when there is none.
        """
        if path.startswith(f"{self._base}/"):
            path = path.removeprefix(self._base)
        if not path.startswith("/"):
            raise InputError(f"`{path}` is no path of {self._base}", hint="write it from its first `/`")
        if api_version and "api-version=" not in path:
            path += ("&" if "?" in path else "?") + f"api-version={api_version}"
        found = await self._sent(method, path, body)
        if found.status_code == httpx.codes.UNAUTHORIZED and self._is_taken and self._login is not None:
            await self.log_in(self._login)
            found = await self._sent(method, path, body)
        if found.is_redirect:
            raise VmkilnError(f"{self._base} wants us to go elsewhere, to {found.headers.get('location', '')[:200]}")
        if found.status_code == httpx.codes.UNAUTHORIZED:
            hint = f"`vmkiln login {self._base}` with another; `vmkiln principal token APP_ID` on its machine makes one"
            raise InputError("the token is wrong, or over", hint=hint) from refusal(found)
        if found.status_code >= 400:
            raise refusal(found)
        self._is_taken = True
        return found

    async def _sent(self, method: str, path: str, body: Any) -> httpx.Response:
        url, headers = self._base + path, {"Authorization": f"Bearer {self._token}"} if self._token else {}
        is_change = method not in CHANGES_NOTHING
        return await self._patiently(method, url, f"{method} {url}", is_change=is_change, json=body, headers=headers)

    async def log_in(self, login: Context) -> None:
        """Get a token for a secret. Raises: `InputError` when it is wrong; `ArmError`, `ServiceAway`."""
        form = {
            "grant_type": "client_credentials",
            "client_id": login.app_id,
            "client_secret": login.secret,
            "scope": f"{AUDIENCE}/.default",
        }
        url, doing = f"{self._base}/common/oauth2/v2.0/token", f"logging in at {self._base}"
        found = await self._patiently("POST", url, doing, is_change=False, data=form)
        if found.status_code == httpx.codes.UNAUTHORIZED or (found.is_error and refusal(found).code == UNKNOWN_ID):
            raise InputError(
                "the application id or the secret is wrong",
                hint="`vmkiln principal secret APP_ID` on the service's machine gives another secret",
            ) from refusal(found)
        if found.status_code != 200:
            raise refusal(found)
        self._token = str(body_of(found)["access_token"])

    async def _patiently(self, method: str, url: str, doing: str, *, is_change: bool, **content: Any) -> httpx.Response:
        """The answer to a request that is sent again where that is right. Raises: `ServiceAway` when there is none."""
        until, pause, is_told = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS, False
        while True:
            found: httpx.Response | ServiceAway
            wait = pause
            try:
                found = await self._whole(method, url, **content)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                found = _no_answer(doing, error)
                found.__cause__ = error
                may_pass = not isinstance(error, NO_PATIENCE_HELPS) and not _is_distrust(error)
                is_undone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                may_repeat = self._was_there and not self.is_embedded and may_pass and (is_undone or not is_change)
                why = str(error) or type(error).__name__
            else:
                self._was_there = self._was_there or _is_ours(found)
                may_repeat = _is_put_off(found) or (found.status_code in NOBODY_KNOWS and not is_change)
                why = f"it answered {found.status_code}"
                if "retry-after" in found.headers:
                    wait = max(pause, seconds_of(found.headers["retry-after"]))
            if not may_repeat or time.monotonic() + wait > until:
                if isinstance(found, ServiceAway):
                    raise found
                return found
            if not is_told:
                say(f"the service is not ready ({why}); it is asked again for {PATIENCE_SECONDS:.0f} s")
                is_told = True
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _whole(self, method: str, url: str, **content: Any) -> httpx.Response:
        """An answer with its body, which has an end in bytes and in time. Raises: `UnexpectedAnswer`, `HTTPError`."""
        body = bytearray()
        try:
            async with asyncio.timeout(None if self.is_embedded else ANSWER_SECONDS):
                async with self._web.stream(method, url, **content) as found:
                    async for piece in found.aiter_bytes():
                        body += piece
                        if len(body) > MOST_ANSWER_BYTES:
                            raise UnexpectedAnswer(
                                f"{method} {url}: the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB",
                                hint=OTHER_SERVICE,
                            )
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"the answer did not end within {ANSWER_SECONDS:.0f} s") from error
        headers = [(name, value) for name, value in found.headers.multi_items() if name not in OF_THE_WIRE]
        return httpx.Response(found.status_code, headers=headers, content=bytes(body), request=found.request)

    async def finished(self, first: httpx.Response) -> httpx.Response:
        """The end of an asynchronous operation: the answer itself when it is none.

        Raises: `ArmError` when the operation failed or was cancelled.
        """
        url = first.headers.get("azure-asyncoperation", "")
        if not url:
            return await self._result(first)
        pause = first
        while True:
            await asyncio.sleep(_pause_behind(pause))
            pause = await self.request("GET", url)
            state = body_of(pause)
            status = str(state.get("status", ""))
            if status.lower() == "succeeded":
                return pause
            if status.lower() not in GOING_ON:
                raise failure(state)

    async def _result(self, first: httpx.Response) -> httpx.Response:
        """What an answer of 202 leads to: its Location is asked until it answers otherwise."""
        found, url = first, first.headers.get("location", "")
        while found.status_code == httpx.codes.ACCEPTED and url:
            await asyncio.sleep(_pause_behind(found))
            found = await self.request("GET", url)
            url = found.headers.get("location", "") or url
        return found


def _no_answer(doing: str, error: Exception) -> ServiceAway:
    """No answer came; pure."""
    hint = "start it (`vmkiln serve`), or work on this machine (`vmkiln context use --local`)"
    if _is_distrust(error):
        hint = "`vmkiln login URL --ca-file FILE` trusts the authority that signed its certificate"
    return ServiceAway(f"{doing}: {str(error) or type(error).__name__}", hint=hint)


def _is_distrust(error: BaseException | None) -> bool:
    """Whether an error comes from a certificate that is not trusted; pure."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _is_ours(found: httpx.Response) -> bool:
    """Whether a service answered, and no proxy before it; pure."""
    return found.is_success or (found.is_error and refusal(found).code != UnexpectedAnswer.code)


def _is_put_off(found: httpx.Response) -> bool:
    """Whether nothing of what was asked for was begun, and it is to be asked for again; pure."""
    if found.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return refusal(found).code == NOTHING_BEGUN
    return found.status_code == httpx.codes.TOO_MANY_REQUESTS and refusal(found).code not in NOT_SOON


def _pause_behind(found: httpx.Response) -> float:
    """How long to wait behind one answer of an operation that goes on; pure."""
    wait = max(LEAST_PAUSE_SECONDS, seconds_of(found.headers.get("retry-after", "1")))
    return min(wait, MOST_PAUSE_SECONDS)


def seconds_of(retry_after: str) -> float:
    """How long to wait, from a Retry-After header; pure."""
    return min(float(retry_after), MOST_PAUSE_SECONDS) if retry_after.isdecimal() else 1.0


def trust(authority: str) -> ssl.SSLContext:
    """Trust in the system's authorities, and in one more (PEM). Raises: `InputError` when that is none."""
    found = ssl.create_default_context()
    if authority:
        try:
            found.load_verify_locations(cadata=authority)
        except (ssl.SSLError, ValueError) as error:
            raise InputError("the authority is not a certificate in PEM") from error
    return found


def of_this_machine(settings: Settings) -> Context:
    """The service that was started in this state directory, as its owner. Raises: `ServiceAway` without one."""
    directory = service_directory(settings.home)
    owner = read_credentials(owner_file(settings.home))
    try:
        url = (directory / "endpoint").read_text().strip()
    except FileNotFoundError:
        raise ServiceAway("no service was started here yet", hint="`vmkiln serve`, or name its URL") from None
    authority = directory / "tls" / "ca.pem"
    text = authority.read_text() if authority.exists() else ""
    return Context(url, authority=text, app_id=owner.app_id, secret=owner.secret)


@contextlib.asynccontextmanager
async def remote_client(context: Context) -> AsyncIterator[ArmClient]:
    """A client of a context's service, logged in. Raises: `ArmError` when the login is refused."""
    timeout = httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(verify=trust(context.authority), timeout=timeout) as web:
        client = ArmClient(web, context.url, context.token, login=None if context.token else context)
        if not context.token:
            await client.log_in(context)
        yield client


async def _service_here(settings: Settings, stack: contextlib.AsyncExitStack, *, builds: bool) -> Context | None:
    """The service that serves this state directory; none when there is none, and commands have it: this one is one.

    A service that only starts is waited for. Raises: `ServiceAway` when nobody answers here, with what to do.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            stack.enter_context(beside_commands(settings, builds=builds))
        except Occupied as occupied:
            if occupied.by is not Occupant.SERVICE:
                raise
            with contextlib.suppress(InputError, ServiceAway):
                context = of_this_machine(settings)
                if await answers(context.url):
                    return context
            if time.monotonic() > deadline:
                hint = "its log says why; end it, and start it anew"
                raise ServiceAway(f"the service that works in {settings.home} does not answer", hint=hint) from occupied
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return None


async def answers(url: str) -> bool:
    """Whether anybody listens at an HTTPS URL."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or HTTPS_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


@contextlib.asynccontextmanager
async def opened_client(
    settings: Settings, context: Context | None, *, builds: bool = False
) -> AsyncIterator[ArmClient]:
    """A client of the context's service.

    Without a context: of the service that serves this state directory, as its owner; when none does, of the same
    application in this process. That one is no host, and does nothing but what it is asked for here. With `builds` it
    also carries out the run that it is asked for, where no other machine reaches its database, and cancels it when the
    block ends.
    """
    builds = builds and isinstance(settings.database_address, Path)
    async with contextlib.AsyncExitStack() as stack:
        if context is None:
            context = await _service_here(settings, stack, builds=builds)
        if context is not None:
            yield await stack.enter_async_context(remote_client(context))
            return
        store = stack.enter_context(opened_store(settings, say))
        issuer = ensure_issuer(service_directory(settings.home), settings.keys_folder)
        shared = shared_storage(settings, store)
        build = real_build(settings, store, shared=shared)
        here = HostIdentity(takes_runs=builds, is_embedded=True)
        served = running(settings, store, OperatorAccess(), issuer=issuer, build=build, identity=here, shared=shared)
        application = await stack.enter_async_context(served)
        transport = httpx.ASGITransport(application)
        web = await stack.enter_async_context(httpx.AsyncClient(transport=transport, timeout=REQUEST_SECONDS))
        yield ArmClient(web, EMBEDDED, has_host=lambda: builds or bool(store.hosts.live()))
