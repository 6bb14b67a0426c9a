"""What the end of a build and its log cost, each against the plain tools that do the same; all ratios from one call.

    python bench/speed.py [--rounds N] [--lines N] [--row flatten] [--row targets] [--row lines] [--row kept]
                          [--row held] [--json]

flatten  flattening, hashing and publishing a disk / `cp --sparse=always` and `sha256sum` of the same bytes
targets  distributing to three targets (gallery, managed image, VHD) / to one, once a managed image and once a VHD
lines    a step that prints so many lines / the same through plain Packer (its qemu builder, same accelerator); boots
         VMs, both from power-on to the finished image (bench/against_packer.py)
kept     a build of five equal customizers with the last of them edited, and one with nothing edited / the same booted
         (`--cold`); and the seconds that Packer waits for each checkpoint while they are made, which has no other side
held     the seconds from the failure of a step to the end of `vmkiln build --on-error hold`, whose failed VM is on disk
         then, and with those of `vmkiln run shell RUN true`; no other side

The sides of a row take turns, and each ratio is of the medians. Every number is printed. The boot gate is off in all
rows; the hygiene gate is on where VMs are booted.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from against_packer import VMKILN, plain_packer, source_image, vmkiln_build, vmkiln_template

from vmkiln.host.disk.disk_image import convert, create_overlay, virtual_size
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.image_store import publish_linked, sealed
from vmkiln.run import distributing
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.template.image_template import ImageTemplate

ROWS = ["flatten", "targets", "lines", "kept", "held"]
WORKED_MIB = 256  # of zeros hashed by each of the equal customizers: a few seconds under emulation
WRITTEN_MIB = 256  # of the build's own in the overlay
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Compute"
MANAGED = {"type": "ManagedImage", "runOutputName": "m", "imageId": f"{GROUP}/images/m", "location": "l"}
GALLERY = {
    "type": "SharedImage", "runOutputName": "g", "galleryImageId": f"{GROUP}/galleries/g/images/d",
    "replicationRegions": ["l"],
}  # fmt: skip
VHD = {"type": "VHD", "runOutputName": "v"}
SOURCE = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "1"}
Side = Callable[[Path], Awaitable[float]]


async def customized(folder: Path, image: dict[str, str]) -> Disk:
    """A disk as a build leaves it: an overlay with something written, upon a platform image."""
    overlay = await create_overlay(Disk(Path(image["path"]), image["format"], read_only=True), folder / "vm.qcow2")
    await asyncio.to_thread(run, "qemu-io", "-f", "qcow2", "-c", f"write -P 77 1G {WRITTEN_MIB}M", overlay.path)
    return overlay


def run(*arguments: str | Path) -> None:
    """Run a program to its end; a failure ends the measurement."""
    subprocess.run(arguments, check=True, capture_output=True)


async def ours(disk: Disk, folder: Path) -> float:
    """Seconds to flatten, hash and publish, with the wait until it is on disk."""
    begin = time.monotonic()
    flat = folder / "flat.qcow2"
    await convert(disk, flat, target_format="qcow2")
    await sealed(flat)
    publish_linked(flat, folder / "store" / "image", ["disk.qcow2"])
    return time.monotonic() - begin


async def plain(flat: Path, folder: Path) -> float:
    """Seconds to copy and hash the same bytes, with the wait until they are on disk."""
    begin, copy = time.monotonic(), folder / "copy"
    for command in (("cp", "--sparse=always", flat, copy), ("sync", copy), ("sha256sum", copy)):
        await asyncio.to_thread(run, *command)
    return time.monotonic() - begin


def distributed(disk: Disk, size_bytes: int, targets: list[dict[str, Any]]) -> Side:
    """Seconds that a run needs to distribute to these targets; the run around it is stood in for."""

    async def side(folder: Path) -> float:
        settings = Settings(folder / "home")
        settings.home.mkdir()
        (folder / "live").mkdir()
        template = ImageTemplate.model_validate(
            {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": targets}}
        )
        with opened(settings.database) as store:
            store.runs.add(RunRow("r" * 36, "bench", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))  # type: ignore[arg-type]
            image = ContainerImage(folder, folder, folder, "digest", "1.6.6")
            staged: Any = SimpleNamespace(
                request=RunRequest("r" * 36, "bench", "rg", template, {}, NO_LOCAL_FILES),
                host=BuildHost(settings, store, Accelerator.TCG, "not asked", image, 2, 4096, None),
                group=SimpleNamespace(name="IT_x", storage_account=StorageAccount("a", folder / "staging")),
                directory=folder / "live",
                source=ResolvedSource(disk.path, "qcow2", "a" * 64, "1", 1, "Linux", size_bytes, "bench"),
                shape=SimpleNamespace(disk_bytes=size_bytes, cpus=1, memory_mib=1024),
                copies={},
                tell=lambda _event: None,
            )
            begin = time.monotonic()
            await distributing.distribute(staged, Disks(disk))
            return time.monotonic() - begin

    return side


async def in_turn(rounds: int, sides: dict[str, Side]) -> dict[str, list[float]]:
    """The seconds of each side, which take turns; each time in a new folder."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            folder = Path(tempfile.mkdtemp(prefix="vmkiln-speed-", dir="/var/tmp"))
            try:
                found[name].append(round(await side(folder), 3))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return found


