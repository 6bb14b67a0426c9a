"""`vmkiln notice`: whether the receivers of notices can be told anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.settings import Settings

app = typer.Typer(help="Notice by webhook and e-mail of what happened.", no_args_is_help=True)


@app.callback()
def notice() -> None:
    """Notice by webhook and e-mail of what happened."""


async def sent_tests(settings: Settings) -> list[dict[str, Any]]:
    """A test to each receiver: its name, whether it took it, else why not. Raises: `InputError` without a receiver."""
    from datetime import UTC, datetime

    from vmkiln.errors import VmkilnError
    from vmkiln.notice.cloud_event import tried
    from vmkiln.notice.receivers import receivers_of
    from vmkiln.notice.sending import send, source_here

    receivers = receivers_of(settings)
    if not receivers.names:
        raise InputError(
            "there is nobody to tell", hint="set notice_webhook or notice_mail_server; docs/notice.md has both"
        )
    event = tried(datetime.now(UTC), source=source_here(settings))
    found = []
    for name in receivers.names:
        problem = ""
        try:
            await send(settings, receivers, name, event)
        except VmkilnError as error:
            problem = error.message
        found.append({"receiver": name.value, "id": event["id"], "isSent": not problem, "problem": problem})
    return found


@app.command("test")
@examples("vmkiln notice test", "vmkiln notice test --json")
def send_test(as_json: JsonOption = False) -> None:
    """Send a test to the webhook and by e-mail, as the settings have them, and say whether it was taken.

    Exits with 0 when everybody took it, else with 1.
    """
    import asyncio

    found = asyncio.run(sent_tests(read_settings()))
    if as_json:
        answer(found)
    else:
        for one in found:
            typer.echo(f"{one['receiver']}: {one['problem'] or 'sent'}")
    if not all(one["isSent"] for one in found):
        raise typer.Exit(1)
