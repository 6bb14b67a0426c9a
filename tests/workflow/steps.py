"""Every step of a run that makes something, each with what undoes it, on a place of its own."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stand_ins.unconfined import unconfined

from vmkiln.blobs import account_keys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.host import command, namespace, virtual_machine
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.network import network_rules, network_setup
from vmkiln.host.network.flow_log import Whereabouts
from vmkiln.host.qemu import Accelerator, Disk, Machine
from vmkiln.host.usage import machine_usage
from vmkiln.images import gallery, image_store, managed_image, vhd_image
from vmkiln.images.gallery import GalleryTarget, Region
from vmkiln.images.image_store import ImageFacts, seal, sha256_of
from vmkiln.platform_images import making_folder
from vmkiln.provisioning import submitting
from vmkiln.run import cleaning_up, packer_phase, workflow
from vmkiln.run.run_context import Disks, Staged
from vmkiln.settings import Settings
from vmkiln.staging import container_group, run_directory, script_copy, staging_resource_group, virtual_network
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.store.database import Store, utc_now
from vmkiln.store.rows import RunRow

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
GROUP = "IT_rg_web_0123"
HOST = (IPv4Interface("192.0.2.1/24"),)
COMPUTE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute"
IMAGE_ID, DEFINITION_ID = f"{COMPUTE}/images/web", f"{COMPUTE}/galleries/g/images/web"
VHD_ID = "/staging/IT_a/vhds/web.vhd"
MIB = 1024**2


@dataclass
class Place:
    """Where a step is done: a state directory with a run and its staging resource group, and a flattened disk."""

    settings: Settings
    store: Store
    group: StagingResourceGroup
    facts: ImageFacts

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.facts.flat.parent


def a_place(folder: Path, store: Store) -> Place:
    settings = Settings(folder)
    store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    group = staging_resource_group.create(settings.staging, store, name=GROUP, run_id=RUN_ID, tags={})
    settings.image_store.mkdir()
    settings.blobs.mkdir()
    account_keys.AccountKeys(settings.blobs / "keys.json").ensure([])
    flat = settings.runs / RUN_ID / "flat.qcow2"
    flat.parent.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", flat, str(MIB)], check=True)
    seal(flat)
    return Place(settings, store, group, ImageFacts(flat, sha256_of(flat), MIB, 1, "Linux", "1.2.3", RUN_ID))


Done = Callable[[Place], contextlib.AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class Step:
    """A step: where it is in the code, and what does it; leaving the block undoes it. `again` undoes what is undone.

    `every`: of what it changes, each so manieth is broken off; more than 1 where its parts are tried by themselves.
    """

    code: str
    done: Done
    again: Callable[[Place], object] = lambda _place: None
    every: int = 1


def blocking(manager: Callable[[Place], contextlib.AbstractContextManager[object]]) -> Done:
    @contextlib.asynccontextmanager
    async def done(place: Place) -> AsyncIterator[object]:
        with manager(place) as made:
            yield made

    return done


def undone_by(do: Callable[[Place], Awaitable[object] | object], undo: Callable[[Place], object]) -> Done:
    """A step that stays done until somebody undoes it."""

    @contextlib.asynccontextmanager
    async def done(place: Place) -> AsyncIterator[object]:
        try:
            made = do(place)
            yield await made if isinstance(made, Awaitable) else made
        finally:
            undo(place)

    return done


def a_network() -> Any:
    return virtual_network.decide(HOST, is_windows=False, allowances=())


def open_group(place: Place) -> StagingResourceGroup:
    """A group of a new name, as every run and every template has; twice, as after a crash."""
    name = f"IT_other_{len(place.store.staging.list_groups(with_deleted=True))}"
    submitting.open_group(place.settings, place.store, name=name, tags={})
    return submitting.open_group(place.settings, place.store, name=name, tags={})


def remove_groups(place: Place) -> None:
    names = [row.name for row in place.store.staging.list_groups() if row.name != GROUP]
    submitting.withdraw(place.settings, place.store, names)


def forget_unmade(place: Place) -> None:
    cleaning_up.forget_unmade(place.store, RUN_ID)


def remove_image(place: Place, artifact_id: str) -> None:
    """What `vmkiln image delete` does; a publication that failed has removed its files itself."""
    for image in place.store.images.list(prefix=artifact_id):
        image_store.remove(image, place.store)
    for definition in place.store.images.definitions():
        place.store.images.undefine(definition.definition_id)


def remove_vhd(place: Place) -> None:
    remove_image(place, VHD_ID)


@contextlib.asynccontextmanager
async def entered_network(place: Place) -> AsyncIterator[object]:
    async with namespace.opened() as inside, network_setup.joined(inside, a_network().network) as lost:
        yield lost


@contextlib.asynccontextmanager
async def kept_rules(place: Place) -> AsyncIterator[object]:
    file = place.folder / network_rules.FILE_NAME
    try:
        async with namespace.opened() as inside, network_rules.recorded(inside, file, facts={}):
            yield file
    finally:
        file.unlink(missing_ok=True)
        file.with_name(f".{file.name}").unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def program_inside(place: Place) -> AsyncIterator[object]:
    async with namespace.opened() as inside, inside.start("sleep", ["sleep", "60"]) as ended:
        yield ended


def a_machine(name: str) -> Machine:
    console, control = Path(f"/run/vmkiln/{name}.console"), Path(f"/run/vmkiln/{name}.qmp")
    return Machine(name, Accelerator.TCG, 1, 64, (), "tap-build", "02:00:00:00:00:01", console, control)


@contextlib.asynccontextmanager
async def machine_running(place: Place) -> AsyncIterator[object]:
    async with namespace.opened() as inside:
        await virtual_machine.bind_run_directory(inside, place.folder)
        machine = a_machine("vm")
        try:
            running = virtual_machine.running(inside, machine, directory=place.folder, channels={})
            with unconfined():
                async with running as vm:
                    yield vm
        finally:
            (place.folder / "vm.power").unlink(missing_ok=True)  # the stand-in's own


@contextlib.asynccontextmanager
async def group_started(place: Place) -> AsyncIterator[object]:
    nothing = place.folder
    (place.folder / "steps-vm").write_text("shell")
    group = container_group.ContainerGroup(nothing, nothing, nothing, nothing, Accelerator.TCG)
    machine = container_group.describe(group, a_network(), name="container-vm")
    try:
        async with namespace.opened() as inside:
            await virtual_machine.bind_run_directory(inside, place.folder)
            started = container_group.started(inside, machine, directory=place.folder, on_output=lambda _chunk: None)
            with unconfined():
                async with started as instance:
                    yield instance
    finally:
        (place.folder / "steps-vm").unlink()


def a_blob(place: Place) -> object:
    return place.group.storage_account.blob("scripts/a").write_text("x")


def staged_of(place: Place) -> Staged:
    host: Any = SimpleNamespace(store=place.store, settings=place.settings)
    no_steps: Any = SimpleNamespace(customize=(), validation=SimpleNamespace(in_vm_validations=()))
    request: Any = SimpleNamespace(run_id=RUN_ID, mask=str, template=SimpleNamespace(properties=no_steps))
    shape: Any = SimpleNamespace(vm_size="s", cpus=1, memory_mib=64, disk_bytes=1)
    source: Any = None
    return Staged(host, request, place.group, place.folder, source, shape, {}, a_network(), lambda _event: None)


@contextlib.contextmanager
def packer_resources(place: Place) -> Any:
    order: Any = SimpleNamespace(vm_name="build-vm", disks=Disks(Disk(place.folder / "disk", "qcow2")))
    entries = packer_phase._resources_of(staged_of(place), order, memory_mib=1)
    with staging_resource_group.resources(place.group, place.store, entries, exist=True):
        yield None


def rules_file(place: Place) -> Path:
    return place.settings.staging / GROUP / network_rules.FILE_NAME


@contextlib.asynccontextmanager
async def whole_network(place: Place) -> AsyncIterator[object]:
    try:
        async with workflow._entered(staged_of(place), Whereabouts()) as entered:
            yield entered
    finally:
        for name in (network_rules.FILE_NAME, machine_usage.FILE_NAME):  # which stay with the staging resource group
            rules_file(place).with_name(name).unlink(missing_ok=True)
            rules_file(place).with_name(f".{name}").unlink(missing_ok=True)
        remove_blobs(place)  # the flow log, which stays with the run


def remove_blobs(place: Place) -> None:
    folder = place.group.storage_account.directory
    for path in sorted(folder.rglob("*"), reverse=True):
        (path.rmdir if path.is_dir() else path.unlink)()


async def copy_script(place: Place) -> object:
    source = place.settings.home / "script.sh"
    local = LocalFiles(place.settings.home, is_allowed=True)
    script = script_copy.Script("properties.customize[0].scriptUri", f"file:{source.name}")
    return await script_copy.copy_scripts(
        [script], place.group.storage_account, local_files=local, notice=lambda _text: None
    )


def log_of(place: Place) -> CustomizationLog:
    return CustomizationLog(place.group.storage_account.blob("packerlogs/x/customization.log"), RUN_ID)


@contextlib.contextmanager
def open_log(place: Place) -> Any:
    try:
        with log_of(place) as log:
            yield log
    finally:
        remove_blobs(place)


@contextlib.asynccontextmanager
async def in_folder(make: Callable[[Path], Awaitable[object]], name: str, place: Place) -> AsyncIterator[object]:
    """A file of a run's folder, which ends with the folder."""
    with run_directory.held(place.settings.runs, "other") as folder:
        yield await make(folder / name)


