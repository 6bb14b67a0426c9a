"""Which accelerator to trust: hardware virtualization only after a guest really booted with it, else emulation.

That `/dev/kvm` opens proves nothing: on some hosts (nested, or with a filtered CPU model) QEMU then aborts or a stock
kernel hangs. So the probe boots the very kernel that builds use, with the very CPU model, and waits for a word that
only a running program in the guest can print. A probe's answer holds until the host reboots, or the kernel or QEMU
changes.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.files.durable_file import make_folder
from vmkiln.host.command import run, start
from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, Entry, archive
from vmkiln.host.qemu import SANDBOX, Accelerator, cpu_model, machine_option

PROBE_SECONDS = 10.0
EMULATED_PROBE_SECONDS = 60.0
MEMORY_MIB = 256
CACHE_FILE = "accelerator.json"
KVM = Path("/dev/kvm")
QEMU = "qemu-system-x86_64"
CONSOLE_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Verdict:
    """The accelerator that builds use here, and why in one sentence."""

    accelerator: Accelerator
    reason: str


@dataclass(frozen=True)
class Probe:
    """What became of one guest: whether its program ran, in how many seconds, and what was last seen of it."""

    booted: bool
    seconds: float
    reason: str


def probe_arguments(accelerator: Accelerator, *, kernel: Path, initial: Path, qemu: str = QEMU) -> list[str]:
    """QEMU's arguments for the probe: one CPU, no device but a serial console on standard output."""
    return [
        qemu,
        "-name", "accelerator-probe",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display", "none",
        "-sandbox", SANDBOX,
        "-machine", machine_option(accelerator),
        "-cpu", cpu_model(accelerator),
        "-smp", "1",
        "-m", f"{MEMORY_MIB}M",
        "-serial", "stdio",
        "-kernel", str(kernel),
        "-initrd", str(initial),
        "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip


def probe_initramfs(word: str, busybox: bytes) -> bytes:
    """A file system whose only program prints `word` and powers off. The word is not on the kernel's command line."""
    script = f"#!/bin/busybox sh\n/bin/busybox echo {word}\n/bin/busybox poweroff -f\n"
    return archive(
        [
            Entry("bin", DIRECTORY),
            Entry("bin/busybox", EXECUTABLE, busybox),
            Entry("init", EXECUTABLE, script.encode()),
        ]
    )


def last_line(console: bytes) -> str:
    """The last line of a console that has something to read, without control sequences."""
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1bc", b"", console).decode(errors="replace")
    printable = (
        "".join(character for character in line if character.isprintable()).strip()
        for line in re.split(r"[\r\n]+", text)
    )
    lines = [line for line in printable if line]
    return lines[-1][:200] if lines else ""


def judge(probe: Probe, accelerator: Accelerator) -> Verdict:
    """Hardware virtualization when its guest booted, else emulation with the reason."""
    if accelerator is Accelerator.KVM and probe.booted:
        return Verdict(Accelerator.KVM, f"a guest booted under KVM in {probe.seconds:.1f} s")
    return Verdict(Accelerator.TCG, f"KVM opens but is unusable: {probe.reason}")


async def boots(
    accelerator: Accelerator,
    *,
    kernel: Path,
    busybox: Path,
    limit_seconds: float = PROBE_SECONDS,
    qemu: str = QEMU,
) -> Probe:
    """Boot a tiny guest and wait for its word, at most `limit_seconds`; the guest is gone on return.

    Raises: `HostUnfit` when QEMU is not installed or `busybox` cannot be read.
    """
    word = f"guest-{secrets.token_hex(8)}"
    began = time.monotonic()
    console = bytearray()
    with os.fdopen(os.memfd_create("initramfs"), "wb") as file:  # in memory only: nothing can be left behind
        await asyncio.to_thread(_write_initramfs, Path(f"/proc/self/fd/{file.fileno()}"), word, busybox)
        inherited = Path(f"/proc/self/fd/{file.fileno()}")
        arguments = probe_arguments(accelerator, kernel=kernel, initial=inherited, qemu=qemu)
        pipe = asyncio.subprocess.PIPE
        async with start(arguments, stdout=pipe, stderr=pipe, pass_fds=[file.fileno()]) as process:
            assert process.stdout is not None  # asked for just above
            assert process.stderr is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_seconds):
                    async for chunk in _chunks(process.stdout):
                        console += chunk
                        del console[:-CONSOLE_TAIL_BYTES]
                        if word.encode() in console:
                            return Probe(True, time.monotonic() - began, "a guest booted")
                    complaint = last_line(await process.stderr.read())
                    status = await process.wait()
                    said = complaint or last_line(bytes(console)) or "nothing was printed"
                    return Probe(False, time.monotonic() - began, f"QEMU ended with status {status}: {said}")
        seen = last_line(bytes(console))
    reason = f"the guest hung for {limit_seconds:g} s" + (f" after: {seen}" if seen else " without printing anything")
    return Probe(False, time.monotonic() - began, reason)


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await stream.read(4096):
        yield chunk


