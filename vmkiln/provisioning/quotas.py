"""What one subscription may have at once, so that it leaves room for the others.

Looked at when a run is to wait: the images that others of the subscription's runs are about to publish are not counted
yet, so that a few more may be kept than the quota says.
Source: the words are those of Azure's compute quotas ("QuotaExceeded").
"""

from collections import Counter

from vmkiln.run_failures import QuotaExceeded
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.distribute_target import ManagedImageTarget, SharedImageTarget
from vmkiln.template.image_template import ImageTemplate


def check_run(settings: Settings, store: Store, row: ResourceRow, template: ImageTemplate) -> None:
    """One more run of a template may wait, and its images may be kept. Raises: `QuotaExceeded`."""
    _check("WaitingRuns", settings.most_waiting_runs, store.queue.count_of(row.subscription_id), 1, row.location)
    for subscription, count in _images_of(template).items():
        check_image(settings, store, subscription, row.location, count=count)


def check_image(settings: Settings, store: Store, subscription_id: str, location: str, *, count: int = 1) -> None:
    """So many images more may be kept in a subscription. Raises: `QuotaExceeded`."""
    _check("Images", settings.most_images, store.images.count_of(subscription_id), count, location)


def _images_of(template: ImageTemplate) -> Counter[str]:
    """How many images a run publishes to each subscription; pure. An image that it replaces is counted all the same."""
    found: Counter[str] = Counter()
    for target in template.properties.distribute:
        match target:
            case ManagedImageTarget(image_id=resource_id) | SharedImageTarget(gallery_image_id=resource_id):
                found[resource_id.split("/")[2].lower()] += 1
    return found


def _check(name: str, most: int, there: int, wanted: int, location: str) -> None:
    if there + wanted > most:
        raise QuotaExceeded(
            f"Operation could not be completed as it results in exceeding approved {name} quota. Additional details - "
            f"Location: {location}, Current Limit: {most}, Current Usage: {there}, Additional Required: {wanted}, "
            f"(Minimum) New Limit Required: {there + wanted}",
            hint="wait for runs to end" if name == "WaitingRuns" else "delete images that are not used any more",
        )
