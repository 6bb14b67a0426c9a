"""Who follows a log is told that it has grown."""

import asyncio
import threading

from vmkiln.staging.logs.log_news import LogNews


async def test_a_follower_is_woken_from_another_thread() -> None:
    news = LogNews()
    async with news.followed("a") as follower:
        waiting = asyncio.create_task(follower.news(at_most_seconds=60))
        await asyncio.sleep(0)
        teller = threading.Thread(target=lambda: [news.tell("a") for _ in range(100)])
        teller.start()
        assert await asyncio.wait_for(waiting, 30)
        teller.join()


async def test_what_came_while_nobody_waited_counts_once() -> None:
    news = LogNews()
    async with news.followed("a") as follower:
        news.tell("a")
        assert await follower.news(at_most_seconds=30)
        assert not await follower.news(at_most_seconds=0.01)


async def test_other_runs_wake_nobody_and_who_left_is_forgotten() -> None:
    news = LogNews()
    async with news.followed("a") as follower, news.followed("a") as second:
        news.tell("b")
        assert not await follower.news(at_most_seconds=0.01)
        news.tell("a")
        assert await second.news(at_most_seconds=30)
    assert news._followers == {}
    news.tell("a")
