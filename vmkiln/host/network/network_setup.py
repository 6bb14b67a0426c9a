"""The network of one run, made: what `network_namespace.py` describes, inside a live namespace, with its egress leg.

*Leaves behind:* nothing. *Undone by:* leaving the block (pasta ends) and the end of the namespace (the kernel removes
links, addresses and rules). *Safe to repeat:* in a new namespace.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Interface

from vmkiln.errors import HostUnfit, VmkilnError
from vmkiln.host import command
from vmkiln.host.egress.resolver_program import Orders, Told
from vmkiln.host.namespace import Ended, Namespace
from vmkiln.host.network import resolver
from vmkiln.host.network.network_namespace import (
    EGRESS_INTERFACE,
    Network,
    firewall,
    ip_batch,
    pasta_arguments,
    sysctl_values,
)

EGRESS_SECONDS = 10


async def host_addresses() -> tuple[IPv4Interface, ...]:
    """Every IPv4 address of this machine, with its link's prefix."""
    completed = await command.run(["ip", "-json", "-4", "address", "show"], timeout_seconds=10)
    return parse_addresses(completed.text)


def parse_addresses(text: str) -> tuple[IPv4Interface, ...]:
    """The addresses in the output of `ip -json address`; pure."""
    links = json.loads(text)
    return tuple(
        IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
        for link in links
        for entry in link.get("addr_info", ())
        if entry["family"] == "inet"
    )


def _unheard(_told: Told) -> None:
    """What becomes of questions that nobody wants to hear of."""


@contextlib.asynccontextmanager
async def joined(
    namespace: Namespace, network: Network, *, on_question: resolver.Hear = _unheard
) -> AsyncIterator["asyncio.Future[str]"]:
    """The network, up; yields a future that ends with a reason when the egress leg or the resolver dies early.

    The firewall is loaded before any link exists, so there is no moment without it. `on_question` gets each name that
    a guest asks for; it must not raise, nor wait.

    Raises: `HostUnfit` when the egress leg or the resolver does not come up.
    """
    rules = firewall(network, resolver=namespace.service_id(resolver.SERVICE))
    await namespace.run(["nft", "-f", "-"], stdin=rules.encode())
    for key, value in sysctl_values().items():
        await namespace.run(["tee", f"/proc/sys/{key}"], stdin=value.encode())
    await namespace.run(["ip", "-batch", "-"], stdin=ip_batch(network).encode())
    orders = Orders(str(network.egress.dns), str(network.egress.upstream_dns))
    async with resolver.answering(namespace, orders, on_question) as answering, _egress(namespace, network) as lost:
        await answering.ready()

        def resolver_lost(ended: "asyncio.Future[Ended]") -> None:
            if not lost.done() and not ended.cancelled():
                lost.set_result(f"the resolver ended with status {ended.result().status}: {ended.result().output}")

        answering.ended.add_done_callback(resolver_lost)
        yield lost


@contextlib.asynccontextmanager
async def _egress(namespace: Namespace, network: Network) -> AsyncIterator["asyncio.Future[str]"]:
    arguments = pasta_arguments(
        network.egress, network_path=str(namespace.network_path), user_path=str(namespace.user_path)
    )
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with command.start(arguments, stderr=command.PIPE) as process:
        watching = asyncio.create_task(_watch(process, lost))
        try:
            async with asyncio.timeout(EGRESS_SECONDS):
                while not await _egress_is_up(namespace):
                    if lost.done():
                        raise HostUnfit(f"the egress leg did not start: {lost.result()}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise HostUnfit(f"pasta did not bring up the egress leg within {EGRESS_SECONDS} s") from error
        else:
            yield lost
        finally:
            watching.cancel()


async def _watch(process: asyncio.subprocess.Process, lost: "asyncio.Future[str]") -> None:
    assert process.stderr is not None  # asked for by _egress
    try:
        output = (await process.stderr.read()).decode(errors="replace").strip()
        reason = f"pasta ended with status {await process.wait()}: {output[-500:]}"
    except Exception as error:  # when it cannot be watched any more it is as good as lost
        reason = f"pasta cannot be watched: {error!r}"
    if not lost.done():
        lost.set_result(reason)


async def _egress_is_up(namespace: Namespace) -> bool:
    try:
        route = await namespace.run(["ip", "-json", "route", "show", "default", "dev", EGRESS_INTERFACE])
    except VmkilnError:
        return False
    return bool(json.loads(route.text or "[]"))


def counters(ruleset: str, *, chains: Sequence[str] = ("spoofing", "forward")) -> dict[str, int]:
    """Packets by rule comment in the output of `nft -j list ruleset`; pure."""
    found: dict[str, int] = {}
    for entry in json.loads(ruleset)["nftables"]:
        rule = entry.get("rule")
        if rule and rule["chain"] in chains and (comment := rule.get("comment")):
            packets = sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
            found[comment] = found.get(comment, 0) + packets
    return found
