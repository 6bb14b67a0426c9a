"""A Windows template through a whole run with real VMs, a Linux that plays Windows in the place of the build VM.

The VM has the devices of a Windows VM, and no other: UEFI, disk and discs on AHCI, an Intel network card. It proves the
network with its rules and its DHCP, the forwarder, the discs, the certificate, restarts, the report and the power-off;
it proves nothing about Windows (`stand_ins/windows_guest.py`).
"""

import asyncio
import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import IMAGES, a_template, runner
from windows_guest_disk import SIZE_BYTES, journal_of, make_disk

from vmkiln.images import managed_image
from vmkiln.images.image_store import ImageFacts, seal
from vmkiln.run.run_event import Notice
from vmkiln.run_state import new_run_id
from vmkiln.settings import Settings
from vmkiln.store.database import opened

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]
SOURCE, BUILT = f"{IMAGES}/images/windows-double", f"{IMAGES}/images/windows-built"
STORY = ("boot", "discs", "address", "connection", "script", "copied", "reset", "finished", "401", "double failed")
LARGE = 100 * 1024  # travels on the second disc


@pytest.fixture
def source(prepared: Settings, tmp_path: Path) -> dict[str, str]:
    """The guest's disk as a managed image of Windows."""
    raw, flat, workplace = tmp_path / "disk.raw", tmp_path / "flat.qcow2", tmp_path / "workplace"
    workplace.mkdir()
    asyncio.run(make_disk(raw, workplace))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, flat], check=True)
    seal(flat)
    digest = hashlib.sha256(flat.read_bytes()).hexdigest()
    facts = ImageFacts(flat, digest, SIZE_BYTES, 2, "Windows", "1.0.0", new_run_id())
    with opened(prepared.database_address) as store:
        managed_image.publish(prepared.image_store, store, facts, image_id=SOURCE, location="local", tags={})
    return {"type": "ManagedImage", "imageId": SOURCE}


def test_a_windows_template_is_built_in_a_vm_that_plays_windows(
    prepared: Settings, source: dict[str, str], tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "payload").write_bytes(bytes(LARGE))
    told = runner(replace(prepared, allowed_residues=""), files)(
        a_template(
            {"type": "PowerShell", "name": "before", "inline": ["# double: out said before"], "runElevated": True},
            {"type": "File", "name": "payload", "sourceUri": "file:payload", "destination": r"C:\data\payload"},
            {"type": "WindowsRestart", "name": "restart", "restartTimeout": "10m"},
            {"type": "PowerShell", "name": "after", "inline": ["# double: out said after"], "runElevated": True,
             "runAsSystem": True},
            source=source,
            name="windows-built",
        )
    )  # fmt: skip
    assert told.error is None, f"{told.error} {getattr(told.error, 'hint', '')}"
    notices = [event.text for event in told.events if isinstance(event, Notice)]
    acts = [text for text in notices if text.startswith("set-up of the build-vm")]
    names = ("specialize, answer", "complete, script", "complete, network", "complete, listener")
    assert acts == [f"set-up of the build-vm: {name}" for name in names]
    assert [text for text in notices if "restarts during `restart`" in text]
    said = [line.strip() for line in told.log if "null: said" in line]
    assert said == ["null: said before", "null: said after"]

    with opened(prepared.database_address) as store:
        image = store.images.find(BUILT)
    assert image is not None
    assert (image.os_type, image.generation) == ("Windows", 2)
    hygiene = told.summary["facts"]["hygiene"]
    assert (hygiene["verdict"], hygiene["digest"]) == ("Unproven", image.digest), "its bytes have no password"
    raw = tmp_path / "built.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image.path, raw], check=True)
    boot = [
        "boot with ahci, e1000e",
        "discs 2",
        "address 10.0.1.4/24 10.0.1.1 10.0.2.53 604800",
        "connection from 10.0.0.4",
    ]
    journal = [line for line in journal_of(raw, tmp_path) if line.startswith(STORY)]
    assert journal == [
        *boot,
        "script elevated: 26 letters",
        r"copied 0001-file to C:\data\payload",
        "reset",
        *boot,
        "script SYSTEM: 25 letters",
        "finished, and nobody was logged in",
    ]
