"""The table of the audit, in both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from two_databases import server, store

from vmkiln.store.audit_table import MOST_ROWS_AT_ONCE, AuditQuery
from vmkiln.store.database import Store
from vmkiln.store.rows import AuditRow

__all__ = ["server", "store"]  # the fixtures

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
GROUP = "/subscriptions/S1/resourceGroups/Rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/Web"
EVERYTHING = AuditQuery("s1", NOW - timedelta(days=1), NOW + timedelta(days=1))


def an_act(event_id: str = "e1", **changes: object) -> AuditRow:
    row = AuditRow(
        event_id=event_id,
        moment=NOW,
        caller="Anna",
        caller_id="Object-1",
        caller_kind="app",
        operation="Microsoft.VirtualMachineImages/imageTemplates/run/action",
        resource_id=TEMPLATE,
        subscription_id="s1",
        resource_group="rg1",
        provider="microsoft.virtualmachineimages",
        status="Accepted",
        code=202,
        error_code="",
        method="POST",
        correlation_id="c1",
        request_id="r1",
        source="10.0.0.1",
        is_refused=False,
        detail={"runId": "11"},
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def ids(store: Store, query: AuditQuery = EVERYTHING, *, limit: int = 100) -> list[str]:
    return [row.event_id for row in store.audit.find(query, limit=limit)]


def test_an_act_comes_out_as_it_was_recorded(store: Store) -> None:
    store.audit.add([an_act()])
    (row,) = store.audit.find(EVERYTHING, limit=10)
    assert row.number > 0
    assert replace(row, number=0) == an_act()


def test_acts_come_newest_first_and_page_after_page(store: Store) -> None:
    moments = [NOW, NOW, NOW + timedelta(microseconds=1), NOW - timedelta(hours=1)]
    store.audit.add([an_act(f"e{number}", moment=moment) for number, moment in enumerate(moments)])
    assert ids(store) == ["e2", "e1", "e0", "e3"]
    seen: list[str] = []
    query = EVERYTHING
    while rows := store.audit.find(query, limit=1):
        seen += [row.event_id for row in rows]
        query = replace(query, before=(rows[-1].moment, rows[-1].number))
    assert seen == ["e2", "e1", "e0", "e3"]


@pytest.mark.parametrize(
    ("asked", "is_found"),
    [
        ({"since": NOW, "until": NOW}, True),
        ({"since": NOW + timedelta(microseconds=1)}, False),
        ({"until": NOW - timedelta(microseconds=1)}, False),
        ({"subscription_id": "s2"}, False),
        ({"subscription_id": ""}, False),
        ({"resource_group": "RG1"}, True),
        ({"resource_group": "rg"}, False),
        ({"resource_id": TEMPLATE.upper()}, True),
        ({"resource_id": GROUP}, False),
        ({"provider": "Microsoft.VirtualMachineImages"}, True),
        ({"provider": "Microsoft.Compute"}, False),
        ({"correlation_id": "C1"}, True),
        ({"correlation_id": "c2"}, False),
        ({"caller": "anna"}, True),
        ({"caller": "object-1"}, True),
        ({"caller": "ann"}, False),
        ({"status": "accepted"}, True),
        ({"status": "Failed"}, False),
        ({"groups": frozenset({"rg0", "rg1"})}, True),
        ({"groups": frozenset({"rg0"})}, False),
        ({"groups": frozenset()}, False),
        ({"groups": frozenset(), "resources": frozenset({TEMPLATE.lower()})}, True),
        ({"groups": frozenset(), "resources": frozenset({TEMPLATE.lower()[:-3]})}, False),
        ({"groups": frozenset(), "resources": frozenset({TEMPLATE.lower()[:-1] + "_"})}, False),
    ],
)
def test_a_query_finds_what_it_asks_for(store: Store, asked: dict[str, object], *, is_found: bool) -> None:
    store.audit.add([an_act()])
    assert ids(store, replace(EVERYTHING, **asked)) == (["e1"] if is_found else [])  # type: ignore[arg-type]


def test_a_reader_of_thousands_of_groups_is_answered(store: Store) -> None:
    store.audit.add([an_act()])
    groups = frozenset({"rg1", *(f"group{number}" for number in range(20_000))})
    assert ids(store, replace(EVERYTHING, groups=groups)) == ["e1"]


def test_what_is_too_old_goes(store: Store) -> None:
    store.audit.add([an_act("old", moment=NOW - timedelta(days=2)), an_act("new")])
    store.audit.forget(older_than=NOW - timedelta(days=1), most=100, most_refused=100)
    assert ids(store, replace(EVERYTHING, since=NOW - timedelta(days=9))) == ["new"]


def test_refused_acts_do_not_push_out_what_was_done(store: Store) -> None:
    store.audit.add([an_act("done")])
    store.audit.add([an_act(f"refused{number}", is_refused=True) for number in range(9)])
    assert store.audit.forget(older_than=NOW - timedelta(days=1), most=1, most_refused=2) == 7
    assert ids(store) == ["refused8", "refused7", "done"]
    assert store.audit.forget(older_than=NOW - timedelta(days=1), most=1, most_refused=2) == 0


def test_one_round_of_forgetting_deletes_a_bounded_number(store: Store) -> None:
    count = MOST_ROWS_AT_ONCE + 10
    store.audit.add([an_act(f"e{number}", moment=NOW - timedelta(days=2)) for number in range(count)])
    deleted = []
    while last := store.audit.forget(older_than=NOW, most=count, most_refused=count):
        deleted.append(last)
    assert deleted == [MOST_ROWS_AT_ONCE, 10]
