"""Work done side by side by threads: on how many cores, and in which order its results come."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def usable_cores() -> int:
    """Cores this process may run on, which under taskset or in a container's cpuset are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes() -> int:
    """How many processes were started together by `accelerate launch` or `torchrun`; 1 where nobody did."""
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
