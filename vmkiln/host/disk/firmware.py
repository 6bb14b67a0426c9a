"""Where the distribution keeps UEFI firmware for virtual machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.azure_names import Architecture


@dataclass(frozen=True)
class FirmwareFiles:
    """UEFI code, read-only, and the empty variable store to copy for each VM; both of one flash size."""

    code: Path
    variables: Path


X64_CANDIDATES = (
    FirmwareFiles(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    FirmwareFiles(Path("/usr/share/OVMF/OVMF_CODE.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd")),
    FirmwareFiles(Path("/usr/share/edk2/ovmf/OVMF_CODE.fd"), Path("/usr/share/edk2/ovmf/OVMF_VARS.fd")),
)

ARM64_CANDIDATES = (
    FirmwareFiles(Path("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd"), Path("/usr/share/AAVMF/AAVMF_VARS.fd")),
    FirmwareFiles(Path("/usr/share/AAVMF/AAVMF_CODE.fd"), Path("/usr/share/AAVMF/AAVMF_VARS.fd")),
    FirmwareFiles(
        Path("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw"), Path("/usr/share/edk2/aarch64/vars-template-pflash.raw")
    ),
)
CANDIDATES = {Architecture.X64: X64_CANDIDATES, Architecture.ARM64: ARM64_CANDIDATES}
PACKAGES = {Architecture.X64: "ovmf", Architecture.ARM64: "qemu-efi-aarch64"}


def find_firmware(
    candidates: Sequence[FirmwareFiles] | None = None, *, architecture: Architecture = Architecture.X64
) -> FirmwareFiles | None:
    """The first pair of which both files are there, of the usual ones of an architecture when none are given."""
    pairs = CANDIDATES[architecture] if candidates is None else candidates
    return next((pair for pair in pairs if pair.code.is_file() and pair.variables.is_file()), None)