def remove_folder(place: Place) -> None:
    run_directory.remove(place.settings.runs / "other")


async def overlay(path: Path) -> object:
    return await create_overlay(Disk(path.with_name("source"), "raw"), path, size_bytes=65536)


async def seed(path: Path) -> object:
    return await make_iso(path, {"user-data": "x"}, label="cidata")


async def input_disk(path: Path) -> object:
    content = path.with_name("content")
    content.mkdir()
    (content / "file").write_text("x")
    await make_ext4(path, content)
    return path


def published(publish: Callable[[Place], Awaitable[object] | object], artifact_id: str) -> Done:
    return undone_by(publish, lambda place: remove_image(place, artifact_id))


def to_managed(place: Place) -> object:
    return managed_image.publish(
        place.settings.image_store, place.store, place.facts, image_id=IMAGE_ID, location="local", tags={}
    )


def to_gallery(place: Place) -> object:
    target = GalleryTarget(DEFINITION_ID, "Latest", -1, (Region("a"), Region("b")), False, "Full", {})
    return gallery.publish(place.settings.image_store, place.store, place.facts, target)


async def to_vhd(place: Place) -> object:
    return await vhd_image.publish(place.folder / "web.vhd", place.store, place.facts, artifact_id=VHD_ID, tags={})


def keys_of(place: Place) -> account_keys.AccountKeys:
    return account_keys.AccountKeys(place.settings.blobs / "keys.json")


