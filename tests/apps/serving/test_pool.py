"""A pool of one worker, looked at in every step of the loop."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import pytest

from carspotter.apps.serving.fair_queue import Turn
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.pool import Full, Pool
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.serving.worker import Seen, Task
from helpers.tiny import colour_photo, write_tiny_bundle


def test_a_worker_is_ready_while_it_goes_from_photo_to_photo(tmp_path: Path) -> None:
    registry = ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder])
    task = Task(registry.model("tiny"), colour_photo(250, 0, 0))

    async def work() -> None:
        pool = Pool(Limits(workers=1), lambda: registry.models)
        assert pool.full  # nobody is there
        await pool.start()
        try:
            asked = [asyncio.create_task(pool.run(task, Turn())) for _ in range(5)]
            while not all(one.done() for one in asked):
                assert pool.ready == 1
                await asyncio.sleep(0)
            assert all(isinstance(one.result(), Seen) for one in asked)
        finally:
            await pool.stop()

    asyncio.run(work())


def test_a_pool_stops_while_workers_are_being_started(tmp_path: Path) -> None:
    registry = ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder])

    async def work() -> None:
        for moment in range(6):
            pool = Pool(Limits(workers=3), lambda: registry.models)
            await pool.start()
            await asyncio.sleep(0.002 * moment)  # two of them are under way
            await pool.stop()

    asyncio.run(work())
    assert not multiprocessing.active_children()


def test_requests_of_one_moment_are_counted_before_any_of_them_stands_in_the_line(tmp_path: Path) -> None:
    registry = ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder])
    task = Task(registry.model("tiny"), colour_photo(250, 0, 0))

    async def work() -> None:
        pool = Pool(Limits(workers=1, wait=0.5), lambda: registry.models)
        await pool.start()
        try:
            with pool.admitting(1) as turn:  # nothing of it has begun
                assert pool.wait == 1
                with pytest.raises(Full), pool.admitting(1):
                    pass
                asked = asyncio.create_task(pool.run(task, turn))
                while not pool.working:  # from the line into the hand there is no moment in which it counts for nothing
                    assert pool.wait == 1
                    await asyncio.sleep(0)
                await asked
            assert pool.wait == 0
            with pool.admitting(2):  # given up before anything was asked
                pass
            assert pool.wait == 0
        finally:
            await pool.stop()

    asyncio.run(work())
