"""The firewall rules really in force in a live namespace, read from the kernel with their packet counters.

*Leaves behind:* one JSON file, replaced as a whole each time. *Undone by:* the deletion of its folder.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.network_namespace import Network

EVERY_SECONDS = 2.0
FILE_NAME = "network-rules.json"
_COUNTER = re.compile(r" ?counter packets (\d+) bytes (\d+)")
_POLICY = re.compile(r"^type \w+ hook .*; policy (\w+);")
_COMMENT = re.compile(r' ?comment "([^"]*)"')


@dataclass(frozen=True)
class RuleInForce:
    """One rule: its chain, its purpose, the packets it matched so far, and its text as nft prints it (no counter).

    `policy` is what its chain does with what no rule decides about: accept or drop, '' for a chain that is asked.
    """

    chain: str
    comment: str
    packets: int
    bytes: int
    expression: str
    policy: str = ""


def parse_rules(ruleset: str) -> tuple[RuleInForce, ...]:
    """The rules with a counter in the output of `nft list ruleset`, in the kernel's order; pure."""
    found = []
    chain = policy = ""
    for line in ruleset.splitlines():
        text = line.strip()
        if header := re.fullmatch(r"chain (\S+) \{", text):
            chain, policy = header.group(1), ""
        elif text == "}":
            chain = ""
        elif base := _POLICY.search(text):
            policy = base.group(1)
        elif chain and (counter := _COUNTER.search(text)):
            comment = _COMMENT.search(text)
            expression = _COMMENT.sub("", _COUNTER.sub("", text)).strip()
            name = comment.group(1) if comment else ""
            found.append(RuleInForce(chain, name, int(counter.group(1)), int(counter.group(2)), expression, policy))
    return tuple(found)


def described(network: Network) -> dict[str, Any]:
    """What the names in the rules stand for: the prefix behind each bridge, the far guest's bridge, `@forbidden`."""
    segments = (network.near, network.far)
    return {
        "subnets": {segment.bridge: str(segment.router.network) for segment in segments},
        "inside": network.far.bridge,
        "forbidden": [str(prefix) for prefix in sorted(network.forbidden)],
    }


async def rules_in_force(namespace: Namespace) -> tuple[RuleInForce, ...]:
    """What the kernel says now. Raises: `VmkilnError` when the namespace is gone."""
    listed = await namespace.run(["nft", "--terse", "list", "ruleset"])
    return parse_rules(listed.text)


@contextlib.asynccontextmanager
async def recorded(namespace: Namespace, file: Path, *, facts: Mapping[str, Any]) -> AsyncIterator[None]:
    """Keep the rules in a file while the block lasts, every two seconds and at its end; `facts` stand beside them."""

    async def write() -> None:
        rules = await rules_in_force(namespace)
        await asyncio.to_thread(_replace, file, {**facts, "time": datetime.now(UTC).isoformat(), "rules": rules})

    async def go_on() -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await write()

    await write()
    writing = asyncio.create_task(go_on())
    try:
        yield
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError, VmkilnError, OSError):
            await writing
        with contextlib.suppress(VmkilnError, OSError):  # what ended the block matters more
            await write()


def read_recorded(file: Path) -> dict[str, Any] | None:
    """What `recorded` wrote last: its facts, `time` and `rules` (a list of objects); None when there is no file."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):  # the latter: the power failed while it was written
        return None
    return found


def _replace(file: Path, content: Mapping[str, Any]) -> None:
    temporary = file.with_name(f".{file.name}")
    rules = [asdict(rule) for rule in content["rules"]]
    temporary.write_text(json.dumps({**content, "rules": rules}))
    temporary.replace(file)
