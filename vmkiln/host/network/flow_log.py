"""The flow log of a run: each connection and each name that was asked for, told by the kernel and by the resolver.

Nothing of it comes from a guest. A connection is told when the kernel forgets it, with all that went over it, and those
that it remembers are told when the run's network ends. Each entry is one line of JSON; beyond a number of entries they
are counted, and the log says how many.

*Leaves behind:* one file of a run, which only grows. *Undone by:* the deletion of its folder. *Safe to repeat:* yes, it
goes on behind what is there.
"""

import asyncio
import contextlib
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from vmkiln.errors import HostUnfit, VmkilnError
from vmkiln.files.private_folder import private_file
from vmkiln.host.egress.name_proxy import Passage
from vmkiln.host.egress.resolver_program import Told
from vmkiln.host.namespace import Namespace
from vmkiln.host.network import flow_program
from vmkiln.host.network.conntrack import Connection
from vmkiln.host.network.network_namespace import Network
from vmkiln.waiting.off_loop import off_loop

NAME = "flow-watch"
START_SECONDS = 15
LOOK_SECONDS = 2.0
MOST_ENTRIES = 20_000
MOST_NAMES = 10_000
ALLOWED, REFUSED = "allowed", "refused"
DNS = "dns"


@dataclass(frozen=True)
class FlowEntry:
    """One connection or one question. `time` is when it began (ISO 8601); `vm` who opened it, `step` what ran then.

    `name` is the name whose address was asked for last before, or the name of the question; '' when none was.
    `protocol` is tcp, udp, icmp or dns; `verdict` is allowed, or says why it was refused; `detail` is what a question
    was and became. Bytes and packets are those that the guest sent (`out`) and got (`in`).
    """

    time: str
    vm: str
    step: str
    name: str
    address: str
    port: int
    protocol: str
    bytes_out: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    packets_in: int = 0
    verdict: str = ALLOWED
    detail: str = ""


def entry_of(line: str) -> FlowEntry | None:
    """The entry in a line of a flow log; None for the line of those that were dropped, and for a torn one; pure."""
    try:
        found = json.loads(line)
        return FlowEntry(**{field.name: found[field.name] for field in fields(FlowEntry)})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def dropped_in(line: str) -> int:
    """How many entries a line says were dropped; pure."""
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return int(json.loads(line)["dropped"])
    return 0


class Whereabouts:
    """Which step of a run was on at a time, and which VM the far guest was then."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._marks: list[tuple[str, str]] = []

    def note(self, vm: str, step: str) -> None:
        """From now on, this."""
        self._times.append(datetime.now(UTC).timestamp())
        self._marks.append((vm, step))

    def at(self, time: float) -> tuple[str, str]:
        """The VM and the step at a time (seconds since 1970); '' before the first."""
        index = bisect_right(self._times, time)
        return self._marks[index - 1] if index else ("", "")


class FlowLog:
    """Takes what is told and makes lines of it."""

    def __init__(self, network: Network, where: Whereabouts, mask: Callable[[str], str]) -> None:
        self._network = network
        self._where = where
        self._mask = mask
        self._names: dict[str, str] = {}
        self._lines: list[str] = []
        self._count = 0
        self._told: set[tuple[Any, ...]] = set()
        self._refused: dict[tuple[str, str, str, int], tuple[float, int, int]] = {}
        self.dropped = 0

    def question(self, told: Told) -> None:
        """A name that a guest asked for."""
        vm, step = self._where.at(told.time)
        for address in told.addresses:
            if len(self._names) < MOST_NAMES or address in self._names:
                self._names[address] = told.name
        detail = " ".join([told.kind, told.code or "no answer", *told.addresses])
        entry = FlowEntry(
            _iso(told.time), vm, step, told.name, told.client, 53, DNS, verdict=told.verdict, detail=detail
        )
        self._add(entry)

    def passage(self, told: Passage) -> None:
        """A connection of a locked run's guest that the name proxy took, or refused."""
        vm, step = self._where.at(told.time)
        self._add(
            FlowEntry(
                time=_iso(told.time),
                vm=vm,
                step=step,
                name=told.name,
                address=told.address or told.chosen,
                port=told.port,
                protocol="tcp",
                bytes_out=told.bytes_out,
                bytes_in=told.bytes_in,
                verdict=told.verdict,
                detail="by the name proxy",
            )
        )

    def line(self, text: str) -> None:
        """A line of the program that watches; what is none is passed over."""
        with contextlib.suppress(ValueError, TypeError):
            found = json.loads(text)
            if flow_program.MORE in found:
                self.dropped += int(found[flow_program.MORE])
            else:
                self.connection(Connection(**found))

    def connection(self, found: Connection) -> None:
        """A connection that is over, or is remembered at the end; each is told once."""
        key = (found.id, found.source, found.source_port, found.destination, found.port, found.begin)
        if key in self._told:
            return
        if self._count >= MOST_ENTRIES:  # what is only counted is not remembered: a guest opens millions
            self.dropped += 1
            return
        self._told.add(key)
        time = found.begin or found.end
        far, step = self._where.at(time)
        vm = {str(self._network.far.guest): far, str(self._network.near.guest): "container-group"}.get(found.source)
        self._add(
            FlowEntry(
                time=_iso(time),
                vm=vm or "the run's own services",
                step=step,
                name=self._names.get(found.destination, ""),
                address=found.destination,
                port=0 if found.protocol == "icmp" else found.port,
                protocol=found.protocol,
                bytes_out=found.bytes_out,
                bytes_in=found.bytes_in,
                packets_out=found.packets_out,
                packets_in=found.packets_in,
            )
        )

    def refused(self, listed: str) -> None:
        """What was refused so far, as `nft -j list set` tells it."""
        now = datetime.now(UTC).timestamp()
        for (source, address, protocol, port), packets, size in refused_in(listed):
            first = self._refused.get((source, address, protocol, port), (now, 0, 0))[0]
            self._refused[source, address, protocol, port] = first, packets, size

    def end(self) -> None:
        """Tell what was refused, with all its packets, and how many entries found no room."""
        for (source, address, protocol, port), (time, packets, size) in self._refused.items():
            far, step = self._where.at(time)
            vm = far if IPv4Address(source) == self._network.far.guest else "container-group"
            name = self._names.get(address, "")
            entry = FlowEntry(_iso(time), vm, step, name, address, port, protocol, size, 0, packets, 0, REFUSED)
            self._add(entry)
        if self.dropped:
            self._lines.append(json.dumps({"dropped": self.dropped}))

    def take_lines(self) -> str:
        """The lines since the last time."""
        taken, self._lines = self._lines, []
        return "".join(f"{line}\n" for line in taken)

    def _add(self, entry: FlowEntry) -> None:
        if self._count >= MOST_ENTRIES:
            self.dropped += 1
            return
        self._count += 1
        # names are the guest's, a step's is the template's: each may be made with a secret parameter
        mask = self._mask
        masked = replace(entry, name=mask(entry.name), step=mask(entry.step), detail=mask(entry.detail))
        self._lines.append(json.dumps(asdict(masked)))


