"""What keeps a template from being built here, found before anything is started: the one place for it.

`validate`, `plan` and `build` ask `examine`. The service asks `template_problems` when a run is asked for, and finds
the rest when a template is submitted. A check that needs the template alone belongs to `template_problems`; one that
looks at files, the catalogue or the images kept here belongs to `_surrounding_problems`. What takes long to import is
imported where it is needed, so that a simple template is checked at once.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vmkiln.azure_names import Architecture
from vmkiln.buildable import kept_images
from vmkiln.buildable.architecture import architecture_problem
from vmkiln.buildable.egress_choice import tag_mistakes
from vmkiln.buildable.locations import location_mistakes, own_locations
from vmkiln.buildable.release_demands import BOOT_TAG, leaves_out_boot, release_mistakes
from vmkiln.buildable.source_system import arm64_source, size_mistakes, step_mistakes, windows_warnings
from vmkiln.buildable.start_tags import start_tag_mistakes
from vmkiln.errors import CodedMistake, DownloadFailed, ImageNotFound, InputError, Mistake, mistake_lines
from vmkiln.images.data_disk import LARGEST_DATA_DISK_GB, MOST_DATA_DISKS
from vmkiln.inspecting.residue import residue_tag_mistakes
from vmkiln.platform_images.catalogue import read_catalogue
from vmkiln.platform_images.catalogue_entry import CatalogueEntry, name_of, os_type_of
from vmkiln.settings import Settings
from vmkiln.staging.local_files import LocalFiles, head_of, is_local, local_path, oddity_of, opened, refusal_of
from vmkiln.template.image_template import MOST_SCRIPTS, DataDisk, ImageTemplate, OnOff
from vmkiln.template.resource_id import parse_resource_id
from vmkiln.template.source import IsoSource, ManagedImageSource, OsType, PlatformImageSource, SharedImageVersionSource
from vmkiln.windows.login_tag import login_tag_mistakes
from vmkiln.windows.proven import UNPROVEN

if TYPE_CHECKING:
    from vmkiln.staging.user_network import UserVirtualNetwork
    from vmkiln.store.database import Store

SOURCE = "properties.source"
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Surroundings:
    """What a build finds here. `opened_store` opens the database for reading; it gives None when there is none yet.

    `ask_publisher` asks the publisher of a platform image for an exact version that is not in the cache; it raises
    `ImageNotFound` or `DownloadFailed`. `ask_emulated` says why VMs are emulated on this machine, as far as that is
    known without booting one; '' is for no reason.
    """

    settings: Settings
    local_files: LocalFiles
    opened_store: "Callable[[], AbstractContextManager[Store | None]]"
    template_name: str
    resource_group: str
    virtual_networks: "Mapping[str, UserVirtualNetwork]" = field(default_factory=dict)
    ask_publisher: Callable[[PlatformImageSource], None] = lambda _source: None
    ask_emulated: Callable[[], str] = lambda: ""
    is_store_open: bool = False  # then nothing is won by a look beside it, which leaves a file open as long as it is


@dataclass(frozen=True)
class Verdict:
    """Why a template cannot be built here, each with its place, and what is only odd."""

    problems: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()
    needs_permission: tuple[Mistake, ...] = ()  # local files that were not allowed: `build` refuses, others only tell


class NotBuildable(InputError):
    """A template without a mistake that cannot be built here; `problems` says why.

    `code` is Azure's word for the first of them that has one.
    """

    code = "UnsupportedTemplate"

    def __init__(self, problems: tuple[Mistake, ...]) -> None:
        self.problems = self.mistakes = problems
        coded = (problem.code for problem in problems if isinstance(problem, CodedMistake) and problem.code)
        self.code = next(coded, NotBuildable.code)
        super().__init__(self._text(), hint="`vmkiln plan` shows it all the same")

    def _text(self) -> str:
        return f"this template cannot be built here:\n{mistake_lines(self.problems)}"

    def mask(self, mask: Callable[[str], str]) -> None:
        """The same for its mistakes, of which programs are told one by one."""
        self.problems = self.mistakes = tuple(one.masked(mask) for one in self.problems)
        self.message = self._text()
        super().mask(mask)


def examine(template: ImageTemplate, surroundings: Surroundings) -> Verdict:
    """Everything that `build` would refuse, and what it would warn of; starts and writes nothing."""
    problems = [*template_problems(template, surroundings.virtual_networks)]
    warnings = [*template_warnings(template, surroundings.settings), *_source_warnings(template, surroundings.settings)]
    needed: list[Mistake] = []
    for path, uri, checksum in ((item.path, item.uri, item.sha256_checksum) for item in template.scripts):
        if not is_local(uri):
            continue
        if not surroundings.local_files.is_allowed:
            needed.append(Mistake(path, f"`{uri}` is a local file; {surroundings.local_files.advice}"))
        if reason := refusal_of(uri, surroundings.local_files):
            problems.append(Mistake(path, reason))
        elif surroundings.local_files.is_allowed:
            problems += _checksum_problems(path, uri, checksum, surroundings.local_files)
            warnings += _odd_script(path, uri, surroundings.local_files)
    problems += _surrounding_problems(template, surroundings)
    os_type, architecture = _kind_of_source(template, surroundings)
    if os_type is not None:
        problems += step_mistakes(template, os_type)
    problems += release_mistakes(template, surroundings.settings, os_type)
    if os_type is OsType.WINDOWS:
        problems += [arm64_source()] if architecture == Architecture.ARM64 else []
        problems += size_mistakes(template.properties.vm_profile)
        warnings += [_unproven(), *windows_warnings(template.properties.vm_profile, surroundings.ask_emulated())]
    return Verdict(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(warnings)), tuple(needed))


def check_examined(template: ImageTemplate, surroundings: Surroundings) -> tuple[str, ...]:
    """The warnings about a template that can be built. Raises: `NotBuildable` with every problem."""
    verdict = examine(template, surroundings)
    if problems := (*verdict.problems, *verdict.needs_permission):
        raise NotBuildable(problems)
    return verdict.warnings


def check_buildable(
    template: ImageTemplate, virtual_networks: "Mapping[str, UserVirtualNetwork] | None" = None
) -> None:
    """Refuse what no build can do, by the template alone; `virtual_networks` are the user's. Raises: `NotBuildable`."""
    if problems := tuple(template_problems(template, virtual_networks or {})):
        raise NotBuildable(problems)


