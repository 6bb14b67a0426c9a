"""The network of one run, made: what `network_namespace.py` describes, inside a live namespace, with its egress leg.

*Leaves behind:* nothing. *Undone by:* leaving the block (pasta ends) and the end of the namespace (the kernel removes
links, addresses and rules). *Safe to repeat:* in a new namespace.
"""

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host import command
from vmkiln.host.confinement import egress_jail, kernel_calls, process_facts
from vmkiln.host.confinement.confinement import Fact, OnConfinement, Surroundings, failed, judged_egress
from vmkiln.host.confinement.egress_jail import EgressJail
from vmkiln.host.egress import name_proxy, resolver_program
from vmkiln.host.egress.egress_policy import EgressMode
from vmkiln.host.egress.name_proxy import Passage
from vmkiln.host.egress.resolver_program import Told
from vmkiln.host.namespace import Namespace
from vmkiln.host.network import address_service, host_watch, proxy, resolver
from vmkiln.host.network.egress_rules import EGRESS_INTERFACE, PROXY_PORT
from vmkiln.host.network.network_namespace import (
    Network,
    firewall,
    ip_batch,
    pasta_arguments,
    sysctl_values,
)
from vmkiln.run_failures import NotConfined
from vmkiln.waiting.off_loop import off_loop

EGRESS = "egress"  # of which facts are kept
EGRESS_ID = 3  # its number among the run's services
EGRESS_SECONDS = 10
CONFINED_SECONDS = 10  # from then on
PAUSE_SECONDS = 0.01
ANYWHERE = "00000000"


def _unheard(_told: Told | Passage | str) -> None:
    """What becomes of questions, connections and addresses that nobody wants to hear of."""


@contextlib.asynccontextmanager
async def joined(
    namespace: Namespace,
    network: Network,
    *,
    on_question: resolver.Hear = _unheard,
    on_passage: proxy.Hear = _unheard,
    on_address: address_service.Hear = _unheard,
    on_confinement: OnConfinement | None = None,
) -> AsyncIterator["asyncio.Future[str]"]:
    """The network, up; yields a future that ends with a reason when a part of it dies early.

    The firewall is loaded before any link exists, so there is no moment without it. `on_question` gets each name that
    a guest asks for, `on_passage` each connection that the name proxy of a locked run took, `on_address` whether a far
    guest that asks for its address got it; they must not raise, nor wait. `on_confinement` gets what holds the process
    of the egress leg, before a guest is there.

    Raises: `HostUnfit` when the egress leg or the resolver does not come up; `NotConfined` when one of them is not held
    as it is meant to be.
    """
    await namespace.run(["nft", "-f", "-"], stdin=rules_of(namespace, network).encode())
    await namespace.write({f"/proc/sys/{key}": value for key, value in sysctl_values().items()})
    policy, upstream = network.egress_policy, str(network.egress.upstream_dns)
    async with contextlib.AsyncExitStack() as stack:
        egress = await stack.enter_async_context(_begun(namespace, network))  # it takes the longest
        sight = await stack.enter_async_context(host_watch.looking())
        await namespace.run(["ip", "-batch", "-"], stdin=ip_batch(network).encode())
        orders = resolver_program.Orders(str(network.egress.dns), upstream, policy)
        services = [await stack.enter_async_context(resolver.answering(namespace, orders, on_question))]
        if policy.mode is EgressMode.ALLOW_LIST:
            proxy_orders = name_proxy.Orders(PROXY_PORT, upstream, policy)
            services.append(await stack.enter_async_context(proxy.proxying(namespace, proxy_orders, on_passage)))
        if network.gives_address:
            address_orders = address_service.orders_of(network)
            giving = address_service.giving(namespace, address_orders, on_address)
            services.append(await stack.enter_async_context(giving))
        lost = await egress.up(on_confinement)
        for service in services:
            await service.ready()
            service.tell_end(lost)
        await stack.enter_async_context(host_watch.watched(namespace, network, sight, lost))
        yield lost


def rules_of(namespace: Namespace, network: Network) -> str:
    """The firewall as it is loaded: with the ids of the run's services."""
    ids = [namespace.service_id(one.SERVICE.number) for one in (resolver, proxy, address_service)]
    return firewall(network, resolver=ids[0], proxy=ids[1], addresses=ids[2])


