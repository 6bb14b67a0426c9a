"""How large the build VM is."""

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.run.vm_shape import GIB, decide_shape
from vmkiln.template.vm_profile import VmProfile


def test_the_default_of_generation_1_is_standard_d1_v2() -> None:
    shape = decide_shape(VmProfile(), generation=1, source_bytes=3 * GIB, host_cpus=8, host_memory_mib=16384)
    assert (shape.vm_size, shape.cpus, shape.memory_mib, shape.disk_bytes) == ("Standard_D1_v2", 1, 3584, 3 * GIB)
    assert shape.warnings == ()


def test_a_size_is_capped_to_the_host_with_a_warning() -> None:
    profile = VmProfile(vm_size="Standard_D8s_v3")
    shape = decide_shape(profile, generation=2, source_bytes=GIB, host_cpus=2, host_memory_mib=4096)
    assert (shape.cpus, shape.memory_mib) == (2, 3072)
    assert len(shape.warnings) == 2


def test_the_disk_is_only_made_larger() -> None:
    larger = VmProfile(os_disk_size_gb=10)
    shape = decide_shape(larger, generation=1, source_bytes=3 * GIB, host_cpus=2, host_memory_mib=8192)
    assert shape.disk_bytes == 10 * GIB
    with pytest.raises(TemplateInvalid, match="osDiskSizeGB"):
        decide_shape(
            VmProfile(os_disk_size_gb=2), generation=1, source_bytes=3 * GIB, host_cpus=2, host_memory_mib=8192
        )


def test_a_windows_vm_has_what_its_set_up_needs_whatever_its_size() -> None:
    profile = VmProfile(vm_size="Standard_D1_v2")
    shape = decide_shape(profile, generation=1, source_bytes=GIB, host_cpus=8, host_memory_mib=16384, is_windows=True)
    assert (shape.vm_size, shape.memory_mib, shape.warnings) == ("Standard_D1_v2", 4096, ())
    larger = decide_shape(
        VmProfile(vm_size="Standard_D8s_v3"), generation=2, source_bytes=GIB, host_cpus=8, host_memory_mib=65536,
        is_windows=True,
    )  # fmt: skip
    assert larger.memory_mib == 32768
