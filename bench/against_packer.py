"""A plain `packer build` with its qemu builder, and `vmkiln build` of the same work, side by side in one call.

Same base image, accelerator, kind and number of CPUs and memory; the same commands install one package; both end with
a shut-down VM and a qcow2 file. With --lines the commands print so many lines instead.
The plain build has no isolation; vmkiln has all of it, and its hygiene gate. The result is booted by neither
(VMKILN_BOOT_GATE=true has vmkiln do it), and nothing is kept for the next build (VMKILN_CHECKPOINTS=commands has
vmkiln do it). Prints the ratio of wall-clock times (below 1.0: vmkiln is faster) and the memory of the container group.

    python bench/against_packer.py [--rounds N] [--lines N] [--json]
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmkiln.host.qemu import Accelerator, cpu_model

CPUS = 1
MEMORY_MIB = 3584
VM_SIZE = "Standard_D1_v2"  # 1 CPU, 3.5 GiB
PACKAGE = "hello"
COMMANDS = ["sudo apt-get update", f"sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes {PACKAGE}"]
VMKILN = str(Path(sys.executable).parent / "vmkiln")
MOST_SECONDS = 3600  # of one build
STEP_BEGINS, STEPS_END = "Provisioning with shell script", "Gracefully halting virtual machine"  # as Packer says it
IMAGE_ID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Compute/images"


class BuildFailed(RuntimeError):
    """A build of one of the sides did not come to its end."""


def source_image() -> dict[str, str]:
    """The platform image both start from: its path and format, as `vmkiln image list --json` tells."""
    text = subprocess.run(
        [VMKILN, "prepare", "--platform-image", "Debian:debian-12:12:latest", "--json"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    result: dict[str, str] = json.loads(text.splitlines()[-1])["platform_image"]
    return result


def plain_packer(folder: Path, image: dict[str, str], *steps: list[str]) -> tuple[float, list[float]]:
    """Seconds of a plain `packer build`, and those of each of its steps. Raises: `BuildFailed`."""
    accelerator = image["accelerator"]
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    seed = folder / "seed"
    seed.mkdir()
    (seed / "meta-data").write_text("instance-id: bench\nlocal-hostname: bench\n")
    user = {"name": "packer", "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "ssh_authorized_keys": [public]}
    (seed / "user-data").write_text("#cloud-config\n" + json.dumps({"users": [user]}))
    builder = {
        "type": "qemu",
        "accelerator": accelerator,
        "headless": True,
        "disk_image": True,
        "iso_url": image["path"],
        "iso_checksum": "none",
        "format": "qcow2",
        "disk_interface": "virtio",
        "net_device": "virtio-net",
        "disk_size": "4G",
        "cpus": CPUS,
        "memory": MEMORY_MIB,
        "boot_wait": "0s",
        "cd_files": [str(seed / "meta-data"), str(seed / "user-data")],
        "cd_label": "cidata",
        "qemuargs": [["-cpu", cpu_model(Accelerator(accelerator))]],
        "ssh_username": "packer",
        "ssh_private_key_file": str(key),
        "ssh_timeout": "20m",
        "shutdown_command": "sudo systemctl poweroff",
        "output_directory": str(folder / "output"),
        "vm_name": "image.qcow2",
    }
    template = folder / "template.json"
    provisioners = [{"type": "shell", "inline": commands} for commands in steps]
    template.write_text(json.dumps({"builders": [builder], "provisioners": provisioners}))
    environment = {**os.environ, "PACKER_CACHE_DIR": str(folder / "cache"), "CHECKPOINT_DISABLE": "1"}
    begin = time.monotonic()
    begun, last = list[float](), deque[str](maxlen=60)
    with subprocess.Popen(
        ["packer", "build", "-color=false", template],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        limit = threading.Timer(MOST_SECONDS, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line)
                if STEP_BEGINS in line or (STEPS_END in line and begun):
                    begun.append(time.monotonic())
        finally:
            limit.cancel()
    seconds = time.monotonic() - begin
    if process.returncode != 0:
        raise BuildFailed(f"the plain build failed:\n{''.join(last)}")
    return seconds, [end - start for start, end in itertools.pairwise(begun)]


def vmkiln_template(image: dict[str, str], name: str, steps: Sequence[list[str]]) -> dict[str, Any]:
    """A template with these steps of the same image, machine and disk."""
    return {
        "location": "local",
        "identity": {"type": "None"},
        "properties": {
            "source": {
                "type": "PlatformImage",
                "publisher": "Debian",
                "offer": "debian-12",
                "sku": "12",
                "version": image["exact_version"],
            },
            "vmProfile": {"vmSize": VM_SIZE, "osDiskSizeGB": 4},
            "customize": [
                {"type": "Shell", "name": f"step-{at}", "inline": commands}
                for at, commands in enumerate(steps, start=1)
            ],
            "distribute": [
                {
                    "type": "ManagedImage",
                    "runOutputName": "image",
                    "imageId": f"{IMAGE_ID}/{name}",
                    "location": "local",
                }
            ],
        },
    }


def vmkiln_build(
    folder: Path,
    image: dict[str, str],
    build: int,
    *steps: list[str],
    options: Sequence[str] = (),
    checkpoints: str = "none",
    settings: Mapping[str, str] | None = None,
) -> tuple[float, dict[str, Any]]:
    """Seconds of `vmkiln build` of a template with these steps, and what the run recorded.

    `settings` go before those of the environment. Raises: `BuildFailed`.
    """
    template = vmkiln_template(image, f"bench-{os.getpid()}-{build}", steps)
    path = folder / "bench.json"
    path.write_text(json.dumps(template))
    begin = time.monotonic()
    # plain Packer boots no result either, and keeps nothing for the next build
    environment = {"VMKILN_BOOT_GATE": "false", "VMKILN_CHECKPOINTS": checkpoints, **os.environ, **(settings or {})}
    words = [VMKILN, "build", "--json", *options, path]
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    seconds = time.monotonic() - begin
    if finished.returncode != 0:
        raise BuildFailed(f"vmkiln's build failed:\n{finished.stdout[-3000:]}{finished.stderr[-1000:]}")
    return seconds, json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    """Run both, alternating, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how many times each builds (default 1)")
    parser.add_argument("--lines", type=int, default=0, help="a step that prints so many lines (default: a package)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    commands = [f"seq 1 {arguments.lines}"] if arguments.lines else COMMANDS
    image = source_image()
    plain: list[float] = []
    ours: list[float] = []
    peaks: list[float] = []
    phases: object = None
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="vmkiln-bench-") as folder:
            seconds, _ = plain_packer(Path(folder), image, commands)
            plain.append(seconds)
        with tempfile.TemporaryDirectory(prefix="vmkiln-bench-") as folder:
            seconds, result = vmkiln_build(Path(folder), image, number, commands)
            ours.append(seconds)
            peaks.append(float(str(result["container_group_peak_kib"])) / 1024)
            phases = result["phases"]
    ratio = statistics.median(ours) / statistics.median(plain)
    report = {
        "accelerator": image["accelerator"],
        "packer": shutil.which("packer"),
        "plain_packer_seconds": [round(item, 1) for item in plain],
        "vmkiln_seconds": [round(item, 1) for item in ours],
        "ratio": round(ratio, 3),
        "container_group_memory_mib": {"guest": 384, "used_at_end": round(max(peaks), 1)},
        "vmkiln_phases": phases,
    }
    if arguments.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