@dataclass(frozen=True)
class Egress:
    """The egress leg as it begins; `lost` ends with a reason when it ends."""

    namespace: Namespace
    jail: EgressJail
    process_id: int
    lost: "asyncio.Future[str]"

    async def up(self, on_confinement: OnConfinement | None) -> "asyncio.Future[str]":
        """Return when it is up, held as it is meant to be. Raises: `HostUnfit`, `NotConfined`."""
        try:
            async with asyncio.timeout(EGRESS_SECONDS):
                while not await off_loop(_egress_is_up, self.namespace):
                    if self.lost.done():
                        raise HostUnfit(f"the egress leg did not start: {self.lost.result()}")
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError as error:
            raise HostUnfit(f"pasta did not bring up the egress leg within {EGRESS_SECONDS} s") from error
        facts = await _confined(self.namespace, self.jail, self.process_id, self.lost)
        if on_confinement is not None:
            await on_confinement(EGRESS, facts)
        return self.lost


@contextlib.asynccontextmanager
async def _begun(namespace: Namespace, network: Network) -> AsyncIterator[Egress]:
    """The egress leg, which makes its link while something else is done."""
    jail = await egress_jail.jail_of(
        own_id=namespace.service_id(EGRESS_ID), user_path=namespace.user_path, network_path=namespace.network_path
    )
    arguments = pasta_arguments(network.egress, program=jail.program, network_path=egress_jail.NETWORK_INSIDE)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    starting = command.start(
        arguments,
        stderr=command.PIPE,
        environment=egress_jail.ENVIRONMENT,
        before_exec=functools.partial(egress_jail.enter, jail),
    )
    async with starting as process:
        watching = asyncio.create_task(_watch(process, lost))
        try:
            if namespace.group is not None:
                with contextlib.suppress(ProcessLookupError):  # it has ended, and what watches it says why
                    await off_loop(namespace.group.add, process.pid)
            yield Egress(namespace, jail, process.pid, lost)
        finally:
            watching.cancel()


async def _confined(namespace: Namespace, jail: EgressJail, process_id: int, lost: "asyncio.Future[str]") -> list[Fact]:
    """What holds pasta, once it has given away what it needed to make its link, which is up before that.

    Raises: `NotConfined` naming what does not hold in the end; `HostUnfit` when it ended.
    """
    deadline, facts, reason = time.monotonic() + CONFINED_SECONDS, list[Fact](), "nothing is known of it"
    while time.monotonic() < deadline and not lost.done():
        try:
            facts = await off_loop(_judged, namespace, jail, process_id)
        except OSError as error:  # it ended, or may not be looked at while it begins anew
            facts, reason = [], str(error)
        if facts and not failed(facts):
            return facts
        await asyncio.sleep(PAUSE_SECONDS)
    if lost.done() or not facts:
        raise HostUnfit(f"the egress leg did not start: {lost.result() if lost.done() else reason}")
    texts = [f"{fact['name']} is {fact['found']}, and should be {fact['expected']}" for fact in failed(facts)]
    raise NotConfined(f"the way out of the run is not confined: {'; '.join(texts)}")


def _judged(namespace: Namespace, jail: EgressJail, process_id: int) -> list[Fact]:
    found = process_facts.inner_ids(process_facts.of(process_id), namespace.process_id)
    supervisor = process_facts.namespaces(namespace.process_id)
    here, landlock = process_facts.namespaces(), kernel_calls.landlock_version()
    return judged_egress(found, jail, Surroundings(here, supervisor, namespace.control_group, landlock))


async def _watch(process: asyncio.subprocess.Process, lost: "asyncio.Future[str]") -> None:
    assert process.stderr is not None  # asked for by _egress
    try:
        output = (await process.stderr.read()).decode(errors="replace").strip()
        reason = f"pasta ended with status {await process.wait()}: {output[-500:]}"
    except Exception as error:  # when it cannot be watched any more it is as good as lost
        reason = f"pasta cannot be watched: {error!r}"
    if not lost.done():
        lost.set_result(reason)


def _egress_is_up(namespace: Namespace) -> bool:
    """Whether the run has its way out, by its table of routes (proc(5))."""
    try:
        table = Path(f"/proc/{namespace.process_id}/net/route").read_text()
    except OSError:
        return False
    return any(line.split()[:2] == [EGRESS_INTERFACE, ANYWHERE] for line in table.splitlines())


def counters(ruleset: str, *, chains: Sequence[str] = ("spoofing", "forward")) -> dict[str, int]:
    """Packets by rule comment in the output of `nft -j list ruleset`; pure."""
    found: dict[str, int] = {}
    for entry in json.loads(ruleset)["nftables"]:
        rule = entry.get("rule")
        if rule and rule["chain"] in chains and (comment := rule.get("comment")):
            packets = sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
            found[comment] = found.get(comment, 0) + packets
    return found