def template_problems(
    template: ImageTemplate, virtual_networks: "Mapping[str, UserVirtualNetwork]"
) -> Iterator[Mistake]:
    """What is seen in the template alone, and in the virtual networks that it names."""
    properties = template.properties
    if isinstance(properties.source, IsoSource):
        yield no_iso()
    yield from tag_mistakes(template.tags)
    yield from residue_tag_mistakes(template.tags)
    yield from login_tag_mistakes(template.tags)
    yield from start_tag_mistakes(template)
    if len(template.scripts) > MOST_SCRIPTS:
        first = template.scripts[MOST_SCRIPTS]
        message = f"is number {MOST_SCRIPTS + 1} of {len(template.scripts)} scripts and files that are copied"
        yield Mistake(first.path, message, f"at most {MOST_SCRIPTS} are copied; name an archive of them")
    if properties.vm_profile.vnet_config.subnet_id:
        yield from _subnet_mistakes(template, virtual_networks)
    yield from _data_disk_mistakes(properties.additional_data_disks)
    if template.os_type is OsType.WINDOWS:
        yield from size_mistakes(properties.vm_profile)


def _data_disk_mistakes(disks: Sequence[DataDisk]) -> Iterator[Mistake]:
    where = "properties.additionalDataDisks"
    if len(disks) > MOST_DATA_DISKS:
        yield Mistake(where, f"asks for {len(disks)} data disks, and a VM has at most {MOST_DATA_DISKS}")
    for index, disk in enumerate(disks):
        if not 1 <= disk.size_gb <= LARGEST_DATA_DISK_GB:
            yield Mistake(
                f"{where}[{index}].sizeGB", f"must be from 1 to {LARGEST_DATA_DISK_GB} GB, not {disk.size_gb}"
            )


