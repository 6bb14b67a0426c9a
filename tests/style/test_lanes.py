"""Each test is run by exactly one of the parts that `script/test` deals them out to, as root."""

import re
import subprocess
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


def lines_of(first: str, last: str) -> str:
    """A part of the script, from a line that begins with `first` to the next that is `last`."""
    found = re.search(rf"^{re.escape(first)}.*?^{last}$", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found, first
    return found[0]


def bash(*lines: str) -> list[str]:
    """The lines that some of bash prints."""
    told = subprocess.run(["bash", "-euc", "\n".join(lines)], check=True, capture_output=True, text=True)
    return told.stdout.splitlines()


def on_a_day(seed: int, *, long: bool = False) -> tuple[set[str], set[str]]:
    """The real builds that the script has the third user run with that seed, and those left for another day."""
    tier = f"long=({'--long' if long else ''}); VMKILN_TEST_SEED={seed}"
    share, left = bash(tier, lines_of("vm_turns=(", "done"), 'echo "${vm_share[*]}"; echo "${not_today[*]}"')
    return set(share.split()), set(left.split())


def left_out(*arguments: str, part: str = "all") -> set[str]:
    """What pytest is told to leave out when the script is called with these arguments, of one file without a turn."""
    pytest = (
        'pytest() { printf \'%s\\n\' "$@"; }; first_time() { shift; pytest "$@"; }; once_more() { :; }; say() { :; }'
    )
    given = (
        f"set -- {' '.join(arguments)}; part={part}; long=() limits=() selection=() vm_share=(); not_today=(tests/x.py)"
    )
    return {
        word
        for word in bash(pytest, given, lines_of("case $part in\n    vm | vm-share | alone", "esac"))
        if "x.py" in word
    }


def vm_share() -> tuple[Path, ...]:
    """The real builds that the third user runs on some day."""
    turns = set(listed("vm_turns")) - set(listed("vm_with_clients"))
    return (*listed("vm_every_day"), *sorted(turns))


def needs_clients(path: Path) -> bool:
    """Whether a test uses a client of others, by itself or through the module of another test."""
    used = set(re.findall(r"^(?:from|import) (\w+)", (ROOT / path).read_text(), re.MULTILINE))
    beside = [ROOT / path.parent / f"{name}.py" for name in sorted(used)]
    return "real_clients" in used or any(needs_clients(other.relative_to(ROOT)) for other in beside if other.exists())


def is_in(path: Path, places: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def parts_of(path: Path, marks: set[str]) -> list[str]:
    """The parts that run a file whose tests have these marks; as pytest, by Python's own words for marks."""
    alone, share, vm = listed("by_themselves"), vm_share(), (Path("tests/vm"),)
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
    names = ("by_themselves", "vm_every_day", "vm_turns", "vm_with_clients", "lanes")
    places = [place for name in names for place in listed(name)]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_one_that_none_would_run_is_found() -> None:
    assert parts_of(Path("tests/vm/test_build.py"), {"vm"}) == ["vm"]
    assert parts_of(Path("tests/vm/test_held.py"), {"vm"}) == ["vm-share"]
    assert parts_of(Path("tests/vm/test_made_image_boots.py"), {"vm", "image_making"}) == ["others"]
    assert parts_of(Path("tests/faults/test_soak.py"), {"vm"}) == []


def test_each_real_build_has_its_turn_within_four_days() -> None:
    turns, daily = ({str(place) for place in listed(name)} for name in ("vm_turns", "vm_every_day"))
    with_clients = {str(place) for place in listed("vm_with_clients")}
    days = [on_a_day(seed) for seed in range(20261130, 20261134)]
    assert all(daily <= share and not share & (left | with_clients) for share, left in days)
    assert sorted(file for share, _left in days for file in share - daily) == sorted(turns - with_clients)
    assert all(sum(file not in left for _share, left in days) == 1 for file in turns)


def test_in_the_long_tier_each_real_build_has_its_turn() -> None:
    assert on_a_day(20261130, long=True) == ({str(place) for place in vm_share()}, set())


def test_what_needs_a_client_of_others_runs_where_they_are() -> None:
    of_real_builds = [path for path in FILES if path.is_relative_to("tests/vm")]
    assert {path for path in vm_share() if needs_clients(path)} == set()
    assert {path for path in listed("vm_with_clients") if not needs_clients(path)} == set()
    assert sum(map(needs_clients, of_real_builds)) == 3


def test_what_has_no_turn_is_left_out_but_not_when_something_is_named() -> None:
    assert left_out() == {"--ignore=tests/x.py"}
    assert left_out(part="vm") == {"--ignore=tests/x.py"}
    assert left_out("tests/x.py") == {"tests/x.py"}
