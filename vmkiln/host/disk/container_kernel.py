"""The kernel that the container runs on: taken from the host's own distribution, without installing it on the host.

The distribution's signed package is downloaded by apt as an ordinary user (apt checks its hash and signature),
unpacked into a folder of ours, and its modules are indexed. Nothing under / is touched.

What lies in the folder given to `obtain_kernel` afterwards:

    kernel.json                       the record: package, version, digests
    <package>_<version>/vmlinuz
    <package>_<version>/lib/modules/<release>/    with modules.dep
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vmkiln.errors import CommandFailed, HostUnfit, VmkilnError
from vmkiln.files.durable_file import sync, sync_all
from vmkiln.files.private_folder import make_private_before_use
from vmkiln.host.command import run
from vmkiln.host.environment import for_fetching
from vmkiln.waiting.alone import alone

RECORD = "kernel.json"
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-generic", "linux-image-amd64")
"""Names that always mean the newest kernel: Debian's for virtual machines, Ubuntu's, then the general ones."""
KERNEL_PREFIXES = ("linux-image-", "linux-modules-")
DOWNLOAD_LIMIT_SECONDS = 900.0
QUERY_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class ContainerKernel:
    """A kernel that can be booted directly, and the modules that belong to it.

    `modules` is the folder that holds `modules.dep` (`.../lib/modules/<release>`); `digest` is the SHA-256 of
    `vmlinuz` in hexadecimal.
    """

    vmlinuz: Path
    modules: Path
    release: str
    package: str
    version: str
    digest: str


@dataclass(frozen=True)
class Package:
    """One package as the apt lists know it; `depends` has the first name of each alternative."""

    name: str
    version: str
    size_bytes: int
    depends: tuple[str, ...]


def parse_package(stanza: str) -> Package | None:
    """The package described by the first stanza of `apt-cache show`; nothing when it names none."""
    fields: dict[str, str] = {}
    for line in stanza.strip().splitlines():
        if not line.strip():
            break
        if line[0].isspace():
            continue
        key, _, value = line.partition(":")
        fields.setdefault(key, value.strip())
    if "Package" not in fields or "Version" not in fields:
        return None
    depends = tuple(
        part.strip().split(" ")[0].split("(")[0].split("|")[0]
        for part in fields.get("Depends", "").split(",")
        if part.strip()
    )
    return Package(fields["Package"], fields["Version"], int(fields.get("Size") or 0), depends)


def kernel_dependencies(package: Package) -> tuple[str, ...]:
    """The packages it depends on that carry a kernel or its modules."""
    return tuple(name for name in package.depends if name.startswith(KERNEL_PREFIXES))


def apt_options(private: Path | None) -> list[str]:
    """Options that make apt work as an ordinary user; with `private`, on package lists of our own."""
    options = ["-o", "APT::Sandbox::User=", "-o", "Dpkg::Use-Pty=false"]
    if private is not None:
        options += ["-o", f"Dir::State::Lists={private / 'lists'}", "-o", f"Dir::Cache={private / 'cache'}"]
    return options


def find_kernel(directory: Path) -> ContainerKernel | None:
    """The kernel obtained earlier into `directory`, if its file is still what was recorded.

    Reads and hashes the whole kernel file (some 15 MB).
    """
    try:
        record = json.loads((directory / RECORD).read_text())
        kernel = ContainerKernel(
            vmlinuz=directory / record["vmlinuz"],
            modules=directory / record["modules"],
            release=record["release"],
            package=record["package"],
            version=record["version"],
            digest=record["digest"],
        )
        intact = file_digest(kernel.vmlinuz) == kernel.digest and (kernel.modules / "modules.dep").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kernel if intact else None


async def obtain_kernel(directory: Path, *, progress: Callable[[str], None], refresh: bool = False) -> ContainerKernel:
    """The kernel in `directory`, fetched from the distribution when it is not there or `refresh` is asked for.

    Safe to repeat and to run twice at once: a kernel appears whole or not at all. When the host's package lists
    know no kernel or are out of date, lists of our own are fetched for the occasion.

    Raises: `HostUnfit` when the distribution has no such package or cannot be reached.
    """
    if not refresh and (kernel := await asyncio.to_thread(find_kernel, directory)):
        return kernel
    has_waited = False

    def tell_waiting() -> None:
        nonlocal has_waited
        has_waited = True
        progress("waiting for another process that is fetching the kernel")

    async with alone(directory, RECORD, waiting=tell_waiting):
        if (has_waited or not refresh) and (kernel := await asyncio.to_thread(find_kernel, directory)):
            return kernel
        return await _fetched(directory, _depmod(), progress=progress)


async def _fetched(directory: Path, depmod: str, *, progress: Callable[[str], None]) -> ContainerKernel:
    workplace = directory / ".obtaining"
    try:
        await asyncio.to_thread(_make_workplace, workplace)
        try:
            image = await _download(workplace, private=None, progress=progress)
        except (HostUnfit, CommandFailed) as first:
            progress("the host's package lists know no kernel or are out of date; fetching lists of our own")
            image = await _download_with_own_lists(workplace, progress=progress, first=first)
        release = await _prepare(workplace, depmod, progress=progress)
        return await asyncio.to_thread(_publish, directory, workplace / "prepared", image, release)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True))


def _make_workplace(workplace: Path) -> None:
    """Make it empty: whoever was killed at this left something in it."""
    shutil.rmtree(workplace, ignore_errors=True)
    for folder in ("apt/lists/partial", "apt/cache/archives/partial", "downloads", "unpacked"):
        (workplace / folder).mkdir(parents=True)


async def _download_with_own_lists(
    workplace: Path, *, progress: Callable[[str], None], first: HostUnfit | CommandFailed
) -> Package:
    private = workplace / "apt"
    try:
        await _apt(["apt-get", *apt_options(private), "-qq", "update"], limit=DOWNLOAD_LIMIT_SECONDS)
        return await _download(workplace, private=private, progress=progress)
    except (HostUnfit, CommandFailed) as error:
        raise HostUnfit(
            f"no kernel could be fetched from the distribution: {error.message}",
            hint="check that `apt-get update` works on this host, then try again",
        ) from first


async def _download(workplace: Path, *, private: Path | None, progress: Callable[[str], None]) -> Package:
    packages = await _resolve(private)
    image = packages[0]
    megabytes = sum(package.size_bytes for package in packages) / 1e6
    progress(f"fetching {image.name} {image.version} ({megabytes:.0f} MB)")
    names = [f"{package.name}={package.version}" for package in packages]
    await _apt(
        ["apt-get", *apt_options(private), "-q", "download", *names],
        limit=DOWNLOAD_LIMIT_SECONDS,
        directory=workplace / "downloads",
    )
    return image


async def _prepare(workplace: Path, depmod: str, *, progress: Callable[[str], None]) -> str:
    unpacked, prepared = workplace / "unpacked", workplace / "prepared"
    for archive in await asyncio.to_thread(lambda: sorted((workplace / "downloads").glob("*.deb"))):
        progress(f"unpacking {archive.name}")
        await run(["dpkg-deb", "--extract", archive, unpacked], timeout_seconds=QUERY_LIMIT_SECONDS * 5)
    release = await asyncio.to_thread(arrange, unpacked, prepared)
    progress(f"indexing the modules of {release}")
    await run([depmod, "--basedir", prepared, release], timeout_seconds=QUERY_LIMIT_SECONDS * 5)
    return release


async def _resolve(private: Path | None) -> tuple[Package, ...]:
    """The kernel package first, then its modules when they are packaged apart."""
    for name in META_PACKAGES:
        meta = await _show(name, private)
        images = [found for found in kernel_dependencies(meta) if found.startswith("linux-image-")] if meta else []
        if images and (image := await _show(images[0], private)):
            extra = [await _show(found, private) for found in kernel_dependencies(image)]
            return (image, *(package for package in extra if package is not None))
    raise HostUnfit(f"none of {', '.join(META_PACKAGES)} is known to apt")


async def _show(name: str, private: Path | None) -> Package | None:
    shown = await _apt(
        ["apt-cache", *apt_options(private), "show", "--no-all-versions", name], limit=QUERY_LIMIT_SECONDS, check=False
    )
    return parse_package(shown)


async def _apt(arguments: Sequence[str], *, limit: float, directory: Path | None = None, check: bool = True) -> str:
    environment: Mapping[str, str] = {**for_fetching(os.environ), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    completed = await run(arguments, timeout_seconds=limit, environment=environment, directory=directory, check=check)
    return completed.text


def arrange(unpacked: Path, prepared: Path) -> str:
    """Move kernel and modules out of an unpacked package into our own layout; returns the kernel's release.

    Newer packages keep modules under /usr/lib, older ones under /lib; ours are always under `lib/modules`.

    Raises: `HostUnfit` when the package holds not exactly one kernel with modules.
    """
    kernels = sorted((unpacked / "boot").glob("vmlinuz-*")) if (unpacked / "boot").is_dir() else []
    if len(kernels) != 1:
        raise HostUnfit(f"the kernel package holds {len(kernels)} kernels instead of one")
    release = kernels[0].name.removeprefix("vmlinuz-")
    candidates = [unpacked / "lib/modules" / release, unpacked / "usr/lib/modules" / release]
    modules = next((path for path in candidates if (path / "kernel").is_dir()), None)
    if modules is None:
        raise HostUnfit(f"the kernel package holds no modules for {release}")
    (prepared / "lib/modules").mkdir(parents=True)
    kernels[0].rename(prepared / "vmlinuz")
    modules.rename(prepared / "lib/modules" / release)
    return release


def _depmod() -> str:
    """depmod is in a folder that an ordinary user's PATH may lack."""
    found = shutil.which("depmod") or shutil.which("depmod", path="/usr/sbin:/sbin")
    if found is None:
        raise HostUnfit("the program `depmod` is not installed", hint="run `script/bootstrap` (package kmod)")
    return found


