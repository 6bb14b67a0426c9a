"""What a source's system asks of steps, sizes and this machine is told before anything is started."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing import IMAGE_ID, a_flat_disk, to_managed_image

from vmkiln.buildable.examination import Surroundings, Verdict, examine
from vmkiln.settings import Settings
from vmkiln.staging.local_files import LocalFiles
from vmkiln.store.database import opened
from vmkiln.template.template_file import read_image_template

MANAGED = {"type": "ManagedImage", "imageId": IMAGE_ID}
WINDOWS_SERVER = {
    "type": "PlatformImage", "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer",
    "sku": "2022-datacenter-g2",
}  # fmt: skip
SHELL = {"type": "Shell", "inline": ["true"]}
POWERSHELL = {"type": "PowerShell", "inline": ["exit 0"]}
RESTART = {"type": "WindowsRestart"}
OF_AN_ARM64_WINDOWS = """
[[image]]
publisher = "Acme"
offer = "desktop"
sku = "1"
recipe = "download"
generation = 2
os_type = "Windows"
architecture = "Arm64"
url = "https://images.acme.example/desktop/disk.qcow2"
checksum_url = "SHA256SUMS"
format = "qcow2"
"""


def found(tmp_path: Path, *, emulated: str = "", **properties: Any) -> Verdict:
    settings = Settings(tmp_path / "home")
    body = {"location": "westus2", "properties": {"distribute": [{"type": "VHD", "runOutputName": "v"}], **properties}}
    body["identity"] = {"type": "None"}
    surroundings = Surroundings(
        settings=settings,
        local_files=LocalFiles(tmp_path, is_allowed=True),
        opened_store=lambda: opened(settings.database),
        template_name="t",
        resource_group="rg",
        ask_emulated=lambda: emulated,
    )
    template = read_image_template(json.dumps(body), file_name="t.json").image_template
    return examine(template, surroundings)


@pytest.mark.parametrize(
    ("os_type", "steps", "wrong"),
    [
        ("Windows", {"customize": [SHELL]}, ["properties.customize[0].type"]),
        ("Linux", {"customize": [POWERSHELL]}, ["properties.customize[0].type"]),
        ("Linux", {"validate": {"inVMValidations": [POWERSHELL]}}, ["properties.validate.inVMValidations[0].type"]),
        ("Windows", {"customize": [POWERSHELL, RESTART]}, []),
    ],
)  # fmt: skip
def test_steps_of_another_system_than_that_of_an_own_image_are_refused(
    tmp_path: Path, os_type: str, steps: dict[str, Any], wrong: list[str]
) -> None:
    (tmp_path / "home").mkdir()
    with opened(Settings(tmp_path / "home").database) as store:
        to_managed_image(tmp_path, store, replace(a_flat_disk(tmp_path), os_type=os_type))
    problems = found(tmp_path, source=MANAGED, **steps).problems
    assert [problem.path for problem in problems] == wrong
    for problem in problems:
        assert f"is not supported on {os_type} images" in problem.message


def test_no_windows_is_built_for_arm64(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    sized = found(tmp_path, source=WINDOWS_SERVER, vmProfile={"vmSize": "Standard_D2ps_v5"}).problems
    assert "properties.vmProfile.vmSize" in [problem.path for problem in sized]
    Settings(tmp_path / "home").catalogue.write_text(OF_AN_ARM64_WINDOWS)
    source = {"type": "PlatformImage", "publisher": "Acme", "offer": "desktop", "sku": "1"}
    [problem] = found(tmp_path, source=source).problems
    assert "is a Windows image for Arm64" in problem.message


def test_little_memory_and_no_kvm_are_warned_of_for_windows_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    small = {"vmSize": "Standard_D1_v2"}
    warnings = found(tmp_path, source=WINDOWS_SERVER, vmProfile=small, emulated="no device").warnings
    [memory] = [text for text in warnings if "3584 MiB" in text]
    assert "4096 MiB" in memory
    [emulated] = [text for text in warnings if "no device" in text]
    assert "30 minutes" in emulated
    large = found(tmp_path, source=WINDOWS_SERVER, vmProfile={"vmSize": "Standard_D2ds_v4"}).warnings
    assert not [text for text in large if "MiB" in text or "emulated" in text]
    debian = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"}
    assert not found(tmp_path, source=debian, vmProfile=small, emulated="no device").warnings
