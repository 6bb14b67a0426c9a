"""`vmkiln image boot`: what the VM is given, with and without `--ssh`, and what is refused before anything starts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from publishing import a_flat_disk, to_managed_image

from vmkiln import preparation
from vmkiln.cli import main
from vmkiln.host import console_boot
from vmkiln.host.qemu import Accelerator
from vmkiln.run.room import QEMU_MIB
from vmkiln.settings import Settings
from vmkiln.store.database import opened


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with the image `web`."""
    home = tmp_path / "home"
    monkeypatch.setenv("VMKILN_HOME", str(home))
    home.mkdir(mode=0o700)
    with opened(Settings(home).database, home=home) as store:
        to_managed_image(home, store, a_flat_disk(home))
        [image] = store.images.list()
        store.images.add(replace(image, artifact_id=image.artifact_id + "-windows", os_type="Windows"))
    return home


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What VMs were started with; none is."""
    found: list[dict[str, Any]] = []

    @contextlib.asynccontextmanager
    async def host(*_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(accelerator=Accelerator.TCG)

    async def boot(*_: object, **given: Any) -> int:
        found.append(given | {"has_seed": given["entrance"] is not None and given["entrance"].seed.is_file()})
        return 0

    monkeypatch.setattr(preparation, "prepared_host", host)
    monkeypatch.setattr(console_boot, "boot_with_console", boot)
    return found


def boot(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(["image", "boot", *words])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("home")
def test_an_image_is_entered_only_when_that_is_asked_for(
    booted: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert boot("web") == 0
    assert "no account to log in with" in capfd.readouterr().err, "told before, not found out at the prompt"
    assert boot("web", "--ssh", "--minutes", "5") == 0
    assert "no account" not in capfd.readouterr().err
    plain, entered = booted
    assert (plain["entrance"], plain["has_seed"]) == (None, False)
    assert (entered["entrance"].tap != "", entered["has_seed"]) == (True, True)
    assert not entered["entrance"].seed.exists(), "gone with its end"


@pytest.mark.usefixtures("booted")
def test_a_booted_image_counts_on_its_host_until_it_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[tuple[int, int]] = []

    def look() -> None:
        with opened(Settings(home).database, home=home) as store:
            rooms.extend((room.cpus, room.memory_mib) for room in store.rooms.all())

    async def boots(*_: object, **_given: object) -> int:
        await asyncio.to_thread(look)
        return 0

    monkeypatch.setattr(console_boot, "boot_with_console", boots)
    assert boot("web", "--memory", "3000") == 0
    assert rooms == [(1, 3000 + QEMU_MIB)]
    look()
    assert len(rooms) == 1


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "why"),
    [(("web-windows", "--ssh"), "no cloud-init"), (("web", "--port", "2222"), "goes with --ssh")],
    ids=["Windows", "port"],
)
def test_what_cannot_be_entered_is_not_started(
    words: tuple[str, ...], why: str, booted: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert boot(*words) == 2
    assert why in capfd.readouterr().err
    assert booted == []
