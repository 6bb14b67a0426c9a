"""`vmkiln open`: the portal in a browser, logged in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.completing import context_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import JsonOption

if TYPE_CHECKING:
    from vmkiln.cli.contexts import Context
    from vmkiln.settings import Settings

LINKS = "/providers/Vmkiln.Builds/loginLinks"


@examples("vmkiln open", "vmkiln open --print --context example")
def open_portal(
    is_printed: Annotated[
        bool, typer.Option("--print", help="Print the link instead of opening it, as without a browser.")
    ] = False,
    context: Annotated[
        str,
        typer.Option(
            "--context",
            help="Whose portal; that of the context in use, or of this machine.",
            autocompletion=context_names,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Open the portal with a link that logs in once.

    It does so within ten minutes, as whom the context logs in.
    """
    import os
    import webbrowser

    from vmkiln.cli.contexts import contexts_file, read_contexts
    from vmkiln.cli.interrupts import Parting, run_to_end

    chosen = read_contexts(contexts_file(os.environ)).chosen(context)
    link: dict[str, Any] = {}
    run_to_end(_ask(read_settings(), chosen, link), parting=Parting(""))
    if as_json:
        answer(link)
        return
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or sys.platform == "darwin"
    if not is_printed and has_screen and webbrowser.open(str(link["url"])):
        say("the portal is opened; the link was good once")
        return
    typer.echo(link["url"])
    say("it logs in once, within ten minutes")


async def _ask(settings: Settings, context: Context | None, link: dict[str, Any]) -> None:
    from vmkiln.cli.arm_client import opened_client
    from vmkiln.cli.service.answers import ServiceAway, body_of

    async with opened_client(settings, context) as client:
        if client.is_embedded:
            raise ServiceAway("no service serves this state directory", hint="`vmkiln serve` starts it")
        link.update(body_of(await client.request("POST", LINKS)))
