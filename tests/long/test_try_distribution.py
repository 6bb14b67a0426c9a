"""The two commands on another distribution's user land, really done: minutes, and some 100 MB of packages."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can enter another user land; `script/test --long` does as root"
)
@pytest.mark.parametrize("suite", ["trixie"])
def test_a_newcomer_with_another_distribution_builds_an_image(suite: str) -> None:
    packer = shutil.which("packer")
    assert packer, "the stand-in mirror serves this machine's Packer"
    tried = subprocess.run(
        [ROOT / "script/try-distribution", "--packer", packer, suite],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert tried.returncode == 0, tried.stderr[-8000:]
    # Packer was fetched, not installed; the guest's kernel booted; nothing was left
    assert "signed by its publisher" in tried.stderr
    assert "nothing temporary is left" in tried.stdout
