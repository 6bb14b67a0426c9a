"""However many try to log in, a few are answered at once, and who tries most waits least in others' way."""

import asyncio
import threading

import pytest

from vmkiln.api.identity.login_turns import MOST_WAITING, MOST_WAITING_OF_AN_ADDRESS, LoginTurns, network_of
from vmkiln.waiting.off_loop import MOST_LOGIN_THREADS


async def test_a_few_logins_are_answered_at_once_and_a_few_more_wait() -> None:
    turns, end, lock = LoginTurns(), threading.Event(), threading.Lock()
    begun: list[int] = []
    most: list[int] = []

    def answer() -> str:
        with lock:
            begun.append(1)
            most.append(len(begun))
        end.wait(30)
        with lock:
            begun.pop()
        return "token"

    of_one = [asyncio.create_task(turns.answered("192.0.2.1", answer)) for _ in range(50)]
    of_many = [asyncio.create_task(turns.answered(f"198.51.100.{number}", answer)) for number in range(100)]
    await asyncio.sleep(0.2)
    end.set()
    answered = [await task for task in of_one]
    assert answered.count("token") == MOST_WAITING_OF_AN_ADDRESS
    assert [await task for task in of_many].count("token") == MOST_WAITING - MOST_WAITING_OF_AN_ADDRESS
    assert max(most) <= MOST_LOGIN_THREADS
    assert await turns.answered("192.0.2.1", answer) == "token"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
