"""Distributing: the flattened disk is published to each target; each target has its own run output.

*Leaves behind:* the images, and the resource groups of a file's. *Undone by:* `vmkiln image delete`, the groups by
their deletion in the service; a target that failed or was cancelled leaves nothing.
*Safe to repeat:* yes: what an earlier attempt of the run published is found and not published twice.
Source: docs/reference/image-template.md#distribute-targets, #run-outputs; docs/reference/behaviour.md#distributing.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import RESOURCE_GROUP, ProvisioningState, group_id, plain_location
from vmkiln.errors import (
    CommandFailed,
    DatabaseAway,
    GroupNotFound,
    HostUnfit,
    QuotaReached,
    RunTakenOver,
    VmkilnError,
)
from vmkiln.host.accelerator import version_of
from vmkiln.host.qemu import BOARDS
from vmkiln.image_contents.contents import ImageContents
from vmkiln.images import gallery, managed_image, vhd_image
from vmkiln.images.gallery import GalleryTarget, Region
from vmkiln.images.image_store import (
    Artifact,
    ImageFacts,
    remove,
    to_the_end,
)
from vmkiln.images.vhd_image import Share, shared_by_none
from vmkiln.run.attesting import build_record as attesting
from vmkiln.run.attesting import image_before, source_look
from vmkiln.run.final_disk import flattening
from vmkiln.run.finished.finished_work import packed, record
from vmkiln.run.gates import release_gate
from vmkiln.run.run_context import Disks, Staged
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_failures import DistributionFailed
from vmkiln.run_state import PartKind
from vmkiln.sharing.waited_out import waited_out
from vmkiln.staging.storage_account import VHDS
from vmkiln.store.database import Store, utc_now
from vmkiln.store.locked.scope_locks import held_by, refusal
from vmkiln.store.rows import ResourceRow, RunOutputRow
from vmkiln.store.run_facts import ImageDifferenceFact
from vmkiln.template.distribute_target import (
    DistributeTarget,
    LatestVersioning,
    ManagedImageTarget,
    SharedImageTarget,
    VhdTarget,
    blob_name,
)
from vmkiln.waiting.off_loop import off_loop


async def shared(staged: Staged, facts: ImageFacts) -> ImageFacts:
    """The flattened disk, given to the other hosts of a fleet before anything is recorded of it.

    Raises: `SharedStorageFailed`.
    """
    targets = staged.request.template.properties.distribute
    if facts.shared_object or all(isinstance(target, VhdTarget) for target in targets):
        return facts  # a VHD is given to them as a VHD
    if staged.host.shared is not None:
        staged.tell(PartStarted(PartKind.SHARE))
    share = sharing(staged, "qcow2")
    data_disks = [
        replace(disk, shared_object=await share(disk.beside(facts.flat), disk.digest)) for disk in facts.data_disks
    ]
    shared_object = await share(facts.flat, facts.digest)
    return replace(facts, shared_object=shared_object, data_disks=tuple(data_disks))


def sharing(staged: Staged, file_format: str) -> Share:
    """How a finished file with its SHA-256 gets to the other hosts; returns the object to be recorded, or ''."""
    request, storage = staged.request, staged.host.shared
    if storage is None:
        return shared_by_none

    patience_seconds = staged.host.settings.object_store_patience_seconds

    def warn(text: str) -> None:
        staged.tell(Notice(text, is_warning=True))

    async def share(file: Path, digest: str) -> str:
        give = functools.partial(
            to_the_end,
            storage.images.share,
            file,
            run_id=request.run_id,
            attempt=request.attempt,
            digest=digest,
            file_format=file_format,
        )
        return await waited_out(give, patience_seconds=patience_seconds, warn=warn)

    return share


async def distribute(staged: Staged, disks: Disks, flattened: ImageFacts | None = None) -> list[RunOutputRow]:
    """Publish to every target, also when one of them fails; returns the run outputs.

    `flattened` is what was made of the disks while the gates looked at them.

    Raises: `DistributionFailed` naming each target that failed, when all did; with some it is told by the outputs.
    `ReleaseRefused`.
    """
    targets = staged.request.template.properties.distribute
    run_id, store = staged.request.run_id, staged.host.store
    done = await off_loop(_begun, store, run_id, targets)
    documents_of = await off_loop(attesting.documents_of, staged, await _qemu_of(staged))
    facts = replace(await _image_to_publish(staged, disks, flattened), documents_of=documents_of)
    await off_loop(release_gate.check, staged)
    await _tell_difference(staged)
    outputs = []
    for target in targets:
        name = target.run_output_name
        if name in done:
            outputs.append(done[name])
            continue
        staged.tell(PartStarted(PartKind.PUBLISH, name))
        try:
            before = await off_loop(_version_before, staged, target, outputs, done.values())
            artifact = before or await _publish_where_a_group_is(staged, facts, target)
            row = RunOutputRow(
                run_id, name, artifact.artifact_id, artifact.artifact_uri, ProvisioningState.SUCCEEDED, ""
            )
            staged.tell(Notice(f"{name}: {artifact.artifact_id or artifact.artifact_uri}"))
        except (RunTakenOver, DatabaseAway):
            raise
        except (VmkilnError, OSError) as error:
            row = RunOutputRow(run_id, name, "", "", ProvisioningState.FAILED, str(error))
            staged.tell(Notice(f"{name}: {error}", is_warning=True))
        await off_loop(store.images.put_output, row)
        outputs.append(row)
    if outputs and all(row.state == ProvisioningState.FAILED for row in outputs):
        raise DistributionFailed(failures_of(outputs))
    return outputs


async def _qemu_of(staged: Staged) -> str:
    """The version of the QEMU that ran the build VM; '' where that is not there any more."""
    with contextlib.suppress(HostUnfit, CommandFailed):
        return await version_of(BOARDS[staged.source.architecture].program)
    return ""


async def _tell_difference(staged: Staged) -> None:
    """Say what differs from the image before, where both are known, while nothing is published yet."""
    found = await off_loop(image_before.compared, staged)
    if found is not None:
        image_id, differing = found
        staged.tell(Notice(f"compared with {image_id}: {differing.sentence}"))
        fact = ImageDifferenceFact(image=image_id, sentence=differing.sentence)
        await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, image_difference=fact)


def failures_of(outputs: Sequence[RunOutputRow]) -> str:
    """Which targets could not be published to, and why, in Azure's words; '' when all could."""
    failed = [row for row in outputs if row.state == ProvisioningState.FAILED]
    text = "; ".join(f"{row.name}: {row.message}" for row in failed)
    return f"Failed in distributing {len(failed)} images out of total {len(outputs)}: {text}" if failed else ""


