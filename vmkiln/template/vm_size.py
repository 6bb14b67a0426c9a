"""Azure's VM sizes: how many CPUs and how much memory a name stands for.

Source: the "Sizes for virtual machines" pages of the Azure documentation. Which size an empty name means:
docs/reference/image-template.md#vm-profile.
"""

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vmkiln.errors import InputError

DEFAULT_GENERATION_1 = "Standard_D1_v2"
DEFAULT_GENERATION_2 = "Standard_D2ds_v4"
DEFAULT_PROXY_VM_SIZE = "Standard_A1_v2"

# Names with {} for the CPU count as printed in the name, then that count and the memory in GiB of each size.
_FAMILIES: tuple[tuple[tuple[str, ...], dict[str, tuple[int, float]]], ...] = (
    (("Basic_A{}",), {"0": (1, 0.75), "1": (1, 1.75), "2": (2, 3.5), "3": (4, 7), "4": (8, 14)}),
    (
        ("Standard_A{}",),
        {
            "0": (1, 0.75),
            "1": (1, 1.75),
            "2": (2, 3.5),
            "3": (4, 7),
            "4": (8, 14),
            "5": (2, 14),
            "6": (4, 28),
            "7": (8, 56),
            "8": (8, 56),
            "9": (16, 112),
            "10": (8, 56),
            "11": (16, 112),
        },
    ),
    (("Standard_A{}_v2",), {"1": (1, 2), "2": (2, 4), "4": (4, 8), "8": (8, 16)}),
    (("Standard_A{}m_v2",), {"2": (2, 16), "4": (4, 32), "8": (8, 64)}),
    (
        ("Standard_B{}",),
        {
            "1ls": (1, 0.5),
            "1s": (1, 1),
            "1ms": (1, 2),
            "2s": (2, 4),
            "2ms": (2, 8),
            "4ms": (4, 16),
            "8ms": (8, 32),
            "12ms": (12, 48),
            "16ms": (16, 64),
            "20ms": (20, 80),
        },
    ),
    (
        ("Standard_B{}_v2",),
        {
            "2ts": (2, 1),
            "2ls": (2, 4),
            "2s": (2, 8),
            "4ls": (4, 8),
            "4s": (4, 16),
            "8ls": (8, 16),
            "8s": (8, 32),
            "16ls": (16, 32),
            "16s": (16, 64),
            "32ls": (32, 64),
            "32s": (32, 128),
            "2ats": (2, 1),
            "2als": (2, 4),
            "2as": (2, 8),
            "4als": (4, 8),
            "4as": (4, 16),
            "8als": (8, 16),
            "8as": (8, 32),
            "16als": (16, 32),
            "16as": (16, 64),
            "32als": (32, 64),
            "32as": (32, 128),
        },
    ),
    (
        ("Standard_D{}", "Standard_DS{}"),
        {
            "1": (1, 3.5),
            "2": (2, 7),
            "3": (4, 14),
            "4": (8, 28),
            "11": (2, 14),
            "12": (4, 28),
            "13": (8, 56),
            "14": (16, 112),
        },
    ),
    (
        ("Standard_D{}_v2", "Standard_DS{}_v2"),
        {
            "1": (1, 3.5),
            "2": (2, 7),
            "3": (4, 14),
            "4": (8, 28),
            "5": (16, 56),
            "11": (2, 14),
            "12": (4, 28),
            "13": (8, 56),
            "14": (16, 112),
            "15": (20, 140),
        },
    ),
    (
        ("Standard_F{}", "Standard_F{}s"),
        {"1": (1, 2), "2": (2, 4), "4": (4, 8), "8": (8, 16), "16": (16, 32)},
    ),
    (
        ("Standard_{}",),
        {
            "M64s": (64, 1024),
            "M64ms": (64, 1792),
            "M128s": (128, 2048),
            "HB60rs": (60, 228),
            "HC44rs": (44, 352),
            "HB120rs_v2": (120, 456),
            "HB120rs_v3": (120, 448),
            "HB176rs_v4": (176, 768),
            "NC6": (6, 56),
            "NC12": (12, 112),
            "NC24": (24, 224),
            "NC6s_v2": (6, 112),
            "NC6s_v3": (6, 112),
            "NC12s_v3": (12, 224),
            "NC24s_v3": (24, 448),
            "NC4as_T4_v3": (4, 28),
            "NC8as_T4_v3": (8, 56),
            "NC16as_T4_v3": (16, 110),
            "NC64as_T4_v3": (64, 440),
            "NC24ads_A100_v4": (24, 220),
            "NC48ads_A100_v4": (48, 440),
            "NC96ads_A100_v4": (96, 880),
            "NV6": (6, 56),
            "NV12": (12, 112),
            "NV24": (24, 224),
            "NV12s_v3": (12, 112),
            "NV24s_v3": (24, 224),
            "NV48s_v3": (48, 448),
            "NV4as_v4": (4, 14),
            "NV8as_v4": (8, 28),
            "NV16as_v4": (16, 56),
            "NV32as_v4": (32, 112),
            "NV6ads_A10_v5": (6, 55),
            "NV12ads_A10_v5": (12, 110),
            "NV18ads_A10_v5": (18, 220),
            "NV36ads_A10_v5": (36, 440),
        },
    ),
    (
        ("Standard_E{}_v3", "Standard_E{}s_v3"),
        {
            "2": (2, 16),
            "4": (4, 32),
            "8": (8, 64),
            "16": (16, 128),
            "20": (20, 160),
            "32": (32, 256),
            "48": (48, 384),
            "64": (64, 432),
        },
    ),
)

