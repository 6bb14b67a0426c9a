"""What a Windows image tells of itself by its registry, and whether a build can start from it; pure.

The lines come from a VM that has read the image and may have been taken over by it: each is bounded and known by name.
Source: Microsoft, "Windows Setup States" (ImageState); [MS-LCID] for languages.
"""

import locale
import re
from dataclasses import dataclass

from vmkiln.errors import ImageUnsafe
from vmkiln.harmless_text import harmless
from vmkiln.run_failures import InspectionFailed

MOST_FACTS_BYTES = 64 * 1024
GENERALIZED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
SEVERAL = ("service", "answer", "override")
NAMES = (
    "device", "flags", "unclean", "hibernation", "ProductName", "CurrentBuildNumber", "UBR", "EditionID",
    "InstallationType", "ImageState", "InstallLanguage", "end",
)  # fmt: skip
HIBERNATED = ("hibr", "wake", "rstr")
OLDEST_BUILD = 14393  # Windows Server 2016, Windows 10 1607: the oldest with Windows PowerShell 5.1
SYSPREP = r"run C:\Windows\System32\Sysprep\sysprep.exe /oobe /generalize /shutdown in it, and import it then"


@dataclass(frozen=True)
class WindowsFacts:
    """A Windows image: its name, build and edition, its language (`de-DE`; '' when it is none we know).

    `state` is what set-up does when it is started next. `unclean` says why its file system is not whole; '' when it is.
    `services` are those of drivers and agents that matter, `answers` the answer files that it has of its own, and
    `overrides` the drivers that do not start on another machine.
    """

    product: str
    build: int
    revision: int
    edition: str
    language: str
    state: str
    unclean: str = ""
    is_hibernated: bool = False
    services: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    @property
    def has_virtio_disk(self) -> bool:
        """Whether it has virtio's driver for disks."""
        return "viostor" in self.services

    @property
    def has_virtio_network(self) -> bool:
        """Whether it has virtio's driver for networks."""
        return "netkvm" in self.services

    @property
    def title(self) -> str:
        """`Windows Server 2022 Datacenter (20348.2619, ServerDatacenter, en-US)`."""
        language = self.language or "unknown language"
        return f"{self.product} ({self.build}.{self.revision}, {self.edition}, {language})"


def read_facts(answer: bytes) -> WindowsFacts:
    """The facts that the VM has told.

    Raises: `InspectionFailed` for an answer that is not whole, or not in its form; `ImageUnsafe` when no Windows was
    found, or more than one.
    """
    if len(answer) > MOST_FACTS_BYTES:
        raise InspectionFailed(f"the VM that reads a Windows image told more than {MOST_FACTS_BYTES >> 10} KiB")
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in SEVERAL}
    for line in answer.decode(errors="replace").splitlines():
        name, sign, text = line.partition("=")
        if not sign or name not in (*NAMES, *SEVERAL):
            raise InspectionFailed("what the VM that reads a Windows image tells is not in its form")
        if name == "device" and name in values:
            raise ImageUnsafe("the image has more than one Windows", hint="import a disk with one")
        if name in lists:
            lists[name].append(harmless(text))
        else:
            values[name] = harmless(text).strip()
    if "end" not in values:
        raise InspectionFailed("the answer of the VM that reads a Windows image is not whole")
    if "device" not in values:
        raise ImageUnsafe(
            "the image has no Windows that can be read: no NTFS volume with a registry",
            hint="an image of Linux needs `--os-type Linux`; one that BitLocker has encrypted is to be decrypted first",
        )
    return WindowsFacts(
        product=values.get("ProductName", ""),
        build=_number(values.get("CurrentBuildNumber", "")),
        revision=_number(values.get("UBR", "")),
        edition=values.get("EditionID", ""),
        language=language_of(values.get("InstallLanguage", "")),
        state=values.get("ImageState", ""),
        unclean=values.get("unclean", "") or ("it is marked as dirty" if _is_dirty(values.get("flags", "")) else ""),
        is_hibernated=values.get("hibernation", "").lower() in HIBERNATED,
        services=tuple(lists["service"]),
        answers=tuple(lists["answer"]),
        overrides=tuple(lists["override"]),
    )


def check_startable(facts: WindowsFacts) -> None:
    """Refuse an image that no build can start from. Raises: `ImageUnsafe` with the cure for each reason."""
    is_unwhole = bool(facts.unclean) and not facts.is_hibernated
    problems = (
        (facts.is_hibernated, "it is hibernated", "start it, run powercfg /hibernate off, and shut it down"),
        (is_unwhole, f"its file system is not whole ({facts.unclean})", "start it, run chkdsk /f, and shut it down"),
        (
            facts.build < OLDEST_BUILD,
            f"it is build {facts.build}, and builds need {OLDEST_BUILD} (Windows Server 2016) or later",
            "take a newer image",
        ),
        (
            facts.state != GENERALIZED,
            f"it is not generalized (its state is {facts.state or 'unknown'})",
            SYSPREP,
        ),
    )
    found = [(problem, cure) for is_there, problem, cure in problems if is_there]
    if found:
        raise ImageUnsafe(
            f"no build can start from this Windows: {'; '.join(problem for problem, _ in found)}",
            hint="; ".join(cure for _, cure in found),
        )


def language_of(code: str) -> str:
    """The name of a language by Windows' number of it in hexadecimal: `0407` is `de-DE`; '' for one that is unknown."""
    if not re.fullmatch(r"[0-9A-Fa-f]{4}", code):
        return ""
    return locale.windows_locale.get(int(code, 16), "").replace("_", "-")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _is_dirty(flags: str) -> bool:
    return "DIRTY" in flags or not re.match(r"0x[0-9A-Fa-f]{4}\b", flags)
