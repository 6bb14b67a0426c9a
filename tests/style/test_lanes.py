"""Each test is run by exactly one of the parts that `script/test` deals them out to, as root."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKS = ("vm", "image_making")
SCRIPT = (ROOT / "script/test").read_text()
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))


def listed(name: str) -> tuple[Path, ...]:
    """The places in one of the script's lists."""
    found = re.search(rf"^{name}=\(([^)]*)\)$", SCRIPT, re.MULTILINE)
    assert found, name
    return tuple(Path(word) for word in found[1].replace('"', "").split())


def selection(part: str) -> str:
    """By which marks a part selects its tests."""
    found = re.search(
        rf'^ +(?:[\w-]+ \| )*{part}(?: \| [\w-]+)*\) selection=\(-m "([^"]+)"\) ;;$', SCRIPT, re.MULTILINE
    )
    assert found, part
    return found[1]


def is_in(path: Path, places: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def parts_of(path: Path, marks: set[str]) -> list[str]:
    """The parts that run a file whose tests have these marks; as pytest, by Python's own words for marks."""
    alone, share, vm = listed("by_themselves"), listed("vm_share"), (Path("tests/vm"),)
    places = {
        "vm": is_in(path, vm) and not is_in(path, share),
        "vm-share": is_in(path, share),
        "alone": is_in(path, alone),
        "others": not is_in(path, alone),
    }
    has = {name: name in marks for name in MARKS}
    return [part for part, is_there in places.items() if is_there and eval(selection(part), {}, has)]  # noqa: S307


def test_each_test_is_run_by_one_part() -> None:
    marks = {path: {name for name in MARKS if f"pytest.mark.{name}" in (ROOT / path).read_text()} for path in FILES}
    found = {str(path): parts_of(path, marks[path]) for path in FILES}
    assert len(found) > 100
    assert {path: parts for path, parts in found.items() if len(parts) != 1} == {}


def test_what_is_listed_is_there() -> None:
    places = [*listed("by_themselves"), *listed("vm_share"), *listed("lanes")]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_one_that_none_would_run_is_found() -> None:
    assert parts_of(Path("tests/vm/test_build.py"), {"vm"}) == ["vm"]
    assert parts_of(Path("tests/vm/test_held.py"), {"vm"}) == ["vm-share"]
    assert parts_of(Path("tests/vm/test_made_image_boots.py"), {"vm", "image_making"}) == ["others"]
    assert parts_of(Path("tests/faults/test_soak.py"), {"vm"}) == []
