"""Which container groups go on from a saved one, and which are booted."""

from pathlib import Path

import pytest

from vmkiln.host.qemu import SavedVm
from vmkiln.run.packer_phase import saved_group_of
from vmkiln.staging.container_group import MEMORY_MIB, memory_mib

SAVED = SavedVm(Path("/cache/memory"), "m", Path("/cache/devices"), "d")


def test_a_group_of_the_usual_memory_goes_on_from_the_saved_one() -> None:
    assert saved_group_of(SAVED, {}, memory_mib=MEMORY_MIB) is SAVED
    assert saved_group_of(None, {}, memory_mib=MEMORY_MIB) is None
    assert saved_group_of(SAVED, {}, memory_mib=memory_mib(40)) is None


@pytest.mark.parametrize(("tag", "value"), [("vmkiln-cold", "true"), ("vmkiln-Cold", " True ")])
def test_a_tag_of_the_template_has_it_booted(tag: str, value: str) -> None:
    assert saved_group_of(SAVED, {tag: value, "other": "x"}, memory_mib=MEMORY_MIB) is None
    assert saved_group_of(SAVED, {tag: "false"}, memory_mib=MEMORY_MIB) is SAVED