def _subnet_mistakes(
    template: ImageTemplate, virtual_networks: "Mapping[str, UserVirtualNetwork]"
) -> Iterator[Mistake]:
    from vmkiln.staging import topology, virtual_network  # noqa: PLC0415 (imports what makes networks)

    port = virtual_network.service_port(is_windows=template.os_type is OsType.WINDOWS)
    config = template.properties.vm_profile.vnet_config
    for text in topology.subnet_problems(config, virtual_networks, service_port=port):
        yield Mistake("properties.vmProfile.vnetConfig", text)


def no_iso() -> Mistake:
    """Why an installation disc is refused."""
    message = (
        "a source of type ISO cannot be built here: an installation disc needs an installer's answers, "
        "which no template has"
    )
    return Mistake(SOURCE, message, "name a PlatformImage, a ManagedImage or a SharedImageVersion")


def template_warnings(template: ImageTemplate, settings: Settings) -> Iterator[str]:
    """What Azure does and a build here does without (docs/template-files.md#optimizations)."""
    optimize = template.properties.optimize
    if optimize.vm_boot.state is OnOff.ENABLED and template.os_type is OsType.WINDOWS:
        yield (
            "properties.optimize.vmBoot: a Windows image is built without this optimization; its content is the same, "
            "and its VMs start no faster"
        )
    elif optimize.vm_boot.state is OnOff.ENABLED and not settings.optimize_boot:
        yield (
            "properties.optimize.vmBoot: the image is built without this optimization, for the setting optimize_boot "
            "is off; its content is the same, and its VMs start no faster"
        )
    elif optimize.vm_boot.state is OnOff.ENABLED and leaves_out_boot(template.tags):
        yield (
            f"properties.optimize.vmBoot: the image is built without this optimization, for the tag {BOOT_TAG} says "
            "that nobody can log in to it, so no boot of it can be measured"
        )
    if optimize.workload.state is OnOff.ENABLED:
        script = "; its script is fetched and not run" if optimize.workload.script_uri else ""
        yield f"properties.optimize.workload: the image is built without this optimization{script}"


def _unproven() -> str:
    return f"{SOURCE}: {UNPROVEN}"


def _checksum_problems(path: str, uri: str, checksum: str, local_files: LocalFiles) -> Iterator[Mistake]:
    if not checksum:
        return
    digest = hashlib.sha256()
    try:
        with opened(local_path(uri, local_files)) as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        yield Mistake(path, f"reading `{uri}` failed: {error.strerror}")
        return
    if digest.hexdigest() != checksum.lower():
        yield Mistake(path, f"{uri} has SHA-256 {digest.hexdigest()}, but the template says {checksum}")


def _odd_script(path: str, uri: str, local_files: LocalFiles) -> Iterator[str]:
    if path.endswith("scriptUri"):
        with contextlib.suppress(OSError):  # which is a problem already
            if oddity := oddity_of(head_of(local_path(uri, local_files))):
                yield f"{path}: `{uri}` {oddity}"


def _surrounding_problems(template: ImageTemplate, surroundings: Surroundings) -> Iterator[Mistake]:
    """What only this machine can tell: whether the source is there, or can be had; whose the staging group is."""
    yield from location_mistakes(template, lambda: _own_locations(surroundings))
    source, own_group = template.properties.source, template.properties.staging_resource_group
    if own_group:
        with surroundings.opened_store() as store:
            yield from _staging_problems(own_group, surroundings, store)
    match source:
        case PlatformImageSource():
            yield from _platform_image_problems(source, surroundings)
        case ManagedImageSource() | SharedImageVersionSource():
            with surroundings.opened_store() as store:
                yield from _stored_source_problems(source, store)
    if isinstance(source, PlatformImageSource):
        with contextlib.suppress(ImageNotFound):  # which is a problem already
            entry = _entry_of(source, surroundings.settings)
            if wrong := architecture_problem(template.properties.vm_profile, entry.architecture):
                yield wrong
    if surroundings.is_store_open or kept_images.may_matter(surroundings.settings, template):
        from vmkiln.buildable.targets import kept_problems  # noqa: PLC0415 (imports the database)

        with surroundings.opened_store() as store:
            yield from kept_problems(surroundings.settings, store, template)


