"""A size's name tells CPUs and memory; a wrong name suggests right ones."""

import pytest

from vmkiln.errors import InputError
from vmkiln.template.vm_size import all_vm_sizes, build_vm_size, find_vm_size


@pytest.mark.parametrize(
    ("name", "cpu_count", "memory_mib"),
    [
        ("Standard_D1_v2", 1, 3584),
        ("standard_d2DS_v4", 2, 8192),
        ("Standard_B1ls", 1, 512),
        ("Standard_A1_v2", 1, 2048),
        ("Standard_E4s_v3", 4, 32768),
        ("Standard_F8s_v2", 8, 16384),
        ("Standard_DC2as_v5", 2, 8192),
        ("Standard_DS11_v2", 2, 14336),
    ],
)
def test_a_name_tells_cpus_and_memory(name: str, cpu_count: int, memory_mib: int) -> None:
    found = find_vm_size(name)
    assert (found.cpu_count, found.memory_mib) == (cpu_count, memory_mib)


def test_every_size_has_one_name() -> None:
    names = [size.name.lower() for size in all_vm_sizes()]
    assert len(names) == len(set(names)) > 80
    assert all(size.cpu_count > 0 and size.memory_mib >= 512 for size in all_vm_sizes())


def test_an_unknown_size_suggests_near_ones() -> None:
    with pytest.raises(InputError, match="Standard_D2s_v33") as caught:
        find_vm_size("Standard_D2s_v33")
    assert caught.value.hint is not None
    assert "Standard_D2s_v3" in caught.value.hint


def test_an_empty_size_follows_the_generation() -> None:
    assert build_vm_size("", hyper_v_generation=1).name == "Standard_D1_v2"
    assert build_vm_size("", hyper_v_generation=2).name == "Standard_D2ds_v4"
    assert build_vm_size("Standard_B2s", hyper_v_generation=2).name == "Standard_B2s"
