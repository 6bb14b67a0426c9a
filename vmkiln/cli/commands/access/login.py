"""`vmkiln login`, `logout`, `context` and `rest`: which service the command line talks to, and a request to it.

Secrets come from standard input or a prompt, never from the command line, where others could read them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.cli.completing import context_names
from vmkiln.cli.contexts import Context, contexts_file, read_contexts, write_contexts
from vmkiln.cli.invocation import mark_answered, read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, show_rows, told_done
from vmkiln.cli.template_options import AlwaysJsonOption, JsonOption
from vmkiln.errors import InputError
from vmkiln.settings import Settings

if TYPE_CHECKING:
    import httpx

    from vmkiln.cli.arm_client import ArmClient

MOST_SECRET_LETTERS = 16_384
SHOWN_LETTERS = 200  # of an answer that is not understood
LOGIN_API_VERSION = "2022-12-01"
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
context_app = typer.Typer(no_args_is_help=True, help="The services that the command line knows.")
NameArgument = Annotated[
    str, typer.Argument(help="The context's name; the one in use when left out.", autocompletion=context_names)
]


@examples("vmkiln login https://build.example.org:8443 --ca-file ca.pem")
def login(
    url: Annotated[str, typer.Argument(help="The service's URL; the service of this machine when left out.")] = "",
    name: Annotated[str, typer.Option(help="The context's name; the URL's host when left out.")] = "",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="The authority to trust beside the system's (PEM).")
    ] = None,
    app_id: Annotated[str, typer.Option(help="A service principal's application id.")] = "",
    is_secret: Annotated[bool, typer.Option("--secret-stdin", help="Read its secret from standard input.")] = False,
    is_token: Annotated[bool, typer.Option("--token-stdin", help="Read a token from standard input.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Log in to a service, and use it from now on."""
    import httpx

    from vmkiln.cli.arm_client import of_this_machine
    from vmkiln.cli.interrupts import Parting, run_to_end

    if url:
        context = _asked_for(url, ca_file, app_id, is_secret=is_secret, is_token=is_token)
    elif ca_file or app_id or is_secret or is_token:
        raise InputError("these options need the service's URL", hint="vmkiln login URL ...")
    else:
        context = of_this_machine(read_settings())
    run_to_end(_try(context), parting=Parting(""))
    path = contexts_file(os.environ)
    name = name or httpx.URL(context.url).host
    write_contexts(path, read_contexts(path).with_context(name, context))
    text = f"logged in to {context.url}; the context `{name}` is in use"
    told_done(text, _shown(name, context, is_current=True), as_json=as_json)


def _asked_for(url: str, ca_file: Path | None, app_id: str, *, is_secret: bool, is_token: bool) -> Context:
    """The context that the options describe. Raises: `InputError` naming every mistake."""
    mistakes = []
    if is_token == bool(app_id):
        mistakes.append("give either --app-id with --secret-stdin, or --token-stdin")
    if is_secret and not app_id:
        mistakes.append("--secret-stdin needs --app-id")
    address, authority = "", ""
    try:
        address = service_url(url)
    except InputError as error:
        mistakes.append(error.message)
    try:
        authority = ca_file.read_text() if ca_file else ""
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"--ca-file: {ca_file} cannot be read: {error}")
    if mistakes:
        raise InputError("; ".join(mistakes))
    secret = _typed("token" if is_token else "secret", is_piped=is_token or is_secret)
    if is_token:
        return Context(address, authority=authority, token=secret)
    return Context(address, authority=authority, app_id=app_id, secret=secret)


def service_url(text: str) -> str:
    """A service's URL in its plain form, without a slash at its end; pure. Raises: `InputError`."""
    import httpx

    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"`{text}` is not a URL: {error}") from error
    if url.scheme != "https" or not url.host or url.userinfo or url.query or url.fragment or url.path != "/":
        raise InputError(f"`{text}` is not a service's URL; write https://HOST:PORT")
    return str(url).rstrip("/")


def _typed(what: str, *, is_piped: bool) -> str:
    if is_piped or not sys.stdin.isatty():
        value = sys.stdin.read(MOST_SECRET_LETTERS).strip()
    else:
        value = str(typer.prompt(what, hide_input=True, err=True))
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(f"standard input has no {what}")
    return value


async def _try(context: Context) -> None:
    """Raises: `UnexpectedAnswer` for what answers as no service of ours, which would take whatever is sent to it."""
    from vmkiln.cli.arm_client import remote_client
    from vmkiln.cli.service.answers import body_of

    async with remote_client(context) as client:
        body_of(await client.request("GET", "/subscriptions", api_version=LOGIN_API_VERSION)).listed()


@examples("vmkiln logout example")
def logout(name: NameArgument = "", as_json: JsonOption = False) -> None:
    """Forget a context with what it logs in with."""
    path = contexts_file(os.environ)
    contexts = read_contexts(path)
    wanted = name or contexts.current
    if not wanted:
        raise InputError("no context is in use", hint="`vmkiln context list` shows those there are")
    write_contexts(path, contexts.without(wanted))
    told_done(f"forgot the context `{wanted}`", {"deleted": wanted}, as_json=as_json)


