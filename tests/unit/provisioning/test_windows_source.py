"""A Windows template is told that its source is missing, and how one gets it: nobody publishes Windows."""

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


def test_a_windows_source_that_is_missing_is_told_with_the_way_to_it(tmp_path: Path) -> None:
    properties = {"source": WINDOWS, "distribute": [{"type": "VHD", "runOutputName": "o"}]}
    template = check_image_template({"location": "westus2", "properties": properties})
    with opened(tmp_path / "db") as store, pytest.raises(Unfit) as caught:
        exact_version(Settings(tmp_path), store, template)
    assert caught.value.code == "BadPIRSource"
    assert "Windows has no public disk image" in caught.value.message
    assert "vmkiln image import" in str(caught.value.hint)