def row(name: str, seconds: dict[str, list[float]], over: str, under: str, *, target: float) -> dict[str, Any]:
    """One row: the ratio of two sides' medians, and all numbers."""
    ratio = statistics.median(seconds[over]) / statistics.median(seconds[under])
    return {"row": name, "ratio": round(ratio, 3), "target": target, "seconds": seconds}


async def disk_rows(rounds: int, rows: list[str]) -> list[dict[str, Any]]:
    """The rows that need no VM."""
    image = source_image()
    found = []
    with tempfile.TemporaryDirectory(prefix="vmkiln-speed-", dir="/var/tmp") as name:
        disk, flat = await customized(Path(name), image), Path(name) / "flat.qcow2"
        await convert(disk, flat, target_format="qcow2")
        if "flatten" in rows:
            sides: dict[str, Side] = {
                "vmkiln": lambda at: ours(disk, at),
                "cp and sha256sum": lambda at: plain(flat, at),
            }
            seconds = await in_turn(rounds, sides)
            found.append(row("flatten + hash + publish", seconds, "vmkiln", "cp and sha256sum", target=1.1))
        if "targets" in rows:
            size = await virtual_size(disk)
            kinds = {"three": [GALLERY, MANAGED, VHD], "managed image": [MANAGED], "VHD": [VHD]}
            seconds = await in_turn(rounds, {kind: distributed(disk, size, targets) for kind, targets in kinds.items()})
            found.append(row("three targets / a VHD", seconds, "three", "VHD", target=1.3))
            found.append(row("three targets / a managed image", seconds, "three", "managed image", target=1.3))
    return found


async def lines_row(rounds: int, lines: int) -> dict[str, Any]:
    """The row of a talkative step."""
    image, commands, number = source_image(), [f"seq 1 {lines}"], 0

    async def by_vmkiln(folder: Path) -> float:
        nonlocal number
        number += 1
        return vmkiln_build(folder, image, number, commands)[0]

    async def by_packer(folder: Path) -> float:
        return plain_packer(folder, image, commands)[0]

    seconds = await in_turn(rounds, {"vmkiln": by_vmkiln, "plain Packer": by_packer})
    return row(f"{lines} lines of one step", seconds, "vmkiln", "plain Packer", target=3)


def five_steps(folder: Path, edited: str) -> list[list[str]]:
    """Five customizers that do the same, each in a file of its own; the last one has `edited` in it."""
    work = f"dd if=/dev/zero bs=1M count={WORKED_MIB} status=none | sha256sum | sudo tee -a /opt/bench-"
    return [[f"{work}{folder.name}-{number}", *([f"echo {edited}"] * (number == 5))] for number in range(1, 6)]


