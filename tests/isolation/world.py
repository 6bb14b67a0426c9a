"""A whole world without root: a host with a LAN, an Internet behind it, and runs of vmkiln on the host.

Run it by `unshare --user --map-root-user --map-auto --net --mount`: its own network namespace is the host. The
"internet" is one other namespace with a gateway, a LAN neighbour, a public server, and private servers of every range.
Each run has a stand-in for the build VM and one for the container group at the run's own taps. It is driven by JSON
lines, like `node.py`; `world_client.py` has the other end.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from unittest import mock

from vmkiln.errors import VmkilnError
from vmkiln.host import command, namespace
from vmkiln.host.confinement import call_filter, landlock
from vmkiln.host.copies import launching
from vmkiln.host.egress.name_proxy import Passage
from vmkiln.host.egress.policy_text import checked_policy
from vmkiln.host.egress.resolver_program import Told
from vmkiln.host.network import flow_log, host_watch, network_setup
from vmkiln.host.network.flow_bounds import FlowBounds
from vmkiln.host.network.flow_log import FlowLog, Whereabouts, entry_of
from vmkiln.host.network.network_namespace import Allowance, Network, Segment
from vmkiln.host.network.network_rules import rules_in_force
from vmkiln.staging import virtual_network
from vmkiln.staging.topology import UserSubnets, user_subnets_of
from vmkiln.staging.user_network import virtual_networks_of
from vmkiln.template.vm_profile import VirtualNetworkConfig

NODE = Path(__file__).with_name("node.py")
TCP_PORTS = [22, 53, 80, 5986, 8080]
MAIL_PORTS = [25, 465]
UDP_PORTS = [53, 80, 4500]
RESOLVER = "203.0.113.53"
HOST_ADDRESSES = ["198.51.100.2", "198.51.100.3", "203.0.113.99", "169.254.169.254", "168.63.129.16", "172.17.0.1"]
HOST_LOOPBACK = ["127.0.0.1", "127.0.0.53", "::1"]
HOST_IPV6 = "2001:db8:1::2"
INTERNET = ["203.0.113.10", RESOLVER, "198.51.100.1", "198.51.100.77", "192.168.77.1", "10.77.0.1", "10.0.2.53",
            "10.0.2.1", "172.20.0.1", "100.64.0.9", "192.0.0.9", "198.18.0.9", "0.1.2.3", "240.0.0.9",
            "169.254.77.1", "192.88.99.9"]  # fmt: skip
INTERNET_IPV6 = ["2001:db8:1::1", "2001:db8:2::10"]


class Cable:
    """A `node.py` process: requests in, answers out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            self._waiting.pop(message["id"]).set_result(message)
        for future in self._waiting.values():
            future.set_result({"error": "the node ended"})

    async def ask(self, **request: Any) -> Any:
        """The answer to one request. Raises: RuntimeError with the node's words."""
        assert self.process.stdin is not None
        self._next += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        self.process.stdin.write(json.dumps({**request, "id": self._next}).encode() + b"\n")
        message = await future
        if "error" in message:
            raise RuntimeError(message["error"])
        return message["answer"]


