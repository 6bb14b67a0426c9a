"""`vmkiln host`: the build hosts of this machine's database, or of a fleet's."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.audit.act_names import HOST_DRAIN, HOST_UNDRAIN, host_id
from vmkiln.cli.audited import audited
from vmkiln.cli.completing import host_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, say, show_data, show_rows
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError, VmkilnError
from vmkiln.harmless_text import harmless

if TYPE_CHECKING:
    from vmkiln.store.database import Store
    from vmkiln.store.rows import HostRow

WAIT_SECONDS = 1.0
MOMENTS = ("started", "lease_until")
app = typer.Typer(no_args_is_help=True, help="Build hosts: who is at work, what they have, how one is taken out.")
NameArgument = Annotated[str, typer.Argument(help="The host's name.", autocompletion=host_names)]


def _found(store: Store, name: str) -> HostRow:
    for host in store.hosts.all():
        if host.name == name:
            return host
    raise InputError(f"there is no host named {name}", hint="`vmkiln host list` shows them")


def _told(store: Store, host: HostRow, *, now: float) -> dict[str, object]:
    runs = [placed.run_id for placed in store.hosts.placed(incarnation=host.incarnation)]
    moments = {f"{name}_at": _moment(getattr(host, name)) for name in MOMENTS}
    # `boot` is what 0.1.0 called an incarnation, and MOMENTS were numbers until 0.2.0; they go with the next release
    return {"state": host.state_at(now), **asdict(host), **moments, "boot": host.incarnation, "runs": runs}


def _moment(seconds: float) -> str:
    """A time of the database, in seconds since 1970, as all our JSON has times; pure."""
    return moment_text(datetime.fromtimestamp(seconds, UTC))


@app.command("list")
@examples("vmkiln host list")
def list_(as_json: JsonOption = False) -> None:
    """List build hosts with what they have and how many runs they go through."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        now = store.hosts.now()
        told = [_told(store, host, now=now) for host in store.hosts.all()]
    if as_json:
        answer(told)
        return
    show_rows(
        ("NAME", "STATE", ">CPUS", ">MEMORY", "ARCHITECTURE", "ISOLATION", "REGION", ">RUNS"),
        [
            (
                str(host["name"]),
                str(host["state"]),
                str(host["cpus"]),
                f"{host['memory_mib']} MiB",
                str(host["architecture"]),
                str(host["isolation_level"] or "not tried yet"),
                str(host["region"] or "-"),
                str(len(runs) if isinstance(runs := host["runs"], list) else 0),
            )
            for host in told
        ],
        none="no host is or was at work here; `vmkiln serve` and `vmkiln worker` are hosts",
    )
    for host in told:
        if host["unready"]:
            say(f"{host['name']} cannot build: {harmless(str(host['unready_reason']))} ({host['unready']})")


@app.command()
@examples("vmkiln host show build-2")
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a build host and the runs it has."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        told = _told(store, _found(store, name), now=store.hosts.now())
    people = {name: value for name, value in told.items() if name not in MOMENTS}
    show_data(told if as_json else people, as_json=as_json)


@app.command()
@examples("vmkiln host drain build-2 --wait")
def drain(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Until the runs it has are over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a host nothing new; what it has goes on. It stays so when it starts again, until `undrain`."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        with audited(store, HOST_DRAIN, host_id(name)):
            store.hosts.drain(name, is_draining=True)
        say(f"{name} gets no new runs")
        if wait:
            _wait_for_runs(store, name)
        if as_json:
            answer(_told(store, _found(store, name), now=store.hosts.now()))


def _wait_for_runs(store: Store, name: str) -> None:
    """Raises: `VmkilnError` when the host is over before them."""
    from vmkiln.cli.view.long_work import long_work

    told = 0
    with long_work(f"waiting for the runs of {name}") as now:
        while count := len(store.hosts.placed(incarnation=_found(store, name).incarnation)):
            host = _found(store, name)
            if (state := host.state_at(store.hosts.now())).is_over:
                raise VmkilnError(f"{name} is {state} with {count} runs, which other hosts take over")
            if count != told:
                left = f"{count} run{'' if count == 1 else 's'} left"
                say(left)
                now(f"waiting for {name}, {left}")
                told = count
            time.sleep(WAIT_SECONDS)


@app.command()
@examples("vmkiln host undrain build-2")
def undrain(name: NameArgument, as_json: JsonOption = False) -> None:
    """Let a host take runs again."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        with audited(store, HOST_UNDRAIN, host_id(name)):
            store.hosts.drain(name, is_draining=False)
        say(f"{name} takes runs again")
        if as_json:
            answer(_told(store, _found(store, name), now=store.hosts.now()))
