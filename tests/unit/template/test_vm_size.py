"""A size's name tells CPUs and memory; one that nobody listed is taken by its name; a wrong one suggests right ones."""

import json
import re
import tomllib
from importlib import resources

import pytest

from vmkiln.errors import InputError
from vmkiln.template.template_file import read_image_template
from vmkiln.template.vm_size import (
    DEFAULT_ARM64,
    DEFAULT_GENERATION_1,
    DEFAULT_GENERATION_2,
    DEFAULT_PROXY_VM_SIZE,
    Architecture,
    all_vm_sizes,
    build_vm_size,
    find_vm_size,
    unlisted,
)

LEARN = "https://learn.microsoft.com/azure/virtual-machines/sizes/"


@pytest.mark.parametrize(
    ("name", "cpu_count", "memory_gib"),
    [
        ("Standard_D1_v2", 1, 3.5),
        ("standard_d2DS_v4", 2, 8),
        ("Basic_A0", 1, 0.75),
        ("Standard_B1ls", 1, 0.5),
        ("Standard_B2pts_v2", 2, 1),
        ("Standard_B32als_v2", 32, 64),
        ("Standard_A1_v2", 1, 2),
        ("Standard_E4s_v3", 4, 32),
        ("Standard_E64is_v3", 64, 432),
        ("Standard_E2bds_v5", 2, 16),
        ("Standard_E192ids_v6", 192, 1832),
        ("Standard_F8s_v2", 8, 16),
        ("Standard_F2als_v7", 2, 4),
        ("Standard_F8ams_v6", 8, 64),
        ("Standard_FX4mds", 4, 84),
        ("Standard_DC2as_v5", 2, 8),
        ("Standard_DC4ads_cc_v5", 4, 16),
        ("Standard_DS11_v2", 2, 14),
        ("Standard_D2lds_v6", 2, 4),
        ("Standard_D4as_v7", 4, 16),
        ("Standard_D64ps_v5", 64, 208),
        ("Standard_M8ms", 8, 218.75),
        ("Standard_M416s_8_v2", 416, 7600),
        ("Standard_L2aos_v4", 2, 16),
        ("Standard_NC4as_T4_v3", 4, 28),
        ("Standard_ND96isr_MI300X_v5", 96, 1850),
        ("Standard_NV72ads_A10_v5", 72, 880),
        ("Standard_HB368rs_v5", 368, 432),
        ("Standard_HX176rs", 176, 1408),
        ("Standard_GS5", 32, 448),
    ],
)
def test_a_name_tells_cpus_and_memory(name: str, cpu_count: int, memory_gib: float) -> None:
    found = find_vm_size(name)
    assert (found.cpu_count, found.memory_mib, found.is_listed) == (cpu_count, memory_gib * 1024, True)
    assert unlisted(found) == ""


@pytest.mark.parametrize(
    ("name", "cpu_count", "memory_gib"),
    [
        ("Standard_D3_v2_Promo", 4, 14),
        ("Standard_NC24r_Promo", 24, 224),
        ("Standard_DS11-1_v2", 1, 14),
        ("Standard_E64-16s_v3", 16, 432),
        ("Standard_M128-32ms", 32, 3892),
        ("Standard_HB120-16rs_v3", 16, 448),
        ("Standard_HC44-32rs", 32, 352),
    ],
)
def test_promotional_and_constrained_sizes_follow_from_the_whole(name: str, cpu_count: int, memory_gib: float) -> None:
    found = find_vm_size(name)
    assert (found.name, found.cpu_count, found.memory_mib) == (name, cpu_count, memory_gib * 1024)
    assert found.is_listed


@pytest.mark.parametrize(
    ("name", "cpu_count", "memory_gib"),
    [
        ("Standard_D2s_v8", 2, 8),
        ("Standard_D12als_v9", 12, 24),
        ("Standard_E2bs_v8", 2, 16),
        ("Standard_E16-4s_v9", 4, 128),
        ("Standard_F4ams_v8", 4, 32),
        ("Standard_M96bs_v9", 96, 1536),
        ("Standard_B4pls_v3", 4, 8),
        ("Standard_NC24ads_B300_v7", 24, 192),
        ("Standard_L128as_v5_Promo", 128, 1024),
    ],
)
def test_a_size_that_is_not_listed_is_taken_by_its_name(name: str, cpu_count: int, memory_gib: float) -> None:
    found = find_vm_size(name)
    assert (found.cpu_count, found.memory_mib, found.is_listed) == (cpu_count, memory_gib * 1024, False)
    assert f"`{name}` is not listed: by its name it is taken for {cpu_count} CPUs and {memory_gib} GiB" in unlisted(
        found
    )


