"""Whether there are images here that could matter to a template, seen without opening the store.

SQLAlchemy's import takes longer than all that `validate` does, and mostly nothing is in the way of a template.
"""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from vmkiln.settings import Settings
from vmkiln.template.distribute_target import VhdTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import PlatformImageSource

BUSY_SECONDS = 10.0
COUNT = "SELECT (SELECT count(*) FROM vmkiln_image) + (SELECT count(*) FROM vmkiln_image_definition)"


def may_matter(settings: Settings, template: ImageTemplate) -> bool:
    """Whether an image that is kept here may be in the way of a target, or too large for the disk."""
    properties = template.properties
    profile, is_platform_image = properties.vm_profile, isinstance(properties.source, PlatformImageSource)
    if profile.os_disk_size_gb and (not is_platform_image or settings.image_cache.exists()):
        return True
    if profile.vm_size and not is_platform_image:
        return True
    if all(isinstance(target, VhdTarget) for target in properties.distribute):
        return False
    return bool(settings.database_url) or has_images(settings.database)


def has_images(database: Path) -> bool:
    """Whether an SQLite database may have images or image definitions; one that cannot be read so may."""
    if not database.is_file():
        return False
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            (count,) = connection.execute(COUNT).fetchone()
            return bool(count)
    except sqlite3.Error:
        return True