async def kept_rows(rounds: int) -> list[dict[str, Any]]:
    """The rows of builds that begin behind what is kept; each round makes its own checkpoints, and nobody else's."""
    image, number, waits = source_image(), 0, list[float]()
    keeping: dict[str, Any] = {"checkpoints": "commands"}

    def build(folder: Path, edited: str, **more: Any) -> tuple[float, dict[str, Any]]:
        nonlocal number
        number += 1
        at = folder / str(number)
        at.mkdir()
        return vmkiln_build(at, image, number, *five_steps(folder, edited), **more)

    seconds: dict[str, list[float]] = {"cold": [], "the last edited": [], "nothing edited": []}
    parts: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="speed-", dir="/var/tmp") as made:
            folder = Path(made)
            seconds["cold"].append(round(build(folder, "one", options=["--cold"])[0], 1))
            _, summary = build(folder, "one", options=["--no-cache"], **keeping)
            waits += [part["seconds"] for part in summary["timeline"] if part["kind"] == "checkpoint"]
            seconds["the last edited"].append(round(build(folder, "two", **keeping)[0], 1))
            took, summary = build(folder, "two", **keeping)
            seconds["nothing edited"].append(round(took, 1))
            for part in summary["timeline"]:
                parts.setdefault(" ".join([part["kind"], part["name"]]).strip(), []).append(part["seconds"])
    found = [
        row("last of five customizers edited / cold", seconds, "the last edited", "cold", target=0.20),
        row("nothing edited / cold", seconds, "nothing edited", "cold", target=0.08),
    ]
    waited = {"row": "Packer waits for a checkpoint", "ratio": statistics.median(waits), "target": 1.5}
    found.append({**waited, "seconds": {"each": waits}})
    return [*found, {"row": "parts of a build with nothing edited", "seconds": parts}]


def held_build(folder: Path) -> tuple[float, str]:
    """Seconds from a step's failure to the end of the command that holds its VM, and the run's id."""
    template = vmkiln_template(source_image(), "held", [["exit 7"]])
    path = folder / "held.json"
    path.write_text(json.dumps(template))
    words = [VMKILN, "build", path, "--on-error", "hold", "--hold-for", "30", "--progress", "plain"]
    failed, run_id = 0.0, ""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not failed and "exit status: 7" in line:
                failed = time.monotonic()
            if found := re.search(r"is held until .*on disk .*`vmkiln run shell ([0-9a-f]+)` enters it", line):
                run_id = found[1]
    ended = time.monotonic()
    if not failed or not run_id:
        sys.exit("the failed VM was not put on disk")
    return ended - failed, run_id


def held_row(rounds: int) -> list[dict[str, Any]]:
    """The row of a failed VM that is put on disk and entered."""
    seconds: dict[str, list[float]] = {"until the command ends": [], "until a shell has answered": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="speed-", dir="/var/tmp") as made:
            on_disk, run_id = held_build(Path(made))
        try:
            begin = time.monotonic()
            run(VMKILN, "run", "shell", run_id, "true")
            answered = time.monotonic() - begin
        finally:
            subprocess.run([VMKILN, "run", "release", run_id], check=False, capture_output=True)
        seconds["until the command ends"].append(round(on_disk, 2))
        seconds["until a shell has answered"].append(round(on_disk + answered, 2))
    median = statistics.median(seconds["until a shell has answered"])
    return [{"row": "from a failure to a shell", "ratio": median, "target": 8, "seconds": seconds}]


async def main() -> None:
    """Measure the rows that are asked for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many times each side works (default 5)")
    parser.add_argument("--lines", type=int, default=60_000, help="how many lines the talkative step prints")
    parser.add_argument("--row", action="append", choices=ROWS, help="only these rows")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    arguments = parser.parse_args()
    rows = arguments.row or ROWS
    found = await disk_rows(arguments.rounds, rows) if set(rows) & {"flatten", "targets"} else []
    if "lines" in rows:
        found.append(await lines_row(arguments.rounds, arguments.lines))
    if "kept" in rows:
        found += await kept_rows(arguments.rounds)
    if "held" in rows:
        found += held_row(arguments.rounds)
    print(f"load of the machine: {' '.join(str(round(load, 1)) for load in os.getloadavg())}", file=sys.stderr)
    for item in found:
        if arguments.json:
            print(json.dumps(item))
            continue
        print(f"{item['row']}: {item['ratio']} (target {item['target']})" if "ratio" in item else item["row"])
        for name, seconds in item["seconds"].items():
            print(f"    {name:<26} {' '.join(f'{value:8.2f}' for value in seconds)} s")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
