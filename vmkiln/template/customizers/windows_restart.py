"""`WindowsRestart`: restart a Windows build VM and wait until it is back.

Source: docs/reference/image-template.md#customizers. A timeout is a number and a unit, as Go writes durations: `5m`,
`2h`, `1h30m`.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from vmkiln.template.part import Part, refusal

LONGEST_DURATION = 100  # letters
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def duration_seconds(text: str) -> float | None:
    """The seconds that a duration such as `1h30m` lasts; None if it is not one."""
    if len(text) > LONGEST_DURATION:  # looked through again from each of its digits
        return None
    pieces = _PIECE.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in pieces)


def _check_duration(text: str) -> str:
    if not duration_seconds(text):
        raise refusal(
            f"`{text[:LONGEST_DURATION]}` is not a duration",
            "write a number above zero and a unit, such as `5m` or `2h`",
        )
    return text


class WindowsRestartCustomizer(Part):
    """A WindowsRestart step."""

    type: Literal["WindowsRestart"]
    name: str = ""
    restart_command: str = 'shutdown /r /f /t 0 /c "packer restart"'
    restart_check_command: str = ""
    restart_timeout: Annotated[str, AfterValidator(_check_duration)] = "5m"