@context_app.command("list")
@examples("vmkiln context list")
def list_(as_json: JsonOption = False) -> None:
    """List contexts; the one in use has a star."""
    contexts = read_contexts(contexts_file(os.environ))
    if as_json:
        found = [_shown(name, context, name == contexts.current) for name, context in sorted(contexts.known.items())]
        answer(found)
        return
    show_rows(
        (" ", "NAME", "URL"),
        [("*" if name == contexts.current else " ", name, one.url) for name, one in sorted(contexts.known.items())],
        none="no context is known: commands work on this machine; `vmkiln login URL` adds one",
    )


@context_app.command()
@examples("vmkiln context use example", "vmkiln context use --local")
def use(
    name: Annotated[str, typer.Argument(help="The context's name.", autocompletion=context_names)] = "",
    is_local: Annotated[bool, typer.Option("--local", help="None: this machine.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Use another context, or with --local none."""
    if bool(name) == is_local:
        raise InputError("give either a context's name or --local")
    path = contexts_file(os.environ)
    contexts = read_contexts(path).used(name)
    write_contexts(path, contexts)
    url = contexts.find(name).url if name else ""
    text = f"the context `{name}` is in use: {url}" if name else "no context is in use: commands work on this machine"
    told_done(text, {"name": name, "url": url}, as_json=as_json)


@context_app.command()
@examples("vmkiln context show")
def show(name: NameArgument = "", _as_json: AlwaysJsonOption = False) -> None:
    """Show a context as JSON, without what it logs in with."""
    contexts = read_contexts(contexts_file(os.environ))
    wanted = name or contexts.current
    if not wanted:
        raise InputError("no context is in use: commands work on this machine", hint="`vmkiln login URL`")
    answer(_shown(wanted, contexts.find(wanted), wanted == contexts.current))


def _shown(name: str, context: Context, is_current: bool) -> dict[str, Any]:
    kind = "token" if context.token else "servicePrincipal"
    return {"name": name, "url": context.url, "login": kind, "appId": context.app_id, "inUse": is_current}


@examples(
    "vmkiln rest GET /subscriptions",
    "vmkiln rest PUT '/subscriptions/ID/resourcegroups/images?api-version=2021-04-01' --body group.json",
)
def rest(
    method: Annotated[str, typer.Argument(help="GET, HEAD, PUT, PATCH, POST or DELETE.")],
    path: Annotated[str, typer.Argument(help="The path from its first `/`, perhaps with a query.")],
    body: Annotated[
        str, typer.Option(metavar="FILE|@FILE|-", help="A file with the body (JSON); `-` reads stdin.")
    ] = "",
    api_version: Annotated[str, typer.Option(help="The api-version, unless the path has one.")] = NEWEST_API_VERSION,
    context: Annotated[
        str, typer.Option(help="The context; the one in use when left out.", autocompletion=context_names)
    ] = "",
    as_json: AlwaysJsonOption = False,
) -> None:
    """Ask the service in use, or without one this machine, and print the answer; waits for operations to end."""
    from vmkiln.cli.interrupts import Parting, run_to_end

    if method.upper() not in METHODS:
        raise InputError(f"`{method}` is not a method", hint=f"allowed are {', '.join(METHODS)}")
    chosen = read_contexts(contexts_file(os.environ)).chosen(context)
    content = _json_of(Path(body.removeprefix("@"))) if body else None
    found = run_to_end(_ask(read_settings(), chosen, method.upper(), path, content, api_version), parting=Parting(""))
    if as_json and not found.content:
        answer(None)
    elif found.content:
        if as_json:
            _check_json(found)
        typer.echo(found.text)
        mark_answered()


def _check_json(found: httpx.Response) -> None:
    """Raises: `UnexpectedAnswer` for what is none."""
    from vmkiln.cli.service.answers import UnexpectedAnswer
    from vmkiln.harmless_text import harmless

    try:
        json.loads(found.content)
    except (ValueError, RecursionError) as error:
        shown = harmless(found.text[:SHOWN_LETTERS].strip())
        text = f"{found.request.method} {found.request.url}: the answer is no JSON but `{shown}`"
        raise UnexpectedAnswer(text, hint="without --json it is printed as it came") from error


def _json_of(path: Path) -> Any:
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is no JSON: {error}"
        hint = "--body takes the name of a JSON file, or `-` for standard input"
        raise InputError(f"--body: {str(path)[:SHOWN_LETTERS]} cannot be read: {why}", hint=hint) from error


async def _ask(
    settings: Settings, context: Context | None, method: str, path: str, body: Any, api_version: str
) -> httpx.Response:
    from vmkiln.cli.arm_client import opened_client

    async with opened_client(settings, context) as client:
        return await _to_its_end(client, method, path, body, api_version)


async def _to_its_end(client: ArmClient, method: str, path: str, body: Any, api_version: str) -> httpx.Response:
    from vmkiln.cli.view.long_work import long_work

    first = await client.request(method, path, api_version=api_version, body=body)
    with long_work("waiting for the end of the operation"):
        last = await client.finished(first)
    if last is not first and method in {"PUT", "PATCH"}:
        return await client.request("GET", path, api_version=api_version)
    return last
