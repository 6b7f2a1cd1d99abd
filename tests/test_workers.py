from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from carspotter.workers import in_order, usable_cores


def counted(started: list[int], seconds: float = 0.0) -> Callable[[int], int]:
    def make(item: int) -> int:
        started.append(item)
        time.sleep(seconds)
        return item * item

    return make


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("worker")]


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 3), (4, 40)])
def test_results_come_in_order_whatever_the_threads(threads: int, ahead: int) -> None:
    def make(item: int) -> int:
        time.sleep(0.002 * (item % 3))  # later items are ready before earlier ones
        return item * item

    assert list(in_order(make, range(20), threads=threads, ahead=ahead)) == [n * n for n in range(20)]


def test_nothing_runs_further_ahead_than_allowed() -> None:
    started: list[int] = []
    results = in_order(counted(started), range(50), threads=2, ahead=3)
    for done, _ in enumerate(results):
        time.sleep(0.002)
        assert max(started) <= done + 2


def test_a_fault_is_raised_in_its_results_place() -> None:
    results = in_order(lambda item: 6 // (2 - item), range(5), threads=2, ahead=3)
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_early_drops_what_has_not_begun_and_leaves_no_thread() -> None:
    started: list[int] = []
    results = in_order(counted(started, 0.02), range(100), threads=1, ahead=50)
    next(results)
    assert workers()
    results.close()
    assert len(started) < 40  # of the 50 that were handed out; a busy machine lets some begin
    assert not workers()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_cores_are_those_this_process_may_use() -> None:
    all_cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(all_cores)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, all_cores)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "garbage"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_a_containers_share_of_time_is_as_many_cores(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr("carspotter.workers.CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores() == cores