def give_keys(place: Place) -> object:
    return keys_of(place).ensure(["account"])


def a_resource(place: Place) -> Any:
    return staging_resource_group.resources(place.group, place.store, [("Microsoft.Compute/disks", "d", {})])


ENDPOINT = BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:1")
STEPS = (
    Step(
        "staging/run_directory.py:locked",
        blocking(lambda place: run_directory.locked(place.settings.runs, "other")),
        lambda place: run_directory.forget_locks(place.settings.runs),
    ),
    Step(
        "staging/run_directory.py:held",
        blocking(lambda place: run_directory.held(place.settings.runs, "other")),
        lambda place: run_directory.remove(place.settings.runs / "other"),
    ),
    Step(
        "staging/run_directory.py:locked_if_free",
        blocking(lambda place: run_directory.locked_if_free(place.settings.runs, "other")),
        lambda place: run_directory.forget_locks(place.settings.runs),
    ),
    Step(
        "staging/run_directory.py:woken",
        blocking(lambda place: run_directory.woken(place.settings.runs, "other")),
        lambda place: run_directory.remove(run_directory.folder_of_woken(place.settings.runs, "other")),
    ),
    Step("staging/staging_resource_group.py", undone_by(open_group, remove_groups), remove_groups),
    Step("staging/staging_resource_group.py:resources", blocking(a_resource), forget_unmade),
    Step("run/packer_phase.py", blocking(packer_resources), forget_unmade),
    Step("host/namespace.py:opened", lambda _place: namespace.opened()),
    Step("host/namespace.py:start", program_inside),
    Step("host/command.py:start", lambda _place: command.start(["sleep", "60"])),
    Step("host/network/network_setup.py:joined", entered_network),
    Step("host/network/network_rules.py:recorded", kept_rules),
    Step("host/virtual_machine.py:running", machine_running),
    Step("run/workflow.py:_entered", whole_network, forget_unmade, every=4),
    Step("staging/container_group.py:started", group_started),
    Step("run/customizing.py", partial(in_folder, overlay, "build-vm.qcow2"), remove_folder),
    Step("host/disk/iso_image.py", partial(in_folder, seed, "seed.iso"), remove_folder),
    Step("host/disk/ext4_image.py", partial(in_folder, input_disk, "input.ext4"), remove_folder),
    Step("staging/storage_account.py", undone_by(a_blob, remove_blobs), remove_blobs),
    Step("platform_images/making_folder.py:opened", lambda place: making_folder.opened(place.settings.home)),
    Step("images/managed_image.py", published(to_managed, IMAGE_ID), lambda place: remove_image(place, IMAGE_ID)),
    Step("images/gallery.py", published(to_gallery, DEFINITION_ID), lambda place: remove_image(place, DEFINITION_ID)),
    Step("images/vhd_image.py", undone_by(to_vhd, remove_vhd), remove_vhd),
    Step("staging/customization_log.py:CustomizationLog", blocking(open_log), remove_blobs),
    Step("staging/script_copy.py", undone_by(copy_script, remove_blobs), remove_blobs),
    Step(
        "blobs/account_keys.py",
        undone_by(give_keys, lambda place: keys_of(place).forget(["account"])),
        lambda place: keys_of(place).forget(["account"]),
    ),
    Step(
        "blobs/blob_endpoint.py",
        undone_by(
            lambda place: write_endpoint(place.settings.blob_endpoint, ENDPOINT),
            lambda place: write_endpoint(place.settings.blob_endpoint, None),
        ),
        lambda place: write_endpoint(place.settings.blob_endpoint, None),
    ),
)