def _begun(store: Store, run_id: str, targets: Iterable[DistributeTarget]) -> dict[str, RunOutputRow]:
    """Record the run outputs that are to be made; returns those that an earlier attempt made, by name."""
    done = {row.name: row for row in store.images.outputs_of(run_id) if row.state == ProvisioningState.SUCCEEDED}
    for target in targets:
        if target.run_output_name not in done:
            row = RunOutputRow(run_id, target.run_output_name, "", "", ProvisioningState.CREATING, "")
            store.images.put_output(row)
    return done


async def _image_to_publish(staged: Staged, disks: Disks, flattened: ImageFacts | None) -> ImageFacts:
    """The flattened disk, where all hosts of a fleet find it.

    From here on any host can go on with the run, which is then on record.
    """
    facts = await shared(staged, flattened or await flattening.prepared(staged, disks))
    work = await off_loop(flattening.work_of, staged)
    if work is not None and work.image is None and facts.shared_object:
        of_image = await _packed(staged, "the image", attesting.contents_of)
        of_source = await _packed(staged, "the source", source_look.found)
        work = replace(work, image=facts, contents=of_image, source_contents=of_source)
        await off_loop(record, staged.host.store, staged.request.run_id, work)
    return facts


async def _packed(staged: Staged, where: str, find: Callable[[Staged], ImageContents | None]) -> str:
    """What is known of the image or of its source, as another host gets it; '' when nothing is. Too much is told."""
    found = await off_loop(find, staged)
    if found is None:
        return ""
    contents = await off_loop(packed, found.text)
    if not contents:
        text = f"what is in {where} is too much to be recorded: another host that goes on publishes without it"
        staged.tell(Notice(text, is_warning=True))
    return contents


def _version_before(
    staged: Staged, target: DistributeTarget, outputs: Iterable[RunOutputRow], done: Iterable[RunOutputRow]
) -> Artifact | None:
    """The gallery version that an earlier attempt published for this target, and died before it was recorded."""
    if not isinstance(target, SharedImageTarget):
        return None
    taken = {row.artifact_id.lower() for row in (*outputs, *done)}
    prefix = f"{gallery.split_id(target.gallery_image_id)[0]}/versions/".lower()
    for image in staged.host.store.images.of_run(staged.request.run_id):
        if image.key.startswith(prefix) and image.key not in taken:
            return Artifact(image.artifact_id, "", image.path)
    return None