def test_every_size_has_one_name_a_source_and_a_name_of_azures_kind() -> None:
    sizes = list(all_vm_sizes())
    names = [size.name.lower() for size in sizes]
    assert len(names) == len(set(names)) > 1000
    assert all(size.cpu_count > 0 and size.memory_mib >= 512 for size in sizes)
    text = resources.files("vmkiln.template").joinpath("vm_sizes.toml").read_text()
    series = tomllib.loads(text)["series"]
    assert LEARN in text
    assert all(re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?", item["source"]) for item in series)
    assert all({"names", "source"} < set(item) for item in series)


@pytest.mark.parametrize("version", range(2, 8))
def test_every_version_of_the_large_families_is_listed(version: int) -> None:
    names = {size.name for size in all_vm_sizes()}
    for family in "DE" if version > 2 else "D":
        assert any(name.startswith(f"Standard_{family}") and name.endswith(f"_v{version}") for name in names)


@pytest.mark.parametrize(
    "name",
    ["Standard_D2s_v33", "Standard_D2s_v55", "Fake1", "Standard_Fake1", "D2s_v3", "Standard_D2ss_v5", "Standard_D0s_v5",
     "Standard_D2q_v5", "Standard_X2s_v5", "Standard_D4-8s_v5", "Standard_D2s_T4_v5", "Standard_D2s v3",
     "Standard_D99999", "Standard_D2s_v5;rm", "Standard_", "Standard_D2s_v3_Promo_Promo"],
)  # fmt: skip
def test_what_is_no_size_suggests_near_ones(name: str) -> None:
    with pytest.raises(InputError, match="is not the name of a VM size") as caught:
        find_vm_size(name)
    assert caught.value.hint is not None
    assert "Standard_" in caught.value.hint
    if name.startswith("Standard_D2s_v"):
        assert "near to it: Standard_D2s_v" in caught.value.hint
    if name == "D2s_v3":
        assert "did you mean `Standard_D2s_v3`?" in caught.value.hint


def test_an_empty_size_follows_the_source() -> None:
    assert build_vm_size("", hyper_v_generation=1).name == "Standard_D1_v2"
    assert build_vm_size("", hyper_v_generation=2).name == "Standard_D2ds_v4"
    assert build_vm_size("", hyper_v_generation=2, architecture="Arm64").name == "Standard_D2ps_v5"
    assert build_vm_size("Standard_B2s", hyper_v_generation=2).name == "Standard_B2s"


@pytest.mark.parametrize(
    ("name", "is_arm64"),
    [
        ("Standard_D2ps_v5", True),
        ("standard_e4PDS_v6", True),
        ("Standard_B2pls_v2", True),
        ("Standard_D8plds_v9", True),
        ("Standard_D2s_v5", False),
        ("Standard_NP10s", False),
        ("Standard_D2s_v3_Promo", False),
        ("Basic_A1", False),
    ],
)
def test_the_letter_p_means_arm64(name: str, is_arm64: bool) -> None:
    assert (find_vm_size(name).architecture is Architecture.ARM64) is is_arm64


def test_a_template_warns_of_a_size_that_is_not_listed() -> None:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"}
    profile = {"vmSize": "Standard_D2s_v9", "vnetConfig": {"proxyVmSize": "Standard_A2_v9"}}
    properties = {"source": source, "distribute": [{"type": "VHD", "runOutputName": "o"}], "vmProfile": profile}
    text = json.dumps({"location": "westus2", "identity": {"type": "None"}, "properties": properties})
    warnings = "\n".join(read_image_template(text, file_name="t.json").warnings)
    assert "properties.vmProfile.vmSize: the VM size `Standard_D2s_v9` is not listed" in warnings
    assert "properties.vmProfile.vnetConfig.proxyVmSize: the VM size `Standard_A2_v9` is not listed" in warnings


def test_the_default_sizes_are_as_they_are_listed() -> None:
    listed = {size.name: size for size in all_vm_sizes()}
    for name in (DEFAULT_GENERATION_1, DEFAULT_GENERATION_2, DEFAULT_ARM64, DEFAULT_PROXY_VM_SIZE):
        assert find_vm_size(name.upper()) == listed[name]
