"""Who is next, with one process that is put back again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from carspotter.apps.serving.fair_queue import FairQueue, Turn


def order(work: Callable[[FairQueue[str], list[str]], Awaitable[None]]) -> list[str]:
    """The photos in the order in which they had the process."""
    served: list[str] = []

    async def run() -> None:
        await work(FairQueue(), served)

    asyncio.run(run())
    return served


async def ask(line: FairQueue[str], turn: Turn, name: str, served: list[str]) -> None:
    hand = await line.take(turn)
    served.append(name)
    await asyncio.sleep(0)  # it is at work
    line.put(hand)


def test_a_large_request_starves_no_small_one() -> None:
    async def work(line: FairQueue[str], served: list[str]) -> None:
        large = Turn()
        asked = [asyncio.create_task(ask(line, large, f"large {at}", served)) for at in range(4)]
        await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(line, Turn(), "small", served)))
        await asyncio.sleep(0)
        line.put("process")
        await asyncio.gather(*asked)

    assert order(work) == ["large 0", "large 1", "small", "large 2", "large 3"]


def test_many_small_requests_starve_no_large_one() -> None:
    async def work(line: FairQueue[str], served: list[str]) -> None:
        line.put("process")
        hand = await line.take(large := Turn())
        asked = [asyncio.create_task(ask(line, large, f"large {at}", served)) for at in range(2)]
        asked += [asyncio.create_task(ask(line, Turn(), f"small {at}", served)) for at in range(4)]
        await asyncio.sleep(0)
        assert line.ahead == 4
        line.put(hand)
        await asyncio.gather(*asked)

    assert order(work) == ["small 0", "large 0", "small 1", "large 1", "small 2", "small 3"]


def test_large_requests_take_turns() -> None:
    async def work(line: FairQueue[str], served: list[str]) -> None:
        asked = []
        for name in ("a", "b"):
            turn = Turn()
            asked += [asyncio.create_task(ask(line, turn, f"{name}{at}", served)) for at in range(3)]
        await asyncio.sleep(0)
        line.put("process")
        await asyncio.gather(*asked)

    assert order(work) == ["a0", "a1", "b0", "b1", "a2", "b2"]


def test_who_gives_up_holds_nobody_up() -> None:
    async def work(line: FairQueue[str], served: list[str]) -> None:
        waiting = [asyncio.create_task(ask(line, Turn(), name, served)) for name in ("gone", "late", "there")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert (line.free, line.ahead) == (0, 2)
        line.put("process")
        waiting[1].cancel()  # it has the process already, and does not know yet
        await asyncio.gather(*waiting, return_exceptions=True)
        assert line.free == 1

    assert order(work) == ["there"]


def test_a_request_that_is_given_up_leaves_nothing_in_the_line() -> None:
    async def work(line: FairQueue[str], served: list[str]) -> None:
        large = Turn()
        waiting = [asyncio.create_task(ask(line, large, f"large {at}", served)) for at in range(4)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (line.ahead, line._later) == (0, {})

    assert order(work) == []