async def _publish_where_a_group_is(staged: Staged, facts: ImageFacts, target: DistributeTarget) -> Artifact:
    """Publish, and take it back when the target's resource group was deleted meanwhile.

    Who deletes a group records that before it looks for images in the group; we record the image before we look for the
    group. So one of the two always sees the other.
    Raises: `GroupNotFound`, as a lock refuses, and as `_publish`.
    """
    store = staged.host.store
    if isinstance(target, VhdTarget):
        return await _publish(staged, facts, target)
    if not staged.request.template_id:  # a file's targets need no resource group: it comes with the image
        artifact = await _publish(staged, facts, target)
        await off_loop(_keep_group, store, target)
        return artifact
    await off_loop(_check_unlocked, store, target)  # not again: a lock that comes later holds what is there by then
    await off_loop(_check_group, store, target)
    artifact = await _publish(staged, facts, target)
    try:
        await off_loop(_check_group, store, target)
    except GroupNotFound:
        image = await off_loop(store.images.find, artifact.artifact_id)
        if image is not None:
            await off_loop(remove, image, store)
        raise
    return artifact


def _check_unlocked(store: Store, target: ManagedImageTarget | SharedImageTarget) -> None:
    """Raises: `DistributionFailed` when a lock keeps the target from being written."""
    place = target.image_id if isinstance(target, ManagedImageTarget) else target.gallery_image_id
    if locked := held_by(store.resources, place, deletes=False):
        raise DistributionFailed(refusal(place, locked, deletes=False))


def _keep_group(store: Store, target: ManagedImageTarget | SharedImageTarget) -> None:
    """Record the resource group of a file's image where there is none, so that the image is found in it."""
    if isinstance(target, ManagedImageTarget):
        image, locations = target.resource_id, [target.location]
    else:
        image, locations = target.image_definition, [region.name for region in target.regions]
    row = ResourceRow(
        id=group_id(image.subscription_id, image.resource_group),
        type=RESOURCE_GROUP,
        name=image.resource_group,
        subscription_id=image.subscription_id,
        resource_group=image.resource_group,
        location=plain_location(locations[0]) if locations else "",
        properties={"provisioningState": ProvisioningState.SUCCEEDED},
    )
    with contextlib.suppress(QuotaReached):  # the image is there all the same
        store.resources.insert(row)


def _check_group(store: Store, target: ManagedImageTarget | SharedImageTarget) -> None:
    """Raises: `GroupNotFound` when the target's resource group is not there any more, or goes."""
    image = target.resource_id if isinstance(target, ManagedImageTarget) else target.image_definition
    group = store.resources.get(group_id(image.subscription_id, image.resource_group))
    if group is None or group.properties.get("provisioningState") == ProvisioningState.DELETING:
        raise GroupNotFound(f"ResourceGroupNotFound: Resource group '{image.resource_group}' could not be found")


async def _publish(staged: Staged, facts: ImageFacts, target: DistributeTarget) -> Artifact:
    directory, store = staged.host.settings.image_store, staged.host.store
    match target:
        case ManagedImageTarget():
            return await to_the_end(
                managed_image.publish,
                directory,
                store,
                facts,
                image_id=target.image_id,
                location=target.location,
                tags=target.artifact_tags,
            )
        case SharedImageTarget():
            return await to_the_end(gallery.publish, directory, store, facts, _gallery_target(target))
        case VhdTarget():
            file = await off_loop(vhd_file, staged, target)
            artifact_id = f"/staging/{staged.group.name}/vhds/{file.name}"
            return await vhd_image.publish(
                file, store, facts, artifact_id=artifact_id, tags=target.artifact_tags, share=sharing(staged, "vhd")
            )


def _gallery_target(target: SharedImageTarget) -> GalleryTarget:
    versioning = target.versioning
    return GalleryTarget(
        gallery_image_id=target.gallery_image_id,
        scheme="Latest" if versioning is None else versioning.scheme,
        major=versioning.major if isinstance(versioning, LatestVersioning) else -1,
        regions=tuple(
            Region(region.name, region.replica_count, str(region.storage_account_type)) for region in target.regions
        ),
        exclude_from_latest=target.exclude_from_latest,
        replication_mode=str(target.replication_mode),
        tags=target.artifact_tags,
    )


def vhd_file(staged: Staged, target: VhdTarget) -> Path:
    """Where a VHD goes: a file in the storage account's `vhds`, named after the run output and the time.

    A `uri` gives the file its name; its host is not written to, for the account is here. Blobs of one name in several
    containers or accounts are told from each other by their outputs.
    """
    output = target.run_output_name.lower()
    named = output if output[0].isalnum() else f"vhd{output}"
    if not target.uri:
        stem = f"{named}_{utc_now():%Y%m%d%H%M%S}"
    else:
        stem = blob_name(target.uri)
        targets = staged.request.template.properties.distribute
        if sum(isinstance(one, VhdTarget) and blob_name(one.uri) == stem for one in targets) > 1:
            stem = f"{stem}_{named}"
    return staged.group.storage_account.blob(f"{VHDS}/{stem}.vhd")