def refused_in(listed: str) -> list[tuple[tuple[str, str, str, int], int, int]]:
    """The elements in the output of `nft -j list set`: source, address, protocol, port; packets and bytes; pure."""
    found = []
    for item in json.loads(listed)["nftables"]:
        for element in item.get("set", {}).get("elem", ()):
            value, counter = element["elem"]["val"]["concat"], element["elem"]["counter"]
            source, address, protocol, port = value
            found.append(((source, address, protocol, int(port)), counter["packets"], counter["bytes"]))
    return found


@contextlib.asynccontextmanager
async def recorded(
    namespace: Namespace, flows: FlowLog, file: Path, lost: "asyncio.Future[str]"
) -> AsyncIterator[None]:
    """Keep the log while the block lasts; `lost` ends with a reason when that cannot be gone on with.

    Raises: `HostUnfit` when it does not start.
    """
    ready = asyncio.Event()

    def on_line(text: str) -> None:
        if text == flow_program.READY:
            ready.set()
        else:
            flows.line(text)

    async def write() -> None:
        if text := flows.take_lines():
            await off_loop(_append, file, text)

    async def go_on() -> None:
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=LOOK_SECONDS)
                await _look(namespace, flows)
                await write()
            reason = f"flow-watch ended with status {ended.result().status}: {ended.result().output}"
        except (VmkilnError, OSError, ValueError, KeyError) as error:
            reason = f"the run's connections cannot be put on record: {error}"
        if not lost.done():
            lost.set_result(reason)

    async with namespace.start(NAME, [], module=flow_program.__name__, on_line=on_line) as ended:
        ended.add_done_callback(lambda _: ready.set())
        try:
            async with asyncio.timeout(START_SECONDS):
                await ready.wait()
        except TimeoutError as error:
            raise HostUnfit("the program that tells a run's connections was silent") from error
        if ended.done():
            raise HostUnfit(f"the program that tells a run's connections did not start: {ended.result().output}")
        going_on = asyncio.create_task(go_on())
        try:
            yield
        finally:
            going_on.cancel()
            await asyncio.wait([going_on])
            with contextlib.suppress(VmkilnError, OSError, TimeoutError):  # what ended the block matters more
                await namespace.finish(NAME)
                await _look(namespace, flows)
                async with asyncio.timeout(START_SECONDS):
                    await asyncio.shield(ended)
            flows.end()
            with contextlib.suppress(OSError):
                await write()


async def _look(namespace: Namespace, flows: FlowLog) -> None:
    listed = await namespace.run(["nft", "-j", "list", "set", "inet", "vmkiln", "refused"])
    flows.refused(listed.text)


def _append(file: Path, text: str) -> None:
    with private_file(file, "ab") as log:
        log.write(text.encode())


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
