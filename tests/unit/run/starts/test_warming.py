"""What is saved before any build needs it, and what is not, for no build would go on from it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.run.starts import warming
from vmkiln.settings import Settings
from vmkiln.template.source import PlatformImageSource

IMAGE = PlatformImageSource(type="PlatformImage", publisher="Debian", offer="debian-12", sku="12")


@pytest.mark.parametrize(
    ("changes", "os_type", "reason"),
    [
        ({"warm_starts": False}, "Linux", "warm starts are off"),
        ({"guest_proxy": "http://proxy:3128"}, "Linux", "its way out is set up while it boots"),
        ({}, "Windows", "only a Linux VM can be made another machine"),
    ],
)
async def test_what_every_build_would_boot_all_the_same_is_not_booted_to_be_saved(
    changes: dict[str, Any], os_type: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched = []

    async def resolve_source(*_arguments: object, **_named: object) -> Any:
        fetched.append(os_type)
        return SimpleNamespace(os_type=os_type)

    monkeypatch.setattr(warming, "resolve_source", resolve_source)
    host: Any = SimpleNamespace(settings=Settings(home=tmp_path, **changes))
    with pytest.raises(HostUnfit, match=reason):
        await warming.warmed(host, IMAGE, vm_size="", os_disk_size_gb=0, progress=print)
    assert fetched == (["Windows"] if os_type == "Windows" else []), "nothing is fetched for nothing"
