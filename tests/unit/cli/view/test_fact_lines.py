"""The facts of a run as lines that a person reads."""

from vmkiln.cli.view.fact_lines import fact_lines


def test_a_fact_is_told_in_words_with_its_unit() -> None:
    facts = {"isolation_level": "emulated", "need": {"cpus": 2, "memory_mib": 4224}, "build-vm_went_on": True}
    assert fact_lines(facts) == [
        "  isolation level: emulated",
        "  need:",
        "    cpus: 2",
        "    memory: 4224 MiB",
        "  build-vm went on: yes",
    ]


def test_what_is_empty_has_no_line_and_nothing_of_python_is_shown() -> None:
    hygiene = {"verdict": "Clean", "allowed": [], "told": ["a key", "a token"], "unproven": []}
    facts = {"hygiene": hygiene, "boot": None, "lease": {}, "held_until": "", "host_faults": {"a": {"b": {}}}}
    assert fact_lines(facts) == ["  hygiene:", "    verdict: Clean", "    told: a key, a token"]


def test_nought_and_no_are_told() -> None:
    assert fact_lines({"generation": 0, "is_kept": False}) == ["  generation: 0", "  is kept: no"]


def test_the_names_of_hosts_and_rules_are_told_as_they_are() -> None:
    facts = {"host_faults": {"build_host_mib": 2}, "packets": {"to_the_internet": 7}}
    assert fact_lines(facts) == ["  host faults:", "    build_host_mib: 2", "  packets:", "    to_the_internet: 7"]


def test_a_value_from_a_guest_moves_no_cursor_and_makes_no_line() -> None:
    assert "\x1b" not in "".join(fact_lines({"told": "\x1b[2J", "host_faults": {"\x1b[2J": 1}}))
    assert len(fact_lines({"told": "one\r\ntwo"})[0].splitlines()) == 1


def test_what_lies_too_deep_is_left_to_the_json() -> None:
    deep: object = "end"
    for _ in range(50):
        deep = {"a": deep}
    assert fact_lines({"deep": deep}) == []
