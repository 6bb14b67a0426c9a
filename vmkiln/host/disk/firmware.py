"""Where the distribution keeps UEFI firmware for virtual machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FirmwareFiles:
    """UEFI code, read-only, and the empty variable store to copy for each VM; both of one flash size."""

    code: Path
    variables: Path


CANDIDATES = (
    FirmwareFiles(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    FirmwareFiles(Path("/usr/share/OVMF/OVMF_CODE.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd")),
    FirmwareFiles(Path("/usr/share/edk2/ovmf/OVMF_CODE.fd"), Path("/usr/share/edk2/ovmf/OVMF_VARS.fd")),
)


def find_firmware(candidates: Sequence[FirmwareFiles] = CANDIDATES) -> FirmwareFiles | None:
    """The first pair of which both files are there."""
    return next((pair for pair in candidates if pair.code.is_file() and pair.variables.is_file()), None)
