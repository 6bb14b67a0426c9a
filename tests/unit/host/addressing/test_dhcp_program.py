"""Who gives a guest its address answers so often in a second."""

from vmkiln.host.addressing.dhcp_program import MOST_A_SECOND, Measure


def test_what_a_guest_asks_beyond_the_measure_is_passed_over() -> None:
    measure = Measure()
    assert [measure.has_room(7.0 + number / 100) for number in range(MOST_A_SECOND + 3)].count(True) == MOST_A_SECOND
    assert not measure.has_room(7.9)
    assert measure.has_room(8.0), "each second anew"
