"""`vmkiln image warm`: what it says of what it saved, and that it fails where nothing can be."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from json_contract import check_answer
from typer.testing import CliRunner

from vmkiln import preparation
from vmkiln.cli.main import app
from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import SavedVm
from vmkiln.run.starts import warming
from vmkiln.warm.saved_base import BaseStart

SAVED = SavedVm(Path("/cache/abc/memory"), "m", Path("/cache/abc/devices"), "d", Path("/cache/abc/disk"), "k")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the command asks for; `start` is what it gets."""
    found: dict[str, Any] = {"start": BaseStart(SAVED, "instance")}
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))

    async def warmed(_host: object, image: Any, **named: Any) -> tuple[Any, BaseStart]:
        found.update(named, image=image)
        return SimpleNamespace(cpus=1, memory_mib=3584, disk_bytes=2**31), found["start"]

    @contextlib.contextmanager
    def opened_store(*_arguments: object) -> Iterator[None]:
        yield None

    @contextlib.asynccontextmanager
    async def prepared_host(*_arguments: object) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr(preparation, "opened_store", opened_store)
    monkeypatch.setattr(preparation, "prepared_host", prepared_host)
    monkeypatch.setattr(warming, "warmed", warmed)
    return found


def test_what_was_saved_is_told(asked: dict[str, Any]) -> None:
    options = ["--vm-size", "Standard_D2_v2", "--os-disk-size-gb", "30", "--json"]
    shown = CliRunner().invoke(app, ["image", "warm", "Debian:debian-12:12", *options])
    assert shown.exit_code == 0, shown.output
    answer = json.loads(shown.stdout)
    check_answer("image warm", answer)
    assert answer.pop("seconds") >= 0
    assert answer == {
        "image": "Debian:debian-12:12",
        "saved": "abc",
        "cpus": 1,
        "memory_mib": 3584,
        "disk_bytes": 2**31,
    }
    assert (asked["image"].offer, asked["image"].version) == ("debian-12", "latest")
    assert (asked["vm_size"], asked["os_disk_size_gb"]) == ("Standard_D2_v2", 30)


def test_where_nothing_can_be_saved_it_fails_and_says_why(asked: dict[str, Any]) -> None:
    asked["start"] = BaseStart(reason="the build VM cannot be made another machine: there are 2 networks")
    shown = CliRunner().invoke(app, ["image", "warm", "Debian:debian-12:12"])
    assert isinstance(shown.exception, HostUnfit)
    assert "there are 2 networks" in str(shown.exception)
