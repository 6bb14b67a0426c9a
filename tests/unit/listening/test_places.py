"""Places for connections: who waits longest gives way, who is answered never does."""

import pytest

from vmkiln.listening.connections import Connection, Connections


def entered(door: Connections, address: str, closed: list[str], name: str) -> Connection:
    found = door.enter(address)
    assert found is not None, name
    found.close = lambda: closed.append(name)
    return found


def test_who_waits_longest_makes_room_for_a_newcomer() -> None:
    door, closed = Connections(3, 3), list[str]()
    for name in ("first", "second", "third", "fourth"):
        entered(door, "a", closed, name)
    assert closed == ["first"]
    assert len(door) == 3


def test_a_connection_that_is_answered_keeps_its_place() -> None:
    door, closed = Connections(2, 2), list[str]()
    entered(door, "a", closed, "answered").becomes_busy()
    for name in ("second", "third"):
        entered(door, "a", closed, name)
    assert closed == ["second"]


def test_a_connection_that_was_answered_waits_as_the_newest() -> None:
    door, closed = Connections(2, 2), list[str]()
    first = entered(door, "a", closed, "first")
    entered(door, "a", closed, "second")
    first.becomes_busy()
    first.waits()
    entered(door, "a", closed, "third")
    assert closed == ["second"]


def test_an_address_that_has_its_places_gives_way_to_itself() -> None:
    door, closed = Connections(10, 2), list[str]()
    entered(door, "b", closed, "other")
    for name in ("first", "second", "third"):
        entered(door, "a", closed, name)
    assert closed == ["first"]


def test_of_all_the_address_with_most_waiting_gives_way() -> None:
    door, closed = Connections(4, 4), list[str]()
    entered(door, "alone", closed, "alone")
    for name in ("first", "second", "third"):
        entered(door, "crowd", closed, name)
    entered(door, "new", closed, "new")
    assert closed == ["first"]


def test_when_all_are_answered_a_newcomer_is_refused() -> None:
    door, closed = Connections(2, 1), list[str]()
    for address in ("a", "b"):
        entered(door, address, closed, address).becomes_busy()
    assert door.enter("c") is None
    assert door.enter("a") is None
    assert (closed, door.refused) == ([], 2)


@pytest.mark.parametrize("times", [1, 2])
def test_a_place_is_free_again_when_its_connection_has_left(times: int) -> None:
    door, closed = Connections(1, 1), list[str]()
    connection = entered(door, "a", closed, "first")
    connection.becomes_busy()
    for _ in range(times):
        connection.leaves()
    connection.waits()  # told late, by an answer that ends after its connection
    assert len(door) == 0
    entered(door, "a", closed, "second").becomes_busy()
    assert not closed
    assert door.enter("a") is None
