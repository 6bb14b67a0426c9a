"""Disk images through qemu-img: every call names the format of all it reads and writes, and reads no name out of one.

Source: qemu-img(1). A chain is opened as an explicit graph, so a header that a guest wrote is never asked which other
file belongs to it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmkiln.host import command
from vmkiln.host.qemu import Disk

QUICK_SECONDS = 60
CONVERT_SECONDS = 4 * 3600


def graph(disk: Disk) -> str:
    """The disk with its whole chain as qemu-img's `json:` file name; read-only, nothing guessed; pure."""
    return "json:" + json.dumps(_node(disk))


def _node(disk: Disk) -> dict[str, Any]:
    node: dict[str, Any] = {"driver": disk.format, "file": {"driver": "file", "filename": str(disk.path)}}
    if disk.format == "qcow2":
        node["backing"] = None if disk.backing is None else _node(disk.backing)
    return node


def overlay_arguments(backing: Disk, path: Path, *, size_bytes: int | None) -> list[str]:
    """`qemu-img create` of an empty overlay."""
    size = [] if size_bytes is None else [str(size_bytes)]
    options = ["-q", "-f", "qcow2", "-b", str(backing.path), "-F", backing.format]
    return ["qemu-img", "create", *options, str(path), *size]


def convert_arguments(disk: Disk, target: Path, *, target_format: str) -> list[str]:
    """`qemu-img convert` of a chain into one file; out of order and with many requests in flight.

    `-t unsafe` leaves the write-back to the caller's own fsync, once, at the end.
    """
    options = ["-q", "-p", "-m", "16", "-W", "-t", "unsafe", "-T", "writeback"]
    return ["qemu-img", "convert", *options, "-O", target_format, graph(disk), str(target)]


async def create_overlay(backing: Disk, path: Path, *, size_bytes: int | None = None) -> Disk:
    """An empty overlay on a disk, as large as it or `size_bytes`."""
    await command.run(overlay_arguments(backing, path, size_bytes=size_bytes), timeout_seconds=QUICK_SECONDS)
    return Disk(path, "qcow2", backing=backing)


async def convert(
    disk: Disk, target: Path, *, target_format: str, progress: Callable[[bytes], None] | None = None
) -> None:
    """Write the disk with its chain flattened into `target` (qcow2 or raw)."""
    arguments = convert_arguments(disk, target, target_format=target_format)
    await command.run(arguments, timeout_seconds=CONVERT_SECONDS, on_stderr=progress)


async def virtual_size(disk: Disk) -> int:
    """The size a guest sees, in bytes."""
    arguments = ["qemu-img", "info", "--output", "json", graph(disk)]
    completed = await command.run(arguments, timeout_seconds=QUICK_SECONDS)
    return int(json.loads(completed.text)["virtual-size"])