@contextlib.asynccontextmanager
async def node(name: str, *how: str) -> AsyncIterator[Cable]:
    """A running node; killed when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(NODE), name, *how, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**24
    )
    cable = Cable(process)
    try:
        await cable.ask(do="traffic")
        yield cable
    finally:
        process.kill()
        await process.wait()


@dataclass
class Run:
    """A live run: its namespace and its described network."""

    inside: namespace.Namespace
    network: Network
    lost: "asyncio.Future[str]"
    stack: contextlib.AsyncExitStack
    questions: list[Told]
    passages: list[Passage]


class World:
    """The nodes and runs there are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: dict[str, Cable] = {}
        self.runs: dict[str, Run] = {}
        self.stack = contextlib.AsyncExitStack()

    async def build(self) -> None:
        """Make the host and the Internet."""
        resolvers = self.directory / "resolv.conf"
        resolvers.write_text(f"nameserver {RESOLVER}\n")
        await self.do_on_host(["mount", "--bind", str(resolvers), "/etc/resolv.conf"])
        _, count = Path("/proc/self/uid_map").read_text().splitlines()[1].rsplit(maxsplit=1)
        ranges = self.directory / "ranges"
        ranges.write_text(f"0:1:{count}\nroot:1:{count}\n")  # the world's ids are not those of the host outside
        for name in ("/etc/subuid", "/etc/subgid"):
            await self.do_on_host(["mount", "--bind", str(ranges), name])
        await self.stack.enter_async_context(launching.kept())  # as where runs are begun
        self.nodes["host"] = host = await self.stack.enter_async_context(node("host", "here"))
        self.nodes["internet"] = internet = await self.stack.enter_async_context(node("internet", "new"))
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # as on a host with containers
        lines = [
            "link set lo up",
            "address add 127.0.0.53/8 dev lo",
            f"link add lan0 type veth peer name lan1 netns {internet.process.pid}",
            "address add 198.51.100.2/24 dev lan0",
            "address add 198.51.100.3/24 dev lan0",
            f"address add {HOST_IPV6}/64 dev lan0 nodad",
            "link set lan0 up",
            "route add default via 198.51.100.1",
            "route add default via 2001:db8:1::1",
            *(f"address add {text}/32 dev lo" for text in ("169.254.169.254", "168.63.129.16", "203.0.113.99")),
            "address add 172.17.0.1/16 dev lo",
            "route add 169.254.77.0/24 via 198.51.100.1",
        ]
        await self.do_on_host(["ip", "-force", "-batch", "-"], stdin="\n".join(lines))
        lines = [
            "link set lo up",
            "address add 198.51.100.1/24 dev lan1",
            "address add 198.51.100.77/24 dev lan1",
            "address add 2001:db8:1::1/64 dev lan1 nodad",
            "address add 2001:db8:2::10/128 dev lo nodad",
            "link set lan1 up",
            "route add 10.0.0.0/16 via 198.51.100.2",  # a neighbour that tries the runs' addresses through the host
            *(f"address add {text}/32 dev lo" for text in INTERNET if not text.startswith("198.51.100.")),
        ]
        await internet.ask(do="run", arguments=["ip", "-force", "-batch", "-"], stdin="\n".join(lines))
        for address in (*HOST_ADDRESSES, *HOST_LOOPBACK, HOST_IPV6):
            await host.ask(do="listen", address=address, tcp=TCP_PORTS, udp=UDP_PORTS)
        for address in (*INTERNET, *INTERNET_IPV6):
            await internet.ask(do="listen", address=address, tcp=TCP_PORTS, udp=UDP_PORTS)
        await internet.ask(do="listen", address=INTERNET[0], tcp=MAIL_PORTS, udp=[])
        await internet.ask(do="watch", interface="lan1")

    async def do_open_run(
        self,
        name: str,
        *,
        resolver: str = RESOLVER,
        allowances: list[tuple[str, int]] | None = None,
        pasta: dict[str, str | None] | None = None,
        sysctls: dict[str, str] | None = None,
        user: dict[str, Any] | None = None,
        egress: str = "open",
        bounds: dict[str, Any] | None = None,
        is_blind: bool = False,
        has_flow_log: bool = False,
        is_windows: bool = False,
    ) -> dict[str, Any]:
        """Open a run as vmkiln does; `pasta` replaces (or removes) options, `sysctls` values of kernel settings.

        `user` has the ARM `bodies` of a user's network and the `vnet_config` that names its subnets; `egress` is the
        text of an egress policy. `bounds` replace those of flows; one that `is_blind` does not watch what addresses the
        host gets.
        """
        (self.directory / "resolv.conf").write_text(f"nameserver {resolver}\n")
        allowed = [Allowance(IPv4Network(text), port) for text, port in allowances or ()]
        user_subnets = _user_subnets(user) if user else None
        decided = virtual_network.decide(
            await host_watch.host_addresses(),
            is_windows=is_windows,
            allowances=allowed,
            user_subnets=user_subnets,
            egress_policy=checked_policy([egress], where="egress"),
        ).network
        decided = replace(decided, bounds=FlowBounds(**bounds or {}))
        where = Whereabouts()
        where.note("build-vm", "Customizing: a step")
        flows = FlowLog(decided, where, str)
        stack = contextlib.AsyncExitStack()
        questions: list[Told] = []
        passages: list[Passage] = []
        try:
            inside = await stack.enter_async_context(namespace.opened())
            with _loosened(pasta or {}, sysctls or {}), _blinded(is_blind=is_blind):
                lost = await stack.enter_async_context(
                    network_setup.joined(
                        inside,
                        decided,
                        on_question=flows.question if has_flow_log else questions.append,
                        on_passage=passages.append,
                    )
                )
                if has_flow_log:
                    file = self.directory / f"{name}.jsonl"
                    await stack.enter_async_context(flow_log.recorded(inside, flows, file, lost))
            for kind, segment in (("build", decided.far), ("container", decided.near)):
                cable = await stack.enter_async_context(
                    node(f"{kind} {name}", "tap", str(inside.process_id), segment.tap)
                )
                self.nodes[f"{kind} {name}"] = cable
                await _dress(cable, segment)
        except BaseException:
            await stack.aclose()
            raise
        for text in ("icmp_ratelimit", "icmp_ratemask"):  # every refusal is told, so that one run equals the next
            await inside.run(["tee", f"/proc/sys/net/ipv4/{text}"], stdin=b"0")
        self.runs[name] = Run(inside, decided, lost, stack, questions, passages)
        return {
            "firewall": network_setup.rules_of(inside, decided),
            "forbidden": [str(item) for item in decided.forbidden],
            "sysctls": network_setup.sysctl_values(),
            "supervisor": inside.process_id,
            "guests": {"container": str(decided.near.guest), "build": str(decided.far.guest)},
            "endpoint": str(decided.endpoint.address) if decided.endpoint else None,
        }

    async def do_close_run(self, name: str) -> None:
        """Close a run."""
        run = self.runs.pop(name)
        for kind in ("build", "container", "router"):
            self.nodes.pop(f"{kind} {name}", None)
        await run.stack.aclose()

    async def do_close_logged_run(self, name: str) -> list[dict[str, Any]]:
        """Close a run; its flow log."""
        await self.do_close_run(name)
        file = self.directory / f"{name}.jsonl"
        found = [entry for line in file.read_text().splitlines() if (entry := entry_of(line)) is not None]
        file.unlink()
        return [asdict(entry) for entry in found]

    async def do_egress_lost(self, name: str) -> str | None:
        """Why the egress leg of a run ended, if it did."""
        run = self.runs[name]
        return run.lost.result() if run.lost.done() else None

    async def do_end_inside(self, name: str, words: str) -> None:
        """Kill the one program inside a run whose arguments have these words; return when it has ended."""
        run = self.runs[name]
        found = f'cat $f/comm $f/cmdline | tr "\\0" " " | grep -q "{words}"'
        script = f"for f in /proc/[0-9]*; do {found} && echo $f; done; true"
        own = await run.inside.run(["sh", "-c", script])
        for path in own.text.split():
            with contextlib.suppress(VmkilnError):
                await run.inside.run(["kill", "-9", path.split("/")[2]])
        await asyncio.wait([run.lost], timeout=10)

    async def do_names(self) -> list[str]:
        """Every node there is."""
        return list(self.nodes)

    async def do_node(self, name: str, request: dict[str, Any]) -> Any:
        """Pass a request on to a node."""
        return await self.nodes[name].ask(**request)

    async def do_inside(self, name: str, arguments: list[str], stdin: str = "") -> str:
        """Run a program inside a run's namespaces; what it printed."""
        return (await self.runs[name].inside.run(arguments, stdin=stdin.encode())).text

    async def do_node_inside(self, name: str) -> None:
        """A node in the router's own network namespace of a run: what an escaped QEMU could do."""
        run = self.runs[name]
        cable = await run.stack.enter_async_context(node(f"router {name}", "inside", str(run.inside.process_id)))
        self.nodes[f"router {name}"] = cable

    async def do_firewall_for(self, name: str, user: dict[str, Any]) -> str:
        """What the firewall of an open run would be with other rules of the user, right or wrong."""
        config = VirtualNetworkConfig.model_validate(user["vnet_config"])
        networks = virtual_networks_of(user["bodies"])
        placed = UserSubnets(
            found := next(iter(networks.values())),
            found.subnets[0],
            found.subnet(config.container_instance_subnet_id or ""),
        )
        decided = virtual_network.decide(
            await host_watch.host_addresses(), is_windows=False, user_subnets=placed
        ).network
        assert decided.near == self.runs[name].network.near
        return network_setup.rules_of(self.runs[name].inside, decided)

    async def do_questions(self, name: str) -> list[dict[str, Any]]:
        """What the resolver of a run told since the last time."""
        run = self.runs[name]
        told = [asdict(item) for item in run.questions]
        run.questions.clear()
        return told

    async def do_firewall_of(self, name: str) -> str:
        """The firewall of an open run as it was loaded."""
        run = self.runs[name]
        return network_setup.rules_of(run.inside, run.network)

    async def do_passages(self, name: str) -> list[dict[str, Any]]:
        """What the name proxy of a run told since the last time."""
        run = self.runs[name]
        told = [asdict(item) for item in run.passages]
        run.passages.clear()
        return told

    async def do_rules(self, name: str) -> list[dict[str, Any]]:
        """The rules in force in a run, as vmkiln reads them."""
        return [asdict(rule) for rule in await rules_in_force(self.runs[name].inside)]

    async def do_on_host(self, arguments: list[str], stdin: str = "") -> str:
        """Run a program on the host; what it printed."""
        return (await command.run(arguments, timeout_seconds=20, stdin=stdin.encode())).text

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks."""
        number, do = request.pop("id"), request.pop("do")
        try:
            return {"id": number, "answer": await getattr(self, f"do_{do}")(**request)}
        except (RuntimeError, VmkilnError) as error:
            return {"id": number, "error": f"{do}: {error} {getattr(error, 'output', '')}"}


def _user_subnets(user: dict[str, Any]) -> UserSubnets | None:
    config = VirtualNetworkConfig.model_validate(user["vnet_config"])
    return user_subnets_of(config, virtual_networks_of(user["bodies"]), service_port=22)


@contextlib.contextmanager
def _loosened(pasta: dict[str, str | None], sysctls: dict[str, str]) -> Any:
    """The same run with some guards taken away."""
    tight_arguments, tight_values = network_setup.pasta_arguments, network_setup.sysctl_values

    def arguments(*args: Any, **kwargs: Any) -> list[str]:
        words = tight_arguments(*args, **kwargs)
        for option, value in pasta.items():
            at = words.index(option)
            if value is None:
                del words[at]
            else:
                words[at + 1] = value
        return words

    values = {**tight_values(), **sysctls}
    # what pasta opens without its options its jail would refuse, and nobody would see what the options are for
    jail = [(landlock, "restrict_sockets", 0), (call_filter, "restrict", None), (network_setup, "failed", [])]
    without_jail = jail if pasta else []
    with contextlib.ExitStack() as stack:
        for module, name, result in without_jail:
            stack.enter_context(mock.patch.object(module, name, return_value=result))
        stack.enter_context(mock.patch.object(network_setup, "pasta_arguments", arguments))
        stack.enter_context(mock.patch.object(network_setup, "sysctl_values", return_value=values))
        yield


@contextlib.contextmanager
def _blinded(*, is_blind: bool) -> Any:
    """A run that does not see what addresses the host gets."""
    nothing = contextlib.nullcontext()
    with mock.patch.object(host_watch, "watched", return_value=nothing) if is_blind else nothing:
        yield


async def _dress(cable: Cable, segment: Segment) -> None:
    """Give a stand-in the address and MAC that the real guest has; IPv6 as a guest might try it."""
    suffix = 4
    lines = [
        f"link set eth0 address {segment.guest_mac}",
        "link set lo up",
        f"address add {segment.guest}/{segment.router.network.prefixlen} dev eth0",
        f"address add fd00::{suffix}/64 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {segment.router.ip}",
        "route add default via fd00::1 dev eth0",
    ]
    await cable.ask(do="run", arguments=["ip", "-force", "-batch", "-"], stdin="\n".join(lines))
    for address in (str(segment.guest), f"fd00::{suffix}"):
        await cable.ask(do="listen", address=address, tcp=TCP_PORTS, udp=UDP_PORTS)
    await cable.ask(do="watch", interface="eth0")


def tell(message: dict[str, Any]) -> None:
    """One line to who drives us."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def serve(world: World) -> None:
    """Answer requests until stdin ends, then close everything."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(request: dict[str, Any]) -> None:
        tell(await world.answer(request))

    async with world.stack:
        await world.build()
        tell({"ready": True})
        while line := await reader.readline():
            task = asyncio.create_task(handle(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for name in list(world.runs):
            await world.do_close_run(name)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    asyncio.run(serve(World(Path(sys.argv[1]))))
