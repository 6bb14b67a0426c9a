"""The kernels that images bring along, booted as builds boot them, before a build waits for one that hangs.

The container's kernel is this host's own and so a friend of its QEMU. A platform image has the kernel of another
release, and an emulated CPU that suits one may hang the other. So the kernel of each image that was made here is kept
beside it, and booted once for each QEMU, CPU model and accelerator; that it booted is remembered.
"""

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import StorageFailed
from vmkiln.files.durable_file import write_whole
from vmkiln.host.accelerator import QEMU, Probe, boots
from vmkiln.host.command import run
from vmkiln.host.qemu import Accelerator, cpu_model

KERNEL_PROBE_SECONDS = 120.0
KERNEL = "vmlinuz"
BOOTED = "kernel-booted.json"


@dataclass(frozen=True)
class ImageKernel:
    """A kernel with the name of the image it is of; what is known of it is kept in the kernel's folder."""

    image: str
    vmlinuz: Path


async def image_kernel_boots(
    kernel: ImageKernel,
    accelerator: Accelerator,
    *,
    busybox: Path,
    limit_seconds: float = KERNEL_PROBE_SECONDS,
    qemu: str = QEMU,
) -> Probe:
    """Boot it with a tiny file system, unless it is known to boot; the guest is gone on return.

    Raises: `HostUnfit` when QEMU is not installed or `busybox` cannot be read.
    """
    key = {
        "kernel": await asyncio.to_thread(_digest, kernel.vmlinuz),
        "qemu": (await run([qemu, "--version"], timeout_seconds=10)).text.partition("\n")[0],
        "accelerator": str(accelerator),
        "cpu": cpu_model(accelerator),
    }
    record = kernel.vmlinuz.with_name(BOOTED)
    if (probe := await asyncio.to_thread(_recalled, record, key)) is not None:
        return probe
    probe = await boots(accelerator, kernel=kernel.vmlinuz, busybox=busybox, limit_seconds=limit_seconds, qemu=qemu)
    if probe.booted:
        await asyncio.to_thread(_remember, record, key, probe)
    return probe


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recalled(record: Path, key: dict[str, str]) -> Probe | None:
    try:
        kept = json.loads(record.read_text())
        return Probe(True, float(kept["seconds"]), "a guest booted") if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(record: Path, key: dict[str, str], probe: Probe) -> None:
    with contextlib.suppress(StorageFailed, OSError):  # it is then just booted once more
        write_whole(record, json.dumps({"key": key, "seconds": round(probe.seconds, 2)}).encode())
