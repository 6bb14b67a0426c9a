"""What comes before a run, for commands and services alike: the open database, and a machine ready for builds."""

import contextlib
import getpass
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from vmkiln.buildable.egress_choice import operator_policy
from vmkiln.errors import HostUnfit, InputError, StorageFailed, StorageFull
from vmkiln.files.durable_file import make_folder
from vmkiln.files.private_folder import make_private
from vmkiln.host import capacity, reserve_file
from vmkiln.host.accelerator import choose_accelerator
from vmkiln.host.confinement.subordinate_ids import IdFile, own_range
from vmkiln.host.copies import launching
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.doctor.fitness import subordinate_ids_finding
from vmkiln.host.doctor.kvm_access import kvm_access, notice
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import obtain_container_image, static_busybox
from vmkiln.images.quarantine import unrecorded
from vmkiln.inspecting import windows_image
from vmkiln.inspecting.residue import allowed_of
from vmkiln.inspecting.windows_facts import WindowsFacts
from vmkiln.packer import waiting_packer
from vmkiln.packer.packer_program import find_packer
from vmkiln.provisioning import older_secrets
from vmkiln.run import cleaning_up
from vmkiln.run.room import CONTAINER_GROUP_CPUS, QEMU_MIB, Room
from vmkiln.run.run_context import BuildHost
from vmkiln.run.starts import beside_runs
from vmkiln.setting_texts.release_policy import Demand
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage, shared_storage
from vmkiln.staging import container_group
from vmkiln.store import database
from vmkiln.store.bounded.quota import Quota
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import off_loop, off_loop_with
from vmkiln.warm.saved_group import obtain_saved_group

MIB = 1024**2
# of this host, while one is saved: it is booted, and then another goes on from it
GROUP_ROOM = Room(CONTAINER_GROUP_CPUS, container_group.MEMORY_MIB + QEMU_MIB, container_group.MEMORY_MIB)


def make_home(home: Path) -> None:
    """Make the state directory. Raises: `InputError` when it cannot be where it is set to be, `StorageFull`."""
    is_there = home.is_dir()
    try:
        make_folder(home)
    except StorageFull:
        raise
    except StorageFailed as error:
        if is_there:
            raise
        raise InputError(error.message, hint="set VMKILN_HOME to a folder that you may make and write") from error


@contextlib.contextmanager
def opened_store(settings: Settings, tell: Callable[[str], None]) -> Iterator[Store]:
    """The database, after what dead runs left was cleaned up and what older releases kept in plain words was sealed."""
    make_home(settings.home)
    make_private(settings.home, tell)
    reserve_file.release_if_full(settings.home)
    with database.opened(
        settings.database_address, home=settings.home, keys=settings.keys_folder, quota=quota_of(settings)
    ) as store:
        older_secrets.seal(settings, store, tell)
        cleaning_up.end_leftovers(settings, store, tell)
        if lost := unrecorded(settings, store):
            count = f"{len(lost)} image{'' if len(lost) == 1 else 's'}"
            tell(f"the records do not have {count} that lie here, and are kept: `vmkiln image quarantine` lists them")
        yield store


def quota_of(settings: Settings) -> Quota:
    """What a subscription may keep in the database, as the operator has it; pure."""
    return Quota(
        most_resources_of_a_type=settings.most_resources_of_a_type,
        most_resource_groups=settings.most_resource_groups,
        most_resources=settings.most_resources,
        most_resource_mib=settings.most_resource_mib,
        most_role_assignments=settings.most_role_assignments,
    )


