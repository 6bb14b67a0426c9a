"""Rows of whole builds, which install a package: ours booted, going on, with all gates, two at once; and other tools'.

Each side does its work once a round, and serves every row that asks for it. Where somebody asks for a talkative step,
it is a second step of plain Packer's build, and its seconds are taken off the whole.
"""

import asyncio
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from against_packer import (
    COMMANDS,
    CPUS,
    IMAGE_ID,
    MEMORY_MIB,
    MOST_SECONDS,
    PACKAGE,
    VMKILN,
    BuildFailed,
    plain_packer,
    vmkiln_build,
)

from speed_rows.row import Found, Row, Work

PLAIN, BOOTED, GOES_ON = "plain packer build", "vmkiln, booted", "vmkiln, going on"
ALL_GATES, AT_ONCE, LIBGUESTFS = "vmkiln, going on, all gates", "vmkiln, going on, two at once", "virt-customize"
PLAIN_LINES, OUR_LINES = "the step through plain packer", "the step through vmkiln"
HYGIENE = "hygiene and the search for keys; not the boot gate; the other side has none"
ALL = "hygiene, the search for keys and the boot gate; the other side has none"
BOTH = "hygiene and the search for keys in both; not the boot gate"
ROWS = (
    Row("cold", "cold, gates as before / plain packer build", 0.85, HYGIENE, BOOTED, PLAIN),
    Row("warm", "warm, boot gate off / plain packer build", 0.40, HYGIENE, GOES_ON, PLAIN),
    Row("gates", "warm, all gates on / plain packer build", 0.90, ALL, ALL_GATES, PLAIN),
    Row("lines", "lines of one step / the same through plain Packer", 3, HYGIENE, OUR_LINES, PLAIN_LINES),
    Row("at-once", "two builds at once, both warm / one", 1.9, BOTH, AT_ONCE, GOES_ON),
    Row("virt-customize", "warm, boot gate off / virt-customize", 1.0, HYGIENE, GOES_ON, LIBGUESTFS),
)
NO_LIBGUESTFS = (
    "virt-customize is not on PATH: `apt-get install libguestfs-tools`; it boots this machine's kernel, so "
    "/boot/vmlinuz-* has to be there and readable, or SUPERMIN_KERNEL and SUPERMIN_MODULES name another"
)


class Builds:
    """Builds of this call, each with a number of its own; what they publish is deleted."""

    def __init__(self, image: dict[str, str], *, first: int = 1) -> None:
        self.image = image
        self._numbers = itertools.count(first)

    async def build(
        self,
        folder: Path,
        *steps: list[str],
        options: Sequence[str] = (),
        checkpoints: str = "none",
        has_boot_gate: bool = False,
    ) -> tuple[float, dict[str, Any]]:
        """Seconds of a build of these steps, and what the run recorded. Raises: `BuildFailed`."""
        number = next(self._numbers)
        at = folder / f"build-{number}"
        at.mkdir()
        settings = {
            "VMKILN_BOOT_GATE": str(has_boot_gate).lower(),
            "VMKILN_ALLOWED_RESIDUES": "",
            "VMKILN_CHECKPOINTS": checkpoints,
        }
        built = await asyncio.to_thread(
            vmkiln_build, at, self.image, number, *steps, options=options, checkpoints=checkpoints, settings=settings
        )
        await asyncio.to_thread(_deleted, f"{IMAGE_ID}/bench-{os.getpid()}-{number}")
        return built


