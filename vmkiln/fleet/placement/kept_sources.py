"""What this host keeps that a run starts from: source images, and checkpoints of its template.

A run goes where that is, if it can. A platform image is named by publisher, offer and SKU where the cache would be used
for `latest`, and with its version besides. An image of the user's is named by its folder, which is the same on every
host. Checkpoints have one name for each template, which tells nothing of it. Where templates of a resource group may
share them, they have another for group and source: a template may borrow those that began from its own source. That a
host keeps something is a preference and no promise: it may be gone when the run begins, and is had anew then.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from vmkiln.buildable.stored_source import stored_image
from vmkiln.errors import VmkilnError
from vmkiln.host.saved import saved_vm
from vmkiln.platform_images.image_cache import cached_images
from vmkiln.platform_images.image_reference import reference_of
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.template.source import ManagedImageSource, PlatformImageSource, SharedImageVersionSource, Source
from vmkiln.waiting.off_loop import in_round
from vmkiln.warm import checkpoint

MOST_KEPT = 500  # sources that a host tells of; of more of the user's images, those that came last
MOST_NAME_LETTERS = 200
KEPT_SECONDS = 30.0  # between two looks at what is kept
CHECKPOINTS = "checkpoints:"  # what their name begins with, which no source's does


def source_name(store: Store, source: Source | None) -> str:
    """What the source of a template is called here; '' where no image of that name is on record."""
    if isinstance(source, PlatformImageSource):
        reference = reference_of(source)
        return _short(reference.name if reference.is_latest else f"{reference.name}:{reference.version.lower()}")
    if isinstance(source, ManagedImageSource | SharedImageVersionSource):
        with contextlib.suppress(VmkilnError):  # which the run finds out, and says
            return _short(stored_image(store, source).path.parent.name)
    return ""


def checkpoints_name(template_id: str) -> str:
    """What the checkpoints of an image template are called here; pure."""
    scope = checkpoint.scope_of(template_id=template_id, resource_group="", name="")
    return CHECKPOINTS + hashlib.sha256(scope.encode()).hexdigest()


def lent_name(template_id: str, source: str) -> str:
    """What those are called here that a template may borrow, by the name of its source; '' without one; pure."""
    return _lent_name(checkpoint.scope_of(template_id=template_id, resource_group="", name=""), source)


def _lent_name(scope: str, source: str) -> str:
    group = checkpoint.group_of(scope)
    return CHECKPOINTS + hashlib.sha256(f"{group}\n{source}".encode()).hexdigest() if group and source else ""


def kept_here(settings: Settings, *, now: datetime | None = None) -> dict[str, bool]:
    """The sources that this host keeps, each with whether a booted VM of it is saved too; and checkpoints."""
    now = now or datetime.now(UTC)
    booted = saved_vm.sources_of(settings.saved_vms)
    found: dict[str, bool] = {}
    named: dict[str, list[str]] = {}
    for image in cached_images(settings.image_cache):
        if not image.path.is_file():
            continue
        is_fresh = image.is_newest and image.age_days(now) <= settings.platform_image_most_age_days
        names = [f"{image.name}:{image.exact_version.lower()}"]
        names += [image.name] if is_fresh or image.is_imported else []
        for name in names:
            found.setdefault(_short(name), image.digest in booted)
            named.setdefault(image.digest, []).append(_short(name))
    for one in checkpoint.all_of(settings.saved_vms):
        is_fresh = one.age_seconds(now.timestamp()) <= checkpoint.KEPT_SECONDS
        if is_fresh and one.about.scope.startswith(checkpoint.OF_TEMPLATES):
            found.setdefault(checkpoints_name(one.about.scope.removeprefix(checkpoint.OF_TEMPLATES)), True)
            if settings.share_checkpoints:
                for name in named.get(one.source, ()):
                    if lent := _lent_name(one.about.scope, name):
                        found.setdefault(lent, True)
    for folder in _newest_first(settings.image_store):
        found.setdefault(_short(folder.name), False)
    return dict(list(found.items())[:MOST_KEPT])


def _newest_first(directory: Path) -> list[Path]:
    dated = []
    with contextlib.suppress(FileNotFoundError):
        for folder in directory.iterdir():
            with contextlib.suppress(OSError):  # deleted meanwhile
                if not folder.name.startswith("."):
                    dated.append((folder.stat().st_mtime, folder))
    return [folder for _, folder in sorted(dated, reverse=True)]


def _short(name: str) -> str:
    """A name as the database keeps it; one that is too long by its digest. Pure."""
    return name if len(name) <= MOST_NAME_LETTERS else hashlib.sha256(name.encode()).hexdigest()


class KeptHere:
    """Tells the others what the host of `incarnation` keeps, whenever that has changed."""

    def __init__(self, settings: Settings, store: Store, incarnation: str) -> None:
        self._settings = settings
        self._store = store
        self._incarnation = incarnation
        self._told: Mapping[str, bool] = {}

    async def look(self) -> None:
        """Look at what is kept, and record it when it is not what was told last."""
        await in_round(self._look)

    def _look(self) -> None:
        found = kept_here(self._settings)
        if found != self._told:
            self._store.kept.record(self._incarnation, found)
            self._told = found
