"""What the operator demands of an image is looked up before it is published, and every unmet demand is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.run.gates import release_gate
from vmkiln.run_failures import ReleaseRefused
from vmkiln.setting_texts.release_policy import Demand
from vmkiln.settings import Settings

KNOWN = ImageContents(packages=(Package("bash", "amd64", "5.2-1"),))
GOOD: dict[str, Any] = {
    "hygiene": {"verdict": "Clean"},
    "boot": {"seconds_to_ssh": 60.0},
    "build-vm_went_on": False,
    "build-vm_container_went_on": False,
}
ALL = frozenset(Demand)


def unmet(facts: dict[str, Any], contents: ImageContents | None = KNOWN) -> list[str]:
    return [sentence.partition(":")[0] for sentence in release_gate.unmet_demands(ALL, facts, contents)]


def test_an_image_with_all_that_is_demanded_is_published() -> None:
    assert unmet(GOOD) == []
    validated = {name: fact for name, fact in GOOD.items() if name != "boot"} | {"finished": {"is_validated": True}}
    assert unmet(validated) == [], "a validation has booted it"


@pytest.mark.parametrize("verdict", ["Relaxed", "Unproven", "Skipped"])
def test_only_a_clean_image_is_clean(verdict: str) -> None:
    assert unmet(GOOD | {"hygiene": {"verdict": verdict}}) == ["hygiene"]


def test_what_nobody_did_is_not_met() -> None:
    assert unmet({}, None) == ["hygiene", "boot", "cold", "provenance"]
    assert unmet(GOOD, ImageContents(unproven=("packages: none that are known here",))) == ["provenance"]


def test_any_vm_that_went_on_from_a_saved_one_is_named() -> None:
    facts = GOOD | {"validation-vm_container_went_on": True}
    assert unmet(GOOD | {"checkpoint": {"run_id": "0123abcd-1"}}) == ["cold"]
    told = list(release_gate.unmet_demands(ALL, facts, KNOWN))
    assert told == ["cold: went on from a saved VM: validation-vm_container"]


def test_a_run_is_refused_for_what_is_demanded_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_gate, "contents_of", lambda _: None)
    facts = SimpleNamespace(find=lambda _: SimpleNamespace(facts={}))
    staged: Any = SimpleNamespace(
        host=SimpleNamespace(settings=Settings(tmp_path), store=SimpleNamespace(runs=facts)),
        request=SimpleNamespace(run_id="run"),
    )
    release_gate.check(staged)
    staged.host.settings = Settings(tmp_path, release_policy="boot, Provenance")
    with pytest.raises(ReleaseRefused, match="boot: nobody has booted it; provenance: it is not known what is in it"):
        release_gate.check(staged)
