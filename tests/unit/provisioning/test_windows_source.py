"""A Windows template is told that Windows is not built, and not only that the catalogue lacks its image."""

from pathlib import Path

import pytest

from vmkiln.provisioning.submitting import Unfit, exact_version
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.template.checked_template import check_image_template

WINDOWS = {
    "type": "PlatformImage",
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter",
}


def test_a_windows_source_is_named_as_one(tmp_path: Path) -> None:
    properties = {"source": WINDOWS, "distribute": [{"type": "VHD", "runOutputName": "o"}]}
    template = check_image_template({"location": "westus2", "properties": properties})
    with opened(tmp_path / "db") as store, pytest.raises(Unfit) as caught:
        exact_version(Settings(tmp_path), store, template)
    assert caught.value.code == "BadPIRSource"
    assert caught.value.message.startswith("the source is a Windows image, and vmkiln builds Linux images so far")
