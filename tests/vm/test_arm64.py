"""An Arm64 image from the first package to the published version, all of it emulated: about half an hour."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import IMAGES, VMKILN

from vmkiln.azure_names import Architecture
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.foreign_cpu import PROGRAMS
from vmkiln.host.qemu import BOARDS
from vmkiln.settings import Settings

ARM64 = Architecture.ARM64
SOURCE = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-arm64"}
MISSING = [
    package
    for package, is_there in (
        ("qemu-system-arm", shutil.which(BOARDS[ARM64].program)),
        ("qemu-efi-aarch64", find_firmware(architecture=ARM64)),
        ("qemu-user-static", any(shutil.which(name) for name in PROGRAMS[ARM64])),
    )
    if not is_there
]


@pytest.mark.long
@pytest.mark.vm
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(bool(MISSING), reason=f"Arm64 guests take {', '.join(MISSING)}")
def test_an_arm64_image_is_made_customized_validated_and_published(settings: Settings, tmp_path: Path) -> None:
    image_id = f"{IMAGES}/images/arm64"
    step: dict[str, Any] = {"type": "Shell", "name": "mark", "inline": ["uname -m | sudo tee /etc/made-on"]}
    check = {"type": "Shell", "name": "marked", "inline": ["grep -qx aarch64 /etc/made-on", "uname -m | grep aarch64"]}
    properties = {
        "source": SOURCE,
        "customize": [step],
        "validate": {"inVMValidations": [check]},
        "distribute": [{"type": "ManagedImage", "runOutputName": "o", "imageId": image_id, "location": "local"}],
        "vmProfile": {"vmSize": "Standard_B2pls_v2"},
    }
    template = tmp_path / "arm64.json"
    template.write_text(json.dumps({"location": "local", "identity": {"type": "None"}, "properties": properties}))
    command = [*VMKILN, "build", template, "--json", "--cold"]  # the only build of its source
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-8000:] + built.stderr[-4000:]
    try:
        shown = subprocess.run([*VMKILN, "image", "list", "--json"], capture_output=True, text=True, check=True)
        assert image_id in shown.stdout
    finally:
        subprocess.run([*VMKILN, "image", "delete", image_id, "--yes"], check=True)
