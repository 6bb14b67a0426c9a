"""What is in the image of a run, compared with the image before it, while nothing is published yet."""

from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.image_contents.difference import Difference, difference
from vmkiln.images import gallery
from vmkiln.inspecting.kept_contents import kept
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run.attesting import source_look
from vmkiln.run.run_context import Staged
from vmkiln.store.database import Store
from vmkiln.template.distribute_target import DistributeTarget, ManagedImageTarget, SharedImageTarget


def before(staged: Staged) -> tuple[str, ImageContents] | None:
    """The image to compare with, by its id: the one in whose place a target's comes, else the source; none is known."""
    store = staged.host.store
    targets = (_replaced(store, target) for target in staged.request.template.properties.distribute)
    for artifact_id in filter(None, targets):
        text = store.images.documents_of(artifact_id).get(CONTENTS)
        if text is not None:
            return artifact_id, read_contents(text)
    source = source_look.found(staged)
    return None if source is None else (staged.request.mask(staged.source.origin), source)


def compared(staged: Staged) -> tuple[str, Difference] | None:
    """What differs from the image before, with its id; none where nothing is known of one of the two."""
    now, old = kept(staged.directory), before(staged)
    return None if now is None or old is None else (old[0], difference(old[1], now))


def _replaced(store: Store, target: DistributeTarget) -> str:
    """The id of the image that a target has now; '' when it has none."""
    match target:
        case ManagedImageTarget():
            return target.image_id
        case SharedImageTarget():
            versions = gallery.versions_of(store, gallery.split_id(target.gallery_image_id)[0])
            newest = max(versions, key=lambda item: item[0], default=None)
            return newest[1].artifact_id if newest else ""
        case _:
            return ""