def host_capacity(settings: Settings) -> Room:
    """What this machine, or its control group, has for runs, those that go on included; some memory is left."""
    memory_mib = max(0, capacity.memory_bytes_with_guests() // MIB - settings.spared_memory_mib)
    return Room(capacity.cpu_count(), memory_mib, cleaning_up.free_bytes(settings) // MIB)


def check_ids() -> None:
    """The user has subordinate ids, as which everything of a run works. Raises: `HostUnfit`, with doctor's remedy."""
    user = getpass.getuser()
    for file in IdFile:
        found = own_range(file)
        if found is None:
            finding = subordinate_ids_finding(file, found, user=user)
            raise HostUnfit(finding.found, hint=finding.remedy)
    for name in ("newuidmap", "newgidmap"):
        if shutil.which(name) is None:
            raise HostUnfit(f"the program `{name}` is not installed", hint="install the package `uidmap`")


@contextlib.asynccontextmanager
async def prepared_host(
    settings: Settings,
    store: Store,
    progress: Callable[[str], None],
    *,
    shared: SharedStorage | None = None,
    may_save: bool = True,
) -> AsyncIterator[BuildHost]:
    """This machine, ready to build: container image made, accelerator judged; `shared` is opened when not given.

    What container groups go on from is made when it is missing, if it `may_save`.

    Raises: `InputError` as root and for a wrong egress policy or residue, `HostUnfit` for what is missing.
    """
    operator_policy(settings.egress)
    allowed_of(settings.allowed_residues)
    if os.getuid() == 0:
        raise InputError(
            "builds run as an ordinary user, never as root",
            hint="run the same command as yourself; root is needed only for `script/bootstrap`",
        )
    free = cleaning_up.free_bytes(settings)
    if free < settings.least_free_disk_mib * MIB:
        raise HostUnfit(
            f"only {free // MIB} MiB are free under {settings.home}; a build needs {settings.least_free_disk_mib}",
            hint="make room, or set VMKILN_HOME to a folder on another disk",
        )
    await off_loop(check_ids)  # before anything is fetched for builds that cannot run
    reserve_file.ensure(settings.home)
    async with launching.kept():
        packer = await find_packer()
        image = await obtain_container_image(
            settings.container_image,
            packer=packer.path,
            packer_version=packer.version,
            waiting=waiting_packer.files(),
            progress=progress,
        )
        busybox = shutil.which("busybox")
        if busybox is None:
            raise HostUnfit("busybox is not installed", hint="install the package `busybox-static`")
        verdict = await choose_accelerator(
            kernel=image.kernel, kernel_digest=image.digest, busybox=Path(busybox), directory=settings.container_image
        )
        emulation_notice = ""
        if verdict.accelerator is Accelerator.TCG:
            progress(f"building under emulation (TCG): {verdict.reason}")
            emulation_notice = notice(kvm_access(), verdict.reason)
        saved_group = None
        if settings.warm_starts and Demand.COLD not in settings.demands:
            saved_group = await obtain_saved_group(
                settings.saved_vms,
                image,
                verdict.accelerator,
                most_mib=settings.most_saved_vms_mib,
                progress=progress,
                room=lambda: off_loop_with(
                    lambda: beside_runs.taken(settings, store, GROUP_ROOM, "saving a booted container group")
                ),
                may_make=may_save,
            )
        yield BuildHost(
            settings=settings,
            store=store,
            accelerator=verdict.accelerator,
            accelerator_reason=verdict.reason,
            emulation_notice=emulation_notice,
            container_image=image,
            cpus=capacity.cpu_count(),
            memory_mib=capacity.available_memory_bytes() // MIB,
            firmware=find_firmware(),
            shared=shared or shared_storage(settings, store),
            saved_group=saved_group,
        )


def visited_host(settings: Settings, store: Store) -> AbstractAsyncContextManager[BuildHost]:
    """A host for a visit to a failed VM: what is saved of a container group is used, and none is waited for.

    Raises: as `prepared_host`.
    """
    return prepared_host(settings, store, lambda _text: None, may_save=False)


def look_at_windows_of(
    settings: Settings, progress: Callable[[str], None]
) -> Callable[[Disk, Path], Awaitable[WindowsFacts]]:
    """What looks at the Windows on a disk, in a VM of its own; makes what that boots from, if it is missing."""

    async def look(disk: Disk, folder: Path) -> WindowsFacts:
        inspector = await windows_image.obtain_windows_inspector(settings.container_image, progress=progress)
        verdict = await choose_accelerator(
            kernel=inspector.kernel,
            kernel_digest=inspector.kernel_digest,
            busybox=await static_busybox(),
            directory=settings.container_image,
        )
        machine = windows_image.describe(inspector, [disk], accelerator=verdict.accelerator)
        return await windows_image.look_at_windows(machine, directory=folder)

    return look


async def isolation_level_of(settings: Settings, store: Store, progress: Callable[[str], None]) -> str:
    """What this machine can promise, `hardware` or `emulated`; makes what every build needs, if it is missing.

    Raises: as `prepared_host`.
    """
    async with prepared_host(settings, store, progress) as host:
        return host.isolation_level
