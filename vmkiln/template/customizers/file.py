"""`File`: copy one file into the build VM.

Source: docs/reference/image-template.md#customizers; docs/reference/behaviour.md#customizing. That a destination is
absolute, and under /tmp on Linux until a Shell step may have made other folders writable, is checked where the
operating system is known.
"""

import ntpath
import posixpath
from typing import Literal

from vmkiln.template.part import NonEmpty, Part, ScriptAddress, Sha256Checksum
from vmkiln.template.source import OsType


class FileCustomizer(Part):
    """A File step: `source_uri` is one file, `destination` the absolute path of one file, in an existing folder."""

    type: Literal["File"]
    name: str = ""
    source_uri: ScriptAddress
    sha256_checksum: Sha256Checksum = ""
    destination: NonEmpty


def destination_mistake(destination: str, os_type: OsType | None, *, is_after_shell: bool = False) -> str | None:
    """What is wrong with a destination on that operating system, or None.

    An earlier Shell step, which may `sudo`, can have made any folder one that the build's user may write to.
    """
    if "{{" in destination:
        return f"`{destination}` holds `{{{{`, which Packer would interpret; allowed is any other name"
    is_posix = destination.startswith("/")
    is_windows = bool(ntpath.splitdrive(destination)[0]) or destination.startswith(("\\", "%", "$env:"))
    if os_type is OsType.LINUX or (os_type is None and is_posix):
        if not is_posix:
            return f"`{destination}` is not absolute; allowed is the path of a file under /tmp"
        if destination.endswith("/"):
            return f"`{destination}` is a folder; allowed is the path of a file, under /tmp"
        if not posixpath.normpath(destination).startswith("/tmp/") and not is_after_shell:  # noqa: S108
            return (
                f"`{destination}` is not the path of a file under /tmp, the only folder a Linux build VM takes files "
                "in unless an earlier Shell step makes another one writable"
            )
        return None
    if not (is_windows or is_posix):
        return f"`{destination}` is not absolute; allowed is a path such as `c:\\\\folder\\\\file.txt`"
    return None
