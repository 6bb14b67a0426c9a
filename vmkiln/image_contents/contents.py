"""What is in an image: its system, packages, users, units and disks, read from outside and kept with the image.

Every name in it was chosen by a guest, and is shown harmless.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vmkiln.image_contents.dpkg_status import Package

FORM = 1  # of the kept JSON
KINDS: Mapping[str, type] = {
    "system": dict, "packages": list, "users": dict, "units": list, "disks": list, "volumes": list, "unproven": list,
    "packaging": str,
}  # fmt: skip


@dataclass(frozen=True)
class ImageContents:
    """What is in an image.

    `system` has `id`, `version`, `name` and `codename` of os-release; `users` are names with their ids; `units` are the
    systemd units that are enabled, services among them. `disks` have serial, size (bytes) and partition table;
    `volumes` device, file system, size and used (bytes). `unproven` says what could not be read: packages, files.
    `packaging` is the kind of the packages, as package URLs name it: `deb` or `rpm`. `listening` has the enabled socket
    units with what they listen on, and is none where an older release looked. `boot_seconds` is how long the image took
    to boot until somebody had logged in, on the host that built it; none where nothing booted it.
    """

    system: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[Package, ...] = ()
    users: Mapping[str, int] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    disks: tuple[Mapping[str, Any], ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    unproven: tuple[str, ...] = ()
    packaging: str = "deb"
    listening: Mapping[str, str] | None = None
    boot_seconds: float | None = None

    @property
    def text(self) -> str:
        """As it is kept: JSON."""
        return json.dumps({"form": FORM, **asdict(self)}, separators=(",", ":"))


def read_contents(text: str) -> ImageContents:
    """What was kept with an image; what a newer release added is left out.

    Raises: `ValueError` or `TypeError` for what is none.
    """
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("what is kept of an image is no JSON object")
    for name, kind in KINDS.items():
        if not isinstance(told.get(name, kind()), kind):
            raise ValueError(f"what is kept of an image has another `{name}`")
    known = {name: value for name, value in told.items() if name in ImageContents.__dataclass_fields__}
    packages = tuple(Package(**package) for package in known.pop("packages", ()))
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return ImageContents(**{**known, **lists, "packages": packages})
