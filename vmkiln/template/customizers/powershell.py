"""`PowerShell`: run a script or a list of commands in a Windows build VM.

Source: docs/reference/image-template.md#customizers; docs/reference/behaviour.md#customizing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake
from vmkiln.template.customizers.shell import Script


class PowerShellCustomizer(Script):
    """A PowerShell step; an exit code outside `valid_exit_codes` fails the build."""

    since = {"runAsSystem": "2021-10-01"}  # noqa: RUF012 (never changed)
    type: Literal["PowerShell"]
    run_elevated: bool = False
    run_as_system: bool = False
    valid_exit_codes: tuple[int, ...] = (0,)

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """The rules of scripts; runAsSystem needs runElevated."""
        yield from super().mistakes_in(body, path)
        if body.get("runAsSystem") is True and body.get("runElevated") is not True:
            yield Mistake(member_path(path, "runAsSystem"), "may be true only if `runElevated` is true")
