"""The tests' end of `world.py`: start it, ask it, and the fixture `world` with two runs open at once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WORLD = Path(__file__).with_name("world.py")
# how long a probe waits that must find nothing; its packet is looked for at the other end as well
SILENCE_SECONDS = 0.8
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Probe:
    """One try: from a node, by a protocol (tcp, udp, icmp), to an address and port.

    By `names` and `names-tcp` it is a question of DNS for `name`.
    """

    start: str
    protocol: str
    target: str
    port: int = 0
    source: str | None = None
    name: str = "who.example"


class World:
    """A running world."""

    def __init__(self, directory: Path) -> None:
        command = ["unshare", "--user", "--map-root-user", "--map-auto", "--net", "--mount", sys.executable, str(WORLD)]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        self._process = subprocess.Popen(
            [*command, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the world could not be built"
        self._next = 0

    @property
    def process_id(self) -> int:
        """The world's own process, on the host of the world."""
        return self._process.pid

    def close(self) -> None:
        """End the world; every process of it has ended when this returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.read()
        assert self._process.wait(timeout=20) == 0
        self._process.stdout.close()

    def ask_many(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Answers to requests made at the same time, in their order. Raises: RuntimeError with the world's words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        numbers = range(self._next, self._next + len(requests))
        self._next += len(requests)
        for number, request in zip(numbers, requests, strict=True):
            self._process.stdin.write(json.dumps({"id": number, **request}) + "\n")
        self._process.stdin.flush()
        answers: dict[int, Any] = {}
        while len(answers) < len(requests):
            message = json.loads(self._process.stdout.readline())
            answers[message["id"]] = message
        if errors := [message["error"] for message in answers.values() if "error" in message]:
            raise RuntimeError("\n".join(errors))
        return [answers[number]["answer"] for number in numbers]

    def ask(self, do: str, **request: Any) -> Any:
        """The answer to one request."""
        return self.ask_many([{"do": do, **request}])[0]

    def node(self, name: str, do: str, **request: Any) -> Any:
        """The answer of a node."""
        return self.ask("node", name=name, request={"do": do, **request})

    def inside(self, run: str, *arguments: str, stdin: str = "") -> str:
        """What a program printed that ran inside a run's namespaces."""
        text: str = self.ask("inside", name=run, arguments=list(arguments), stdin=stdin)
        return text

    def probe(self, probes: Sequence[Probe], *, seconds: float = PATIENCE_SECONDS) -> dict[Probe, str]:
        """The result of each probe, made at the same time: `open NAME`, `refused`, `unreachable`, `silent`."""
        requests = [
            {
                "do": "node",
                "name": probe.start,
                "request": {
                    "do": "probe",
                    "protocol": probe.protocol,
                    "target": probe.target,
                    "port": probe.port,
                    "source": probe.source,
                    "name": probe.name,
                    "seconds": seconds,
                },
            }
            for probe in probes
        ]
        return dict(zip(probes, self.ask_many(requests), strict=True))

    def forget_traffic(self) -> None:
        """Empty the ears of all guests and of the Internet."""
        for name in self.ask("names"):
            self.node(name, "traffic")

    def arrived(self, name: str) -> list[str]:
        """What arrived at a node since the last time, as `protocol source > target`."""
        seen: list[str] = self.node(name, "traffic")["seen"]
        return seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with the runs `one` and `two` open."""
    assert os.getuid() != 0, "these tests run as an ordinary user: use script/test"
    made = World(tmp_path_factory.mktemp("world"))
    made.ask_many([{"do": "open_run", "name": name} for name in ("one", "two")])
    yield made
    made.close()
