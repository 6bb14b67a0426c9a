"""A shell that a host is asked for is that host's, once, and for a minute; in SQLite and in PostgreSQL."""

import sqlalchemy as sa
from two_databases import server, store

from vmkiln.store.database import Store
from vmkiln.store.tables import asked_shells

__all__ = ["server", "store"]  # the fixtures


def test_each_is_taken_once_by_its_host_and_the_oldest_first(store: Store) -> None:
    for name, host, seconds in (("b", "one", 60), ("a", "one", 30), ("c", "one", 90), ("d", "two", 60)):
        store.shells.ask(name, host, f"for {name}", seconds=seconds)
    assert store.shells.take("one", most=2) == [("a", "for a"), ("b", "for b")]
    assert store.shells.take("one", most=2) == [("c", "for c")]
    assert store.shells.take("one", most=2) == []
    store.shells.withdraw("d")
    assert store.shells.take("two", most=2) == []


def test_what_nobody_took_in_time_is_nobodys_and_goes_with_the_next(store: Store) -> None:
    for host in ("one", "two"):
        store.shells.ask(f"old {host}", host, "order", seconds=-1)
        store.shells.ask(f"new {host}", host, "order", seconds=60)
        assert left(store) == [f"new {host}"]
        store.shells.withdraw(f"new {host}")


def test_a_host_deletes_what_it_was_asked_too_long_ago(store: Store) -> None:
    for name, host, seconds in (("new", "one", 60), ("old", "one", -1), ("other", "two", -1)):
        store.shells.ask(name, host, "order", seconds=seconds)
    assert store.shells.take("one", most=1) == [("new", "order")]
    assert left(store) == ["other"]


def left(store: Store) -> list[str]:
    return [row["shell_id"] for row in store.connections.rows(sa.select(asked_shells.c.shell_id))]
