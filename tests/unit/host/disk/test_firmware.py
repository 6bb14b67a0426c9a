"""UEFI firmware: code and variables are taken only as a pair."""

from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.host.disk.firmware import CANDIDATES, PACKAGES, FirmwareFiles, find_firmware


def pair(folder: Path, name: str, *, with_variables: bool = True) -> FirmwareFiles:
    files = FirmwareFiles(folder / f"{name}_CODE.fd", folder / f"{name}_VARS.fd")
    files.code.touch()
    if with_variables:
        files.variables.touch()
    return files


def test_the_first_complete_pair_is_taken(tmp_path: Path) -> None:
    half, whole, later = (
        pair(tmp_path, "HALF", with_variables=False),
        pair(tmp_path, "WHOLE"),
        pair(tmp_path, "LATER"),
    )
    assert find_firmware([half, whole, later]) == whole


def test_no_pair_is_nothing(tmp_path: Path) -> None:
    assert find_firmware([pair(tmp_path, "HALF", with_variables=False)]) is None


def test_arm64_has_firmware_of_its_own() -> None:
    assert {candidate.code for candidate in CANDIDATES[Architecture.ARM64]}.isdisjoint(
        candidate.code for candidate in CANDIDATES[Architecture.X64]
    )
    assert set(CANDIDATES) == set(PACKAGES) == set(Architecture)
