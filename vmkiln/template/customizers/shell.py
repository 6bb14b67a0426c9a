"""`Shell`: run a script or a list of commands in a Linux build VM, as an unprivileged user who may use sudo.

Source: docs/reference/image-template.md#customizers; docs/reference/behaviour.md#customizing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake
from vmkiln.template.part import Part, ScriptAddress, Sha256Checksum


class Script(Part):
    """What Shell and PowerShell share: either `script_uri` or `inline`, and the script's checksum."""

    preview_names = {"script": "scriptUri"}  # noqa: RUF012 (never changed)
    name: str = ""
    script_uri: ScriptAddress = ""
    inline: tuple[str, ...] = ()
    sha256_checksum: Sha256Checksum = ""

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """Exactly one of scriptUri and inline; a checksum only for a script."""
        has_script, has_inline = bool(body.get("scriptUri")), bool(body.get("inline"))
        where = member_path(path, "scriptUri")
        if has_script and has_inline:
            yield Mistake(where, "is given together with `inline`; allowed is exactly one of the two")
        elif not has_script and not has_inline:
            yield Mistake(where, "is missing, and so is `inline`; exactly one of the two is needed")
        if body.get("sha256Checksum") and has_inline and not has_script:
            yield Mistake(member_path(path, "sha256Checksum"), "is allowed only together with `scriptUri`")


class ShellCustomizer(Script):
    """A Shell step."""

    type: Literal["Shell"]
