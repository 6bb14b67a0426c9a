"""Distributing: the disk is flattened once and published to each target; each target has its own run output.

*Leaves behind:* the images. *Undone by:* `vmkiln image delete`; a target that failed or was cancelled leaves nothing.
*Safe to repeat:* under another run's id.
Source: AIB reference 2.5, 2.7 and 3.6.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmkiln.errors import DistributionFailed, VmkilnError
from vmkiln.host.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images import gallery, managed_image, vhd_image
from vmkiln.images.gallery import GalleryTarget, Region
from vmkiln.images.image_store import Artifact, ImageFacts, safe_name, sealed, to_the_end
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice
from vmkiln.staging.storage_account import VHDS
from vmkiln.store.database import utc_now
from vmkiln.store.rows import RunOutputRow
from vmkiln.template.distribute_target import (
    DistributeTarget,
    LatestVersioning,
    ManagedImageTarget,
    SharedImageTarget,
    VhdTarget,
)


async def flatten(staged: Staged, disk: Disk) -> ImageFacts:
    """Write the disk with its chain into one qcow2 file beside the image store; needed once for all targets."""
    flat = staged.directory / "flat.qcow2"
    await convert(disk, flat, target_format="qcow2")
    digest = await sealed(flat)
    return ImageFacts(
        flat=flat,
        digest=digest,
        virtual_size_bytes=staged.shape.disk_bytes,
        generation=staged.source.generation,
        os_type=staged.source.os_type,
        source_version=staged.source.exact_version,
        run_id=staged.request.run_id,
    )


async def distribute(staged: Staged, disk: Disk) -> list[RunOutputRow]:
    """Publish to every target, also when one of them fails; returns the run outputs.

    Raises: `DistributionFailed` naming each target that failed, when all did; with some it is told by the outputs.
    """
    targets = staged.request.template.properties.distribute
    run_id = staged.request.run_id
    for target in targets:
        staged.host.store.put_run_output(RunOutputRow(run_id, target.run_output_name, "", "", "Creating", ""))
    facts = await flatten(staged, disk)
    outputs = []
    for target in targets:
        name = target.run_output_name
        try:
            artifact = await _publish(staged, facts, target)
            row = RunOutputRow(run_id, name, artifact.artifact_id, artifact.artifact_uri, "Succeeded", "")
            staged.tell(Notice(f"{name}: {artifact.artifact_id or artifact.artifact_uri}"))
        except (VmkilnError, OSError) as error:
            row = RunOutputRow(run_id, name, "", "", "Failed", str(error))
            staged.tell(Notice(f"{name}: {error}", is_warning=True))
        staged.host.store.put_run_output(row)
        outputs.append(row)
    failed = [row for row in outputs if row.state == "Failed"]
    if len(failed) == len(outputs) and failed:
        text = "; ".join(f"{row.name}: {row.message}" for row in failed)
        raise DistributionFailed(f"Failed in distributing {len(failed)} images out of total {len(outputs)}: {text}")
    return outputs


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
            file = vhd_file(staged, target)
            artifact_id = f"/staging/{staged.group.name}/vhds/{file.name}"
            return await vhd_image.publish(file, store, facts, artifact_id=artifact_id, tags=target.artifact_tags)


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

    A `uri` gives the file its name; its host is not written to, for the account is here.
    """
    if target.uri:
        name = unquote(urlsplit(target.uri).path).rsplit("/", 1)[-1]
        stem = safe_name(name.removesuffix(".vhd"))
    else:
        stem = f"{safe_name(target.run_output_name)}_{utc_now():%Y%m%d%H%M%S}"
    return staged.group.storage_account.blob(f"{VHDS}/{stem}.vhd")
