"""Packer's versions: which builds can use, and that a program of that name is not believed."""

from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.packer import packer_program
from vmkiln.packer.packer_program import find_packer


def stand_in(folder: Path, script: str) -> Path:
    program = folder / "packer"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", ["1.6.6", "1.9.1", "1.9.4", "1.9.5", "1.16.0"])
async def test_a_usable_packer_is_found(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = stand_in(tmp_path, f"echo 'Packer v{version}'")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await find_packer()
    assert (found.path, found.version) == (program, version)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'Packer v1.9.2'", "Packer 1.9.2 .* crashes when"),
        ("echo 'Packer v1.9.3'", "Packer 1.9.3 .* crashes when"),
        ("echo 'Packer v1.6.5'", "is too old: 1.6.6 or newer is needed"),
        ("echo 3 3", "is not HashiCorp's Packer"),
        ("sleep 60", "is not HashiCorp's Packer: `packer version` did not end within 1 s"),
    ],
)
async def test_a_packer_that_builds_cannot_use_is_refused(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packer_program, "VERSION_SECONDS", 1)
    with pytest.raises(HostUnfit, match=told):
        await find_packer()


def test_packer_has_ten_seconds_to_tell_its_version() -> None:
    assert packer_program.VERSION_SECONDS == 10