def _own_locations(surroundings: Surroundings) -> set[str]:
    with surroundings.opened_store() as store:
        hosts = () if store is None else store.hosts.live()
    return own_locations(surroundings.settings, [host.region for host in hosts])


def _entry_of(source: PlatformImageSource, settings: Settings) -> CatalogueEntry:
    """What the catalogue says of a source; reads only the texts that name its publisher. Raises: `ImageNotFound`."""
    catalogue = read_catalogue(settings.catalogue, publisher=source.publisher)
    return catalogue.find(source.publisher, source.offer, source.sku)


def _kind_of_source(template: ImageTemplate, surroundings: Surroundings) -> tuple[OsType | None, str]:
    """The system and the architecture of the source as it is here; as far as the template tells when it is not."""
    source = template.properties.source
    with contextlib.suppress(ImageNotFound):  # which is a problem already
        if isinstance(source, PlatformImageSource):
            entry = _entry_of(source, surroundings.settings)
            return OsType(os_type_of(entry)), entry.architecture
        if isinstance(source, ManagedImageSource | SharedImageVersionSource):
            with surroundings.opened_store() as store:
                if store is not None:
                    from vmkiln.buildable.stored_source import stored_image  # noqa: PLC0415 (imports the database)
                    from vmkiln.images.image_store import architecture_of  # noqa: PLC0415 (as above)

                    image = stored_image(store, source)
                    return OsType(image.os_type), architecture_of(image)
    return template.os_type, ""


def _staging_problems(group_id: str, surroundings: Surroundings, store: "Store | None") -> Iterator[Mistake]:
    from vmkiln.staging import staging_resource_group  # noqa: PLC0415 (imports the database)

    if store is None:
        return
    tags = staging_resource_group.group_tags(
        template_name=surroundings.template_name,
        resource_group=surroundings.resource_group,
        managed_resource_tags={},
    )
    if objection := staging_resource_group.objection_to(store, parse_resource_id(group_id).name, tags=tags):
        yield Mistake("properties.stagingResourceGroup", objection, "name another one, or leave it out")


def _source_warnings(template: ImageTemplate, settings: Settings) -> Iterator[str]:
    """What whoever builds from a platform image has to know of it."""
    source = template.properties.source
    if isinstance(source, PlatformImageSource):
        with contextlib.suppress(ImageNotFound):
            entry = _entry_of(source, settings)
            if entry.note:
                yield f"{SOURCE}: {name_of(entry)}: {entry.note}"


def _platform_image_problems(source: PlatformImageSource, surroundings: Surroundings) -> Iterator[Mistake]:
    settings = surroundings.settings
    is_simple = source.version.lower() == "latest" and source.plan_info is None
    if is_simple:
        with contextlib.suppress(ImageNotFound):
            _entry_of(source, settings)
            return
    from vmkiln.platform_images import image_reference, platform_image  # noqa: PLC0415 (import what makes images)

    try:
        platform_image.plan_platform_image(
            image_reference.reference_of(source),
            cache_directory=settings.image_cache,
            user_catalogue=settings.catalogue,
            most_age_days=settings.platform_image_most_age_days,
        )
        surroundings.ask_publisher(source)
    except (ImageNotFound, DownloadFailed) as error:
        yield Mistake(SOURCE, error.message, error.hint)


def _stored_source_problems(
    source: ManagedImageSource | SharedImageVersionSource, store: "Store | None"
) -> Iterator[Mistake]:
    hint = "`vmkiln image list` shows what there is"
    if store is None:
        is_managed = isinstance(source, ManagedImageSource)
        kind = "managed image" if is_managed else "image version"
        yield Mistake(SOURCE, f"there is no {kind} {source.resource_id}", hint)
        return
    from vmkiln.buildable.stored_source import stored_image  # noqa: PLC0415 (imports the database)

    try:
        stored_image(store, source)
    except ImageNotFound as error:
        yield Mistake(SOURCE, error.message, error.hint or hint)
