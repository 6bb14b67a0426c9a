"""The rules in force, read from what nft lists."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.host.namespace import Namespace
from vmkiln.host.network import network_rules
from vmkiln.host.network.network_rules import RuleInForce, parse_rules, read_recorded, recorded

LISTED = """table inet vmkiln {
	set forbidden {
		type ipv4_addr
		flags interval
		elements = { 0.0.0.0/8, 10.0.0.0/8,
			     240.0.0.0/4 }
	}

	chain input {
		type filter hook input priority filter; policy drop;
		counter packets 7 bytes 420 comment "to the router itself"
	}

	chain forward {
		iifname "build" meta l4proto { tcp, udp } counter packets %s bytes 60 accept comment "names"
		ct state invalid drop
	}
}
"""  # noqa: E101 (as nft prints it)


class Live:
    """A namespace whose counters grow with each look."""

    def __init__(self) -> None:
        self.looks = 0
        self.is_gone = False

    async def run(self, arguments: list[str]) -> Any:
        if self.is_gone:
            raise VmkilnError("gone")
        assert arguments == ["nft", "--terse", "list", "ruleset"]
        self.looks += 1
        return SimpleNamespace(text=LISTED % self.looks)


def names_in(file: Path) -> int:
    found = read_recorded(file)
    assert found is not None
    packets: int = next(item["packets"] for item in found["rules"] if item["comment"] == "names")
    return packets


def test_rules_are_read_with_chain_counters_and_themselves() -> None:
    assert parse_rules(LISTED % 1) == (
        RuleInForce("input", "to the router itself", 7, 420, "", "drop"),
        RuleInForce("forward", "names", 1, 60, 'iifname "build" meta l4proto { tcp, udp } accept'),
    )


def test_the_file_is_there_at_once_renewed_and_right_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_rules, "EVERY_SECONDS", 0.001)
    file, live = tmp_path / "rules.json", Live()

    async def work() -> None:
        async with recorded(cast("Namespace", live), file, facts={"run_id": "r"}):
            assert names_in(file) == 1
            while names_in(file) < 3:  # noqa: ASYNC110 (a file has no event)
                await asyncio.sleep(0.001)

    asyncio.run(work())
    assert names_in(file) == live.looks
    assert read_recorded(file) is not None
    assert cast("dict[str, Any]", read_recorded(file))["run_id"] == "r"
    assert [item.name for item in tmp_path.iterdir()] == ["rules.json"]


def test_a_namespace_that_dies_does_not_hide_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_rules, "EVERY_SECONDS", 0.001)
    live = Live()

    async def work() -> None:
        async with recorded(cast("Namespace", live), tmp_path / "rules.json", facts={}):
            live.is_gone = True
            await asyncio.sleep(0.01)
            raise ValueError("the real cause")

    with pytest.raises(ValueError, match="the real cause"):
        asyncio.run(work())


def test_there_is_nothing_to_read_before_a_run(tmp_path: Path) -> None:
    assert read_recorded(tmp_path / "none.json") is None
