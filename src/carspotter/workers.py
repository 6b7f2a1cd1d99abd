"""Work done side by side by threads: on how many cores, and in which order its results come."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from math import ceil, inf
from pathlib import Path
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


PATIENCE = 120
"""Seconds that a photo's bytes are waited for. A client of NFS asks again after 60 s without an answer (nfs(5),
`timeo`, over TCP), so one lost request costs no photo; and three attempts at a store take 92.5 s (`data/remote.py`)."""
CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows a container its own bounds."""


def usable_cores() -> int:
    """Cores this process may run on, which under taskset or in a container are fewer than the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(cores, _quota(CGROUPS))))


def _quota(cgroups: Path) -> float:
    """Cores' worth of time that a container gets (`docker run --cpus`), in either version of Linux's groups; inf: all.

    Source: kernel.org, "Control Group v2", cpu.max; "CFS Bandwidth Control", cpu.cfs_quota_us and cpu.cfs_period_us.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = " ".join((cgroups / name).read_text(encoding="ascii") for name in names).split()
            if quota.isdecimal() and int(quota) and int(period) > 0:
                return int(quota) / int(period)
    return inf


def processes() -> int:
    """How many processes were started together by `torchrun` or such; 1 where nobody did."""
    return max(1, int(os.environ.get("WORLD_SIZE") or 1))


def is_first() -> bool:
    """Whether this is the process of them that writes and prints."""
    return int(os.environ.get("RANK") or 0) == 0


def in_order(make: Callable[[Item], Made], items: Iterable[Item], *, threads: int, ahead: int) -> Generator[Made]:
    """Results in the order of the items, a bounded number of them under way.

    Args:
        make: called on a thread, once per item; what it raises is raised in its result's place.
        items: drawn one by one as results are taken.
        threads: how many work.
        ahead: items handed out and not yet taken, at most. Leaving early waits for those at work, not for the others.
    """
    rest = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="worker") as pool:
        under_way: deque[Future[Made]] = deque(pool.submit(make, item) for item in islice(rest, ahead))
        try:
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(pool.submit(make, item) for item in islice(rest, 1))
        finally:
            for future in under_way:
                future.cancel()


def within(seconds: float, work: Callable[[], Made]) -> Made:
    """What the work gives, or raises, in so many seconds; a thread that hangs can be left, though not ended.

    Raises:
        TimeoutError: it is still at it. Nobody hears of what it comes to; it does not keep the process from ending.
    """
    box: Future[Made] = Future()

    def run() -> None:
        try:
            box.set_result(work())
        except BaseException as fault:  # noqa: BLE001 - raised by whoever waits
            box.set_exception(fault)

    Thread(target=run, daemon=True, name="left-alone").start()
    return box.result(timeout=seconds)