def _write_initramfs(path: Path, word: str, busybox: Path) -> None:
    path.write_bytes(probe_initramfs(word, busybox_content(busybox)))


def busybox_content(busybox: Path) -> bytes:
    """The program that a tiny guest consists of. Raises: `HostUnfit` when it cannot be read."""
    try:
        return busybox.read_bytes()
    except OSError as error:
        raise HostUnfit(
            f"{busybox} cannot be read: {error.strerror}", hint="install the package `busybox-static`"
        ) from error


async def choose_accelerator(
    *,
    kernel: Path,
    kernel_digest: str,
    busybox: Path,
    directory: Path,
    device: Path = KVM,
    qemu: str = QEMU,
    limit_seconds: float = PROBE_SECONDS,
) -> Verdict:
    """The accelerator for builds on this host; a probe's answer is kept in `directory` until something changes.

    Whether this user may open the device at all is looked at each time, for that changes without a reboot.

    Raises: `HostUnfit` when QEMU is not installed or `busybox` cannot be read.
    """
    if obstacle := device_obstacle(device):
        return Verdict(Accelerator.TCG, obstacle)
    key = {
        "boot": await asyncio.to_thread(_boot_id),
        "kernel": kernel_digest,
        "qemu": await version_of(qemu),
        "user": os.getuid(),
    }
    if verdict := await asyncio.to_thread(_recall, directory, key):
        return verdict
    probe = await boots(Accelerator.KVM, kernel=kernel, busybox=busybox, limit_seconds=limit_seconds, qemu=qemu)
    verdict = judge(probe, Accelerator.KVM)
    await asyncio.to_thread(_remember, directory, key, verdict)
    return verdict


async def version_of(qemu: str) -> str:
    """What QEMU says of its version, in one line. Raises: `HostUnfit` when it is not installed."""
    return (await run([qemu, "--version"], timeout_seconds=10)).text.partition("\n")[0]


def device_obstacle(device: Path) -> str | None:
    """Why this user cannot open the device, in one sentence; nothing when they can."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{device} does not exist: the CPU or this virtual machine offers no hardware virtualization"
    except PermissionError:
        return f"{device} exists but this user may not open it"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return None


def known_obstacle(directory: Path, *, device: Path = KVM) -> str:
    """Why VMs are emulated here, as far as it is known without a probe: the device, or what one has found; else ''.

    `directory` is where a probe's answer is kept.
    """
    if obstacle := device_obstacle(device):
        return obstacle
    try:
        kept = json.loads((directory / CACHE_FILE).read_text())
        is_known = kept["key"]["boot"] == _boot_id() and Accelerator(kept["accelerator"]) is Accelerator.TCG
        return str(kept["reason"]) if is_known else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _recall(directory: Path, key: dict[str, object]) -> Verdict | None:
    try:
        kept = json.loads((directory / CACHE_FILE).read_text())
        if kept["key"] == key:
            return Verdict(Accelerator(kept["accelerator"]), str(kept["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _remember(directory: Path, key: dict[str, object], verdict: Verdict) -> None:
    make_folder(directory)
    descriptor, name = tempfile.mkstemp(prefix=".accelerator-", dir=directory)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"key": key, "accelerator": verdict.accelerator, "reason": verdict.reason}, file)
    Path(name).replace(directory / CACHE_FILE)
