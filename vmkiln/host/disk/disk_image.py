"""Disk images through qemu-img: every call names the format of all it reads and writes, and reads no name out of one.

A chain is opened as an explicit graph, so a header that a guest wrote is never asked which other file belongs to it;
an overlay is made without opening what it lies on. Each call is in a jail with the files of its own chain.
Source: qemu-img(1); QEMU block driver options (`qemu-storage-daemon --help` and qapi/block-core.json).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmkiln.host import command, confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.host.qemu import Disk

QUICK_SECONDS = 60
CONVERT_SECONDS = 4 * 3600
METADATA_BYTES = 64 * 1024**2  # what a file may have beside what was measured; QEMU makes tables in advance
# exit statuses of `qemu-img compare` and `qemu-img check`
DIFFERENT = 1
CORRUPT, LEAKED, NO_CHECK_FOR_FORMAT = 2, 3, 63


@dataclass(frozen=True)
class Measure:
    """What a copy of a disk takes: the bytes it needs as it is, and the most it can get when every block is used."""

    needed_bytes: int
    most_bytes: int


def files_of(disk: Disk) -> tuple[Path, ...]:
    """The disk's file and all below it; pure."""
    return (disk.path, *(() if disk.backing is None else files_of(disk.backing)))


def graph(disk: Disk) -> str:
    """The disk with its whole chain as qemu-img's `json:` file name; nothing guessed; pure."""
    return "json:" + json.dumps(_node(disk))


def _node(disk: Disk) -> dict[str, Any]:
    node: dict[str, Any] = {"driver": disk.format, "file": {"driver": "file", "filename": str(disk.path.absolute())}}
    if disk.format == "qcow2":
        node["backing"] = None if disk.backing is None else _node(disk.backing)
    elif disk.format == "raw" and disk.size_bytes:
        node["size"] = disk.size_bytes  # what may lie behind it, such as a footer, is no part of the disk
    elif disk.format == "vpc":  # the size field, which we have checked, and not the older and coarser geometry
        node["force_size_calc"] = "current_size"
    return node


def overlay_arguments(backing: Disk, path: Path, *, size_bytes: int, cluster_bytes: int | None = None) -> list[str]:
    """`qemu-img create` of an empty overlay; `-u` leaves the backing file, and what its header says, unread."""
    options = ["-q", "-f", "qcow2", "-u", "-b", str(backing.path.absolute()), "-F", backing.format]
    if cluster_bytes is not None:
        options += ["-o", f"cluster_size={cluster_bytes}"]
    return ["qemu-img", "create", *options, str(path.absolute()), str(size_bytes)]


