"""What the egress policy refused is told once, with its step, and belongs to that step's failure."""

from vmkiln.host.egress.name_proxy import NOT_ALLOWED, Passage
from vmkiln.host.egress.resolver_program import BY_POLICY, Told
from vmkiln.host.network.refused_names import MOST_NAMES, RefusedNames, advice


def asked(name: str, *, kind: str = "A", verdict: str = f"refused: {BY_POLICY}") -> Told:
    return Told(1.0, "10.0.1.4", name, kind, "REFUSED", (), verdict)


def taken(name: str, *, port: int = 443, verdict: str = NOT_ALLOWED) -> Passage:
    return Passage(1.0, name, "203.0.113.10", "", port, 0, 0, verdict)


def test_each_is_told_once_and_known_by_its_step() -> None:
    told: list[str] = []
    step = 0
    names = RefusedNames()
    names.question(asked("early.example"))  # nobody hears yet
    with names.told_to(told.append, lambda: step):
        names.question(asked("a.example"))
        names.question(asked("a.example", kind="AAAA"))
        names.question(asked("srv.example", kind="SRV"))
        names.question(asked("good.example", verdict="allowed"))
        step = 1
        names.passage(taken("b.example"))
        names.passage(taken("good.example", verdict="allowed"))
        names.passage(taken("far.example", verdict="not reached: no answer"))
        names.passage(taken("", port=22, verdict="refused: it speaks neither TLS nor HTTP"))
    names.question(asked("late.example"))
    assert told == [
        "a.example",
        "b.example:443",
        "port 22 of 203.0.113.10 (it speaks neither TLS nor HTTP)",
    ]
    assert names.of_step(0) == ("a.example",)
    assert names.of_step(1) == tuple(told[1:])


def test_who_makes_names_up_gets_no_more_lines() -> None:
    told: list[str] = []
    names = RefusedNames()
    with names.told_to(told.append, lambda: 0):
        for number in range(10 * MOST_NAMES):
            names.question(asked(f"x{number}.example"))
    assert len(told) == MOST_NAMES
    assert told[-1].endswith("no more are told")


def test_a_failed_steps_hint_names_what_it_wanted() -> None:
    assert advice(()) == ""
    assert "refused a.example, b.example:443: allow" in advice(("a.example", "b.example:443"))
    assert "and 2 more" in advice(tuple(f"{number}.example" for number in range(7)))
