"""Azure's VM sizes: how many CPUs and how much memory a name stands for.

Every published series is in vm_sizes.toml. Any other name in Azure's form tells the number of CPUs itself; the memory
is what the family usually has for each CPU.
Source: the "Sizes for virtual machines" and "Virtual machine sizes naming conventions" pages of the Azure
documentation. Which size an empty name means: docs/reference/image-template.md#vm-profile.
"""

import difflib
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources

from vmkiln.azure_names import Architecture
from vmkiln.errors import InputError

DEFAULT_GENERATION_1 = "Standard_D1_v2"
DEFAULT_GENERATION_2 = "Standard_D2ds_v4"
DEFAULT_ARM64 = "Standard_D2ps_v5"  # ours: Azure's defaults are x64
DEFAULT_PROXY_VM_SIZE = "Standard_A1_v2"
HIGHEST_CPUS = 2000
PROMO = "_promo"
FEATURES = "abdehilmnoprstx"  # AMD, block storage, local disk, ... `p` is Arm64; each stands once
# family, CPUs, constrained CPUs, features, accelerator or memory step, version
_NAME = re.compile(
    r"standard_(?P<family>[a-z]{1,3})(?P<cpus>[1-9][0-9]{0,3})(?:-(?P<constrained>[1-9][0-9]{0,3}))?"
    rf"(?P<features>[{FEATURES}]*)(?P<accelerator>(?:_(?!v[0-9])[a-z0-9]+)*)(?:_v[1-9])?"
)
# GiB for each CPU, as the newest series of each family have it
_FAMILIES: Mapping[str, float] = {
    "a": 2, "b": 4, "d": 4, "dc": 4, "ds": 7, "e": 8, "ec": 8, "f": 4, "fx": 21, "gs": 14, "h": 7, "hb": 4, "hc": 8,
    "hx": 8, "l": 8, "m": 16, "nc": 8, "ncc": 8, "nd": 16, "ng": 2, "nm": 8, "np": 17, "nv": 9,
}  # fmt: skip
# what may follow the features, by the first letter of the family: a GPU or FPGA, a step of memory, a confidential child
_ACCELERATORS = {"n": r"(?:_[a-z]+)?_[a-z]*[0-9]+[a-z]*", "m": r"_[0-9]{1,2}", "d": "_cc", "e": "_cc"}
_MEMORY = {"l": 0.5, "m": 2.0, "t": 0.125}  # low, much and tiny, of the family's usual
ARM64_FAMILIES = ("b", "d", "e")


@dataclass(frozen=True)
class VmSize:
    """One size, by Azure's name; `is_listed` says whether its shape was published, or is taken from its name."""

    name: str
    cpu_count: int
    memory_mib: int
    is_listed: bool = True

    @property
    def architecture(self) -> Architecture:
        """Arm64 where the features in the name have a `p`."""
        found = _parsed(self.name)
        is_arm64 = found is not None and found["family"] in ARM64_FAMILIES and "p" in found["features"]
        return Architecture.ARM64 if is_arm64 else Architecture.X64


# what most templates have, by not naming a size: the list is not read for these, which takes longer than all else
_DEFAULTS: Mapping[str, VmSize] = {
    size.name.lower(): size
    for size in (
        VmSize(DEFAULT_GENERATION_1, 1, 3584),
        VmSize(DEFAULT_GENERATION_2, 2, 8192),
        VmSize(DEFAULT_ARM64, 2, 8192),
        VmSize(DEFAULT_PROXY_VM_SIZE, 1, 2048),
    )
}


def all_vm_sizes() -> Iterator[VmSize]:
    """Every size that is listed."""
    text = resources.files("vmkiln.template").joinpath("vm_sizes.toml").read_text()
    for series in tomllib.loads(text)["series"]:
        shapes = series.get("sizes") or {count: (count, count * series["gib_each"]) for count in series["cpus"]}
        for name in series["names"]:
            full = name if name.startswith("Basic_") else f"Standard_{name}"
            for mark, (cpu_count, gib) in shapes.items():
                yield VmSize(full.format(mark), cpu_count, int(gib * 1024))


@functools.cache
def sizes_by_name() -> Mapping[str, VmSize]:
    """Every listed size by its name in lower case; more than a thousand, and always the same."""
    return {size.name.lower(): size for size in all_vm_sizes()}


def find_vm_size(name: str) -> VmSize:
    """The size of that name, whatever its case; one that is not listed by what its name says.

    Raises: `InputError` that suggests the nearest names, for a name that is not one of a size.
    """
    if usual := _DEFAULTS.get(name.lower()):
        return usual
    plain = name.lower().removesuffix(PROMO)
    by_name = sizes_by_name()
    if found := by_name.get(plain):
        return found if plain == name.lower() else replace(found, name=f"{found.name}_Promo")
    parts = _parsed(name)
    if parts is None:
        full = f"standard_{plain}"  # people leave the word out
        if full in by_name or _parsed(full):
            raise InputError(f"`{name}` is not the name of a VM size", hint=f"did you mean `Standard_{name}`?")
        near = difflib.get_close_matches(name.lower(), by_name, 4, 0.6) or [DEFAULT_GENERATION_1.lower()]
        suggestions = ", ".join(by_name[key].name for key in near)
        raise InputError(f"`{name}` is not the name of a VM size", hint=f"near to it: {suggestions}")
    cpus = int(parts["constrained"] or parts["cpus"])
    # with constrained CPUs a size keeps all of its memory
    whole = by_name.get(plain.replace(f"-{parts['constrained']}", "", 1)) if parts["constrained"] else None
    if whole is not None:
        return VmSize(name, cpus, whole.memory_mib)
    each = _FAMILIES[parts["family"]]
    for letter in set(parts["features"]) & set(_MEMORY):
        each *= _MEMORY[letter]
    return VmSize(name, cpus, max(512, int(int(parts["cpus"]) * each * 1024)), is_listed=False)


def _parsed(name: str) -> re.Match[str] | None:
    """The parts of a name that keeps to Azure's way of naming sizes; None for any other."""
    found = _NAME.fullmatch(name.lower().removesuffix(PROMO))
    if found is None or found["family"] not in _FAMILIES:
        return None
    cpus, constrained, features = int(found["cpus"]), int(found["constrained"] or 0), found["features"]
    accelerator = _ACCELERATORS.get(found["family"][0], "(?!)")
    is_right = cpus <= HIGHEST_CPUS and (not constrained or constrained < cpus) and len(set(features)) == len(features)
    is_right = is_right and (not found["accelerator"] or bool(re.fullmatch(accelerator, found["accelerator"])))
    return found if is_right else None


def unlisted(size: VmSize) -> str:
    """A sentence on a size whose shape is taken from its name; '' for a listed one."""
    if size.is_listed:
        return ""
    gib = f"{size.memory_mib / 1024:g}"
    return f"the VM size `{size.name}` is not listed: by its name it is taken for {size.cpu_count} CPUs and {gib} GiB"


def build_vm_size(name: str, *, hyper_v_generation: int, architecture: str = Architecture.X64) -> VmSize:
    """The size of a build VM: of that name, or by the source's architecture and generation (1 or 2) where it is ''."""
    default = DEFAULT_GENERATION_2 if hyper_v_generation == 2 else DEFAULT_GENERATION_1
    return find_vm_size(name or (DEFAULT_ARM64 if architecture == Architecture.ARM64 else default))