def _publish(directory: Path, prepared: Path, image: Package, release: str) -> ContainerKernel:
    destination = directory / f"{image.name}_{image.version.replace(':', '%3a')}"
    digest = file_digest(prepared / "vmlinuz")
    if destination.exists() and not _same_kernel(destination, digest, release):
        shutil.rmtree(destination, ignore_errors=True)
    make_private_before_use(prepared)
    sync_all(prepared)
    if not destination.exists():
        prepared.rename(destination)
    if not _same_kernel(destination, digest, release):
        raise VmkilnError(f"the kernel could not be placed at {destination}", hint="remove that folder and try again")
    kernel = ContainerKernel(
        vmlinuz=destination / "vmlinuz",
        modules=destination / "lib/modules" / release,
        release=release,
        package=image.name,
        version=image.version,
        digest=digest,
    )
    record = {
        **asdict(kernel),
        "vmlinuz": str(kernel.vmlinuz.relative_to(directory)),
        "modules": str(kernel.modules.relative_to(directory)),
    }
    descriptor, name = tempfile.mkstemp(prefix=".kernel-", dir=directory)
    with os.fdopen(descriptor, "w") as file:
        json.dump(record, file, indent=2)
    sync(Path(name))
    sync(directory)
    Path(name).replace(directory / RECORD)
    return kernel


def _same_kernel(destination: Path, digest: str, release: str) -> bool:
    with contextlib.suppress(OSError):
        return (
            file_digest(destination / "vmlinuz") == digest
            and (destination / "lib/modules" / release / "modules.dep").is_file()
        )
    return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
