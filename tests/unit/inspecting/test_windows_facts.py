"""What a Windows image tells is read as a guest's word, and what no build can start from is refused with the cure."""

from dataclasses import replace

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import ImageUnsafe, VmkilnError
from vmkiln.inspecting.windows_facts import (
    GENERALIZED,
    MOST_FACTS_BYTES,
    WindowsFacts,
    check_startable,
    language_of,
    read_facts,
)
from vmkiln.run_failures import InspectionFailed

TOLD = b"""\
device=vda2
flags=0x0000
unclean=
hibernation=
ProductName=Windows Server 2022 Datacenter
CurrentBuildNumber=20348
UBR=2619
EditionID=ServerDatacenter
InstallationType=Server
ImageState=IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE
InstallLanguage=0407
service=viostor
service=netkvm
answer=Panther/unattend.xml
override=storahci
end=
"""
FACTS = read_facts(TOLD)


def test_facts_are_read() -> None:
    assert WindowsFacts(
        "Windows Server 2022 Datacenter", 20348, 2619, "ServerDatacenter", "de-DE", GENERALIZED,
        services=("viostor", "netkvm"), answers=("Panther/unattend.xml",), overrides=("storahci",),
    ) == FACTS  # fmt: skip
    assert (FACTS.has_virtio_disk, FACTS.has_virtio_network) == (True, True)
    check_startable(FACTS)


@pytest.mark.parametrize(
    ("change", "reason", "cure"),
    [
        ({"is_hibernated": True, "unclean": "dirty"}, "it is hibernated", "powercfg"),
        ({"unclean": "Volume is scheduled for check."}, "not whole .Volume is scheduled", "chkdsk"),
        ({"state": "IMAGE_STATE_COMPLETE"}, "not generalized .its state is IMAGE_STATE_COMPLETE", "sysprep.exe"),
        ({"state": ""}, "its state is unknown", "sysprep.exe"),
        ({"build": 9600}, "it is build 9600", "newer image"),
    ],
)
def test_what_no_build_can_start_from_is_refused_with_its_cure(
    change: dict[str, object], reason: str, cure: str
) -> None:
    with pytest.raises(ImageUnsafe, match=reason) as refused:
        check_startable(replace(FACTS, **change))  # type: ignore[arg-type]
    assert cure in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (TOLD.removesuffix(b"end=\n"), InspectionFailed),
        (TOLD + b"x" * MOST_FACTS_BYTES, InspectionFailed),
        (b"root=password\n" + TOLD, InspectionFailed),
        (b"no sign\n" + TOLD, InspectionFailed),
        (b"end=\n", ImageUnsafe),
        (TOLD.replace(b"end=", b"device=vda3\nend="), ImageUnsafe),
    ],
)
def test_an_answer_that_is_not_in_its_form_is_refused(answer: bytes, error: type[VmkilnError]) -> None:
    with pytest.raises(error):
        read_facts(answer)


def test_a_volume_whose_flags_are_not_told_is_not_taken_for_clean() -> None:
    for flags in (b"flags=0x0001 DIRTY", b"flags="):
        assert read_facts(TOLD.replace(b"flags=0x0000", flags)).unclean


def test_languages_are_known_by_their_number() -> None:
    assert [language_of(code) for code in ("0409", "0407", "0411", "zzzz", "")] == ["en-US", "de-DE", "ja-JP", "", ""]


@settings(max_examples=tiers.cheap_examples())
@given(st.binary(max_size=400))
def test_any_answer_is_read_or_refused(answer: bytes) -> None:
    for content in (answer, TOLD.replace(b"2619", answer)):
        try:
            facts = read_facts(content)
        except (InspectionFailed, ImageUnsafe):
            continue
        assert facts.title.isprintable()