def works(image: dict[str, str], *, lines: int) -> tuple[Work, ...]:
    """The works of these rows; pure."""
    builds = Builds(image)
    talkative = [f"seq 1 {lines}"]

    async def plain(folder: Path, wanted: frozenset[str]) -> Found:
        steps = [COMMANDS, talkative] if PLAIN_LINES in wanted else [COMMANDS]
        seconds, of_steps = await asyncio.to_thread(plain_packer, folder, image, *steps)
        if PLAIN_LINES not in wanted:
            return {PLAIN: seconds}
        if len(of_steps) != len(steps):
            raise BuildFailed(f"plain Packer told {len(of_steps)} steps in place of {len(steps)}")
        return {PLAIN: seconds - of_steps[1], PLAIN_LINES: of_steps[1]}

    async def booted(folder: Path, _wanted: frozenset[str]) -> Found:
        seconds, summary = await builds.build(folder, COMMANDS, options=["--cold"])
        _check(summary, went_on=False)
        return {BOOTED: seconds}

    async def goes_on(folder: Path, _wanted: frozenset[str]) -> Found:
        seconds, summary = await builds.build(folder, COMMANDS)
        _check(summary, went_on=True)
        return {GOES_ON: seconds}

    async def all_gates(folder: Path, _wanted: frozenset[str]) -> Found:
        seconds, summary = await builds.build(folder, COMMANDS, has_boot_gate=True)
        _check(summary, went_on=True)
        boot = summary["facts"].get("boot") or {}
        if boot.get("by_run") or "seconds_to_ssh" not in boot:
            raise BuildFailed(f"the boot gate did not boot the image: {boot}")
        return {ALL_GATES: seconds}

    async def at_once(folder: Path, _wanted: frozenset[str]) -> Found:
        begin = time.monotonic()
        for _, summary in await asyncio.gather(*(builds.build(folder, COMMANDS) for _ in range(2))):
            _check(summary, went_on=True)
        return {AT_ONCE: time.monotonic() - begin}

    async def prints(folder: Path, _wanted: frozenset[str]) -> Found:
        _, summary = await builds.build(folder, talkative)
        (seconds,) = [part["seconds"] for part in summary["timeline"] if part["kind"] == "customizer"]
        return {OUR_LINES: seconds}

    async def by_libguestfs(folder: Path, _wanted: frozenset[str]) -> Found:
        return {LIBGUESTFS: await asyncio.to_thread(_virt_customized, folder, image)}

    return (
        Work(frozenset({PLAIN, PLAIN_LINES}), plain),
        Work(frozenset({BOOTED}), booted),
        Work(frozenset({GOES_ON}), goes_on),
        Work(frozenset({LIBGUESTFS}), by_libguestfs),
        Work(frozenset({AT_ONCE}), at_once),
        Work(frozenset({ALL_GATES}), all_gates),
        Work(frozenset({OUR_LINES}), prints),
    )


def _check(summary: dict[str, Any], *, went_on: bool) -> None:
    """The build VM began as it was to begin. Raises: `BuildFailed`."""
    if bool(summary["facts"].get("build-vm_went_on")) != went_on:
        raise BuildFailed(f"the build VM {'was booted' if went_on else 'went on from a saved one'}")


def _deleted(artifact_id: str) -> None:
    """Delete an image that a build published; a round has a dozen."""
    subprocess.run([VMKILN, "image", "delete", artifact_id, "--yes"], check=False, capture_output=True, timeout=600)


def _virt_customized(folder: Path, image: dict[str, str]) -> float:
    """Seconds until a copy of the source has the package, as one qcow2 file. Raises: `BuildFailed`."""
    if shutil.which("virt-customize") is None:
        raise BuildFailed(NO_LIBGUESTFS)
    environment = {"LIBGUESTFS_BACKEND": "direct", **os.environ}
    # the appliance that it boots is made once for each user and kept, as our saved VMs are
    _ended(["guestfish", "--format=raw", "-a", "/dev/null", "run"], environment)
    copy = folder / "image.qcow2"
    begin = time.monotonic()
    if image["format"] == "qcow2":
        _ended(["cp", "--sparse=always", image["path"], copy], environment)
        copy.chmod(0o600)
    else:
        _ended(["qemu-img", "convert", "-f", image["format"], "-O", "qcow2", image["path"], copy], environment)
    words = ["virt-customize", "--smp", str(CPUS), "--memsize", str(MEMORY_MIB), "-a", copy, "--install", PACKAGE]
    _ended(words, environment)
    return time.monotonic() - begin


def _ended(words: Sequence[str | Path], environment: dict[str, str]) -> None:
    ended = subprocess.run(
        words, env=environment, check=False, capture_output=True, text=True, errors="replace", timeout=MOST_SECONDS
    )
    if ended.returncode != 0:
        raise BuildFailed(f"`{words[0]}` failed: {ended.stdout[-1500:]}{ended.stderr[-1500:]}")
