"""What does not go with the images that are kept here: targets that are taken or of another kind, too small a disk.

Source: docs/reference/image-template.md#distribute-targets; docs/reference/behaviour.md#distributing.
"""

from collections.abc import Iterator

from vmkiln.buildable.architecture import architecture_problem
from vmkiln.buildable.known_source import KnownSource, known_source
from vmkiln.errors import CodedMistake, ImageConflict, Mistake, OtherImageKind
from vmkiln.images import gallery, managed_image
from vmkiln.images.data_disk import MOST_DATA_DISKS
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.template.distribute_target import (
    BAD_SHARED_IMAGE,
    ManagedImageTarget,
    SharedImageTarget,
    SourceVersioning,
)
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.vm_profile import VmProfile

TAKEN = "Conflict"
GIB = 1024**3


def kept_problems(settings: Settings, store: Store | None, template: ImageTemplate) -> Iterator[Mistake]:
    """What a build would refuse for what is kept here: of the source's size, of what is published."""
    source = known_source(settings, store, template.properties.source)
    if source is not None and (wrong := architecture_problem(template.properties.vm_profile, source.architecture)):
        yield wrong
    if source is not None and source.virtual_size_bytes is not None:
        yield from size_problems(template.properties.vm_profile, source.virtual_size_bytes)
    if source is not None and source.data_disk_count:
        yield from data_disk_problems(template, source.data_disk_count)
    if store is not None:
        yield from target_problems(store, template, source)


def data_disk_problems(template: ImageTemplate, of_source: int) -> Iterator[Mistake]:
    """More data disks than a VM can have, with those of the source; pure."""
    count = of_source + len(template.properties.additional_data_disks)
    if count > MOST_DATA_DISKS:
        message = f"with the {of_source} of the source the VM has {count} data disks, of at most {MOST_DATA_DISKS}"
        yield Mistake("properties.additionalDataDisks", message)


def size_problems(profile: VmProfile, source_bytes: int) -> Iterator[Mistake]:
    """A disk that is asked for smaller than the source; pure (docs/reference/image-template.md#vm-profile)."""
    wanted = profile.os_disk_size_gb
    if wanted and wanted * GIB < source_bytes:
        message = f"{wanted} GB is smaller than the source image ({source_bytes / GIB:.1f} GB)"
        yield Mistake("properties.vmProfile.osDiskSizeGB", message, "0, or a size at least as large as the source")


def target_problems(
    store: Store, template: ImageTemplate, source: KnownSource | None, *, run_id: str = ""
) -> Iterator[Mistake]:
    """Every target that could not be published to now; without a known source, as far as it can be said.

    What the run `run_id` has published itself, in an earlier attempt, is not in its way.
    """
    for index, target in enumerate(template.properties.distribute):
        where = f"properties.distribute[{index}]"
        match target:
            case SharedImageTarget():
                yield from _shared_image(store, f"{where}.galleryImageId", target, source, run_id)
            case ManagedImageTarget(image_id=image_id, location=location):
                try:
                    managed_image.check_fits(store, image_id, location=location)
                except ImageConflict as error:
                    yield CodedMistake(f"{where}.location", error.message, error.hint, code=TAKEN)


def _shared_image(
    store: Store, where: str, target: SharedImageTarget, source: KnownSource | None, run_id: str
) -> Iterator[Mistake]:
    definition, _ = gallery.split_id(target.gallery_image_id)
    if source is not None:
        image = (source.os_type, source.generation, source.architecture)
        other = gallery.other_kind(store, definition, image)
        if other is not None:
            problem = OtherImageKind(definition, has=other, image=image)
            yield CodedMistake(where, problem.message, problem.hint, code=BAD_SHARED_IMAGE)
    version = target.explicit_version or ""
    if not version and isinstance(target.versioning, SourceVersioning) and source is not None and source.exact_version:
        try:
            version = gallery.version_text(gallery.source_version(source.exact_version))
        except ImageConflict as error:
            yield CodedMistake(where, error.message, error.hint, code=BAD_SHARED_IMAGE)
    if version:
        image_id = f"{definition}/versions/{version}"
        taken = store.images.find(image_id)
        if taken is not None and (not run_id or taken.run_id != run_id):
            hint = "name another version, or leave it out of the id to have the next one"
            yield CodedMistake(where, f"the image version {image_id} exists already", hint, code=TAKEN)