# Families in which memory is the same for every CPU: names, GiB for each CPU, the CPU counts there are.
_SMALL = (2, 4, 8, 16, 32, 48, 64)
_LARGE = (2, 4, 8, 16, 32, 48, 64, 96)
_EVEN: tuple[tuple[tuple[str, ...], float, tuple[int, ...]], ...] = (
    (("Standard_D{}_v3", "Standard_D{}s_v3"), 4, _SMALL),
    (("Standard_D{}_v4", "Standard_D{}s_v4", "Standard_D{}d_v4", "Standard_D{}ds_v4"), 4, _SMALL),
    (("Standard_D{}a_v4", "Standard_D{}as_v4"), 4, _LARGE),
    (("Standard_D{}_v5", "Standard_D{}s_v5", "Standard_D{}d_v5", "Standard_D{}ds_v5"), 4, _LARGE),
    (("Standard_D{}as_v5", "Standard_D{}ads_v5"), 4, _LARGE),
    (("Standard_D{}ls_v5", "Standard_D{}lds_v5"), 2, _LARGE),
    (("Standard_D{}ps_v5", "Standard_D{}pds_v5"), 4, (2, 4, 8, 16, 32, 48, 64)),
    (("Standard_D{}pls_v5", "Standard_D{}plds_v5"), 2, (2, 4, 8, 16, 32, 48, 64)),
    (("Standard_D{}s_v6", "Standard_D{}ds_v6", "Standard_D{}as_v6", "Standard_D{}ads_v6"), 4, _LARGE),
    (("Standard_E{}_v4", "Standard_E{}s_v4", "Standard_E{}d_v4", "Standard_E{}ds_v4"), 8, (2, 4, 8, 16, 20, 32, 48)),
    (("Standard_E{}a_v4", "Standard_E{}as_v4"), 8, (2, 4, 8, 16, 20, 32, 48, 64)),
    (
        ("Standard_E{}_v5", "Standard_E{}s_v5", "Standard_E{}d_v5", "Standard_E{}ds_v5"),
        8,
        (2, 4, 8, 16, 20, 32, 48, 64),
    ),
    (("Standard_E{}as_v5", "Standard_E{}ads_v5"), 8, (2, 4, 8, 16, 20, 32, 48, 64)),
    (
        ("Standard_E{}s_v6", "Standard_E{}ds_v6", "Standard_E{}as_v6", "Standard_E{}ads_v6"),
        8,
        (2, 4, 8, 16, 32, 48, 64),
    ),
    (("Standard_F{}s_v2",), 2, (2, 4, 8, 16, 32, 48, 64, 72)),
    (("Standard_F{}as_v6",), 4, (2, 4, 8, 16, 32, 48, 64)),
    (("Standard_F{}als_v6",), 2, (2, 4, 8, 16, 32, 48, 64)),
    (("Standard_DC{}s_v3", "Standard_DC{}ds_v3"), 8, (1, 2, 4, 8, 16, 24, 32, 48)),
    (("Standard_DC{}as_v5", "Standard_DC{}ads_v5"), 4, _LARGE),
    (("Standard_EC{}as_v5", "Standard_EC{}ads_v5"), 8, (2, 4, 8, 16, 20, 32, 48, 64)),
    (("Standard_DC{}s_v2",), 4, (1, 2, 4, 8)),
    (("Standard_L{}s_v2", "Standard_L{}s_v3", "Standard_L{}as_v3"), 8, (8, 16, 32, 48, 64, 80)),
)


@dataclass(frozen=True)
class VmSize:
    """One size, by Azure's name."""

    name: str
    cpu_count: int
    memory_mib: int


def all_vm_sizes() -> Iterator[VmSize]:
    """Every size there is a name for."""
    for patterns, sizes in _FAMILIES:
        for pattern in patterns:
            for mark, (cpu_count, memory_gib) in sizes.items():
                yield VmSize(pattern.format(mark), cpu_count, int(memory_gib * 1024))
    for patterns, gib_each, counts in _EVEN:
        for pattern in patterns:
            for count in counts:
                yield VmSize(pattern.format(count), count, int(count * gib_each * 1024))


@functools.cache
def _by_name() -> Mapping[str, VmSize]:
    """Every size by its name in lower case; hundreds, and always the same."""
    return {size.name.lower(): size for size in all_vm_sizes()}


def find_vm_size(name: str) -> VmSize:
    """The size of that name, whatever its case. Raises InputError that suggests the nearest names."""
    by_name = _by_name()
    found = by_name.get(name.lower())
    if found:
        return found
    near = difflib.get_close_matches(name.lower(), by_name, 4, 0.6) or [DEFAULT_GENERATION_1.lower()]
    suggestions = ", ".join(by_name[key].name for key in near)
    raise InputError(f"`{name}` is not a known VM size", hint=f"near to it: {suggestions}")


def build_vm_size(name: str, *, hyper_v_generation: int) -> VmSize:
    """The size of a build VM: of that name, or of the source image's generation (1 or 2) where the name is empty."""
    default = DEFAULT_GENERATION_2 if hyper_v_generation == 2 else DEFAULT_GENERATION_1
    return find_vm_size(name or default)