def empty_arguments(path: Path, *, size_bytes: int) -> list[str]:
    """`qemu-img create` of an empty disk."""
    return ["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size_bytes)]


def convert_arguments(
    disk: Disk, target: Path, *, target_format: str, has_progress: bool = False, is_compressed: bool = False
) -> list[str]:
    """`qemu-img convert` of a chain into one file; out of order and with many requests in flight.

    `-t unsafe` leaves the write-back to the caller's own fsync, once, at the end. Measured on 1 GiB in use (2 CPUs,
    page cache warm): about 0.35 s, a plain copy of the same bytes 0.3 s; other cluster sizes, lazy reference counts
    and preallocation gain nothing, and compression costs a minute.
    """
    options = ["-p" if has_progress else "-q", "-m", "16", "-W", "-t", "unsafe", "-T", "writeback"]
    if is_compressed:
        options = ["-p" if has_progress else "-q", "-c", "-m", "16", "-W", "-t", "unsafe", "-T", "writeback"]
        if target_format == "vmdk":  # streamOptimized, the form that is compressed, is written from its start on
            options = ["-p" if has_progress else "-q", "-o", "subformat=streamOptimized", "-t", "unsafe"]
    return ["qemu-img", "convert", *options, "-O", target_format, graph(disk), str(target.absolute())]


def measure_arguments(disk: Disk) -> list[str]:
    """`qemu-img measure` of a chain for a qcow2 file; a raw one takes less, and its holes are not counted there."""
    return ["qemu-img", "measure", "--output", "json", "-O", "qcow2", graph(disk)]


def compare_arguments(first: Disk, second: Disk) -> list[str]:
    """`qemu-img compare` of what two guests would read."""
    return ["qemu-img", "compare", "-q", graph(first), graph(second)]


def check_arguments(disk: Disk) -> list[str]:
    """`qemu-img check` of one file's own structure; changes nothing and opens nothing below it."""
    return ["qemu-img", "check", "-q", "--output", "json", graph(replace(disk, backing=None))]


def size_arguments(disk: Disk) -> list[str]:
    """`qemu-img info` of one file; opens nothing below it."""
    return ["qemu-img", "info", "--output", "json", graph(replace(disk, backing=None))]


async def create_overlay(
    backing: Disk, path: Path, *, size_bytes: int | None = None, cluster_bytes: int | None = None
) -> Disk:
    """An empty overlay on a disk, as large as it or `size_bytes`; QEMU's own clusters unless it is told others."""
    size = await virtual_size(backing) if size_bytes is None else size_bytes
    arguments = overlay_arguments(backing, path, size_bytes=size, cluster_bytes=cluster_bytes)
    await confined_program.run(arguments, Reach(writes=(path,)), timeout_seconds=QUICK_SECONDS)
    return Disk(path, "qcow2", backing=backing, size_bytes=size)


async def rebase(path: Path, backing: Disk) -> None:
    """Have the header of an overlay name this disk as what it lies on; neither is read, and it has to be the same."""
    options = ["-u", "-f", "qcow2", "-b", str(backing.path.absolute()), "-F", backing.format]
    arguments = ["qemu-img", "rebase", "-q", *options, str(path.absolute())]
    await confined_program.run(arguments, Reach(writes=(path,)), timeout_seconds=QUICK_SECONDS)


async def create_empty(path: Path, *, size_bytes: int) -> Disk:
    """An empty disk."""
    arguments = empty_arguments(path.absolute(), size_bytes=size_bytes)
    await confined_program.run(arguments, Reach(writes=(path,)), timeout_seconds=QUICK_SECONDS)
    return Disk(path, "qcow2", size_bytes=size_bytes)


async def convert(
    disk: Disk,
    target: Path,
    *,
    target_format: str,
    progress: Callable[[bytes], None] | None = None,
    is_compressed: bool = False,
) -> None:
    """Write the disk with its chain flattened into `target`, not yet on disk (fsync is the caller's).

    `progress` gets qemu-img's own lines, `(12.34/100%)`, each ended by a carriage return.
    """
    arguments = convert_arguments(
        disk,
        target,
        target_format=target_format,
        has_progress=progress is not None,
        is_compressed=is_compressed,
    )
    measured = await measure(disk)
    reach = Reach(files_of(disk), (target,), file_bytes=measured.most_bytes + METADATA_BYTES)
    await confined_program.run(arguments, reach, timeout_seconds=CONVERT_SECONDS, on_stdout=progress)


async def copy_start(disk: Disk, target: Path, *, size_bytes: int) -> None:
    """The first bytes that a guest would read, as a raw file; of a disk without a backing file."""
    options = ["-f", disk.format, "-O", "raw", "bs=512", f"count={size_bytes // 512}"]
    arguments = ["qemu-img", "dd", *options, f"if={disk.path.absolute()}", f"of={target.absolute()}"]
    await confined_program.run(arguments, Reach((disk.path,), (target,)), timeout_seconds=QUICK_SECONDS)


async def virtual_size(disk: Disk) -> int:
    """The size a guest sees, in bytes."""
    completed = await confined_program.run(size_arguments(disk), Reach((disk.path,)), timeout_seconds=QUICK_SECONDS)
    return int(json.loads(completed.text)["virtual-size"])


async def measure(disk: Disk) -> Measure:
    """How many bytes a flattened copy takes; the disk's content is not read."""
    completed = await confined_program.run(
        measure_arguments(disk), Reach(files_of(disk)), timeout_seconds=QUICK_SECONDS
    )
    told = json.loads(completed.text)
    return Measure(int(told["required"]), int(told["fully-allocated"]))


async def is_same(first: Disk, second: Disk) -> bool:
    """Whether two guests would read the same; a longer disk may end in zeros."""
    files = (*files_of(first), *files_of(second))
    return await _run_to_answer(compare_arguments(first, second), files, answers={0, DIFFERENT}) == 0


async def is_sound(disk: Disk) -> bool:
    """Whether a file's own structure is free of corruption; leaked clusters only waste room."""
    answers = {0, CORRUPT, LEAKED, NO_CHECK_FOR_FORMAT}
    return await _run_to_answer(check_arguments(disk), (disk.path,), answers=answers) != CORRUPT


async def _run_to_answer(arguments: list[str], files: tuple[Path, ...], *, answers: set[int]) -> int:
    completed = await confined_program.run(arguments, Reach(files), timeout_seconds=CONVERT_SECONDS, check=False)
    if completed.exit_status not in answers:
        command.check_status(arguments, completed)
    return completed.exit_status
