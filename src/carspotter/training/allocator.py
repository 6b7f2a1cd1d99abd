"""Memory: what the C library is told before a training on CPU, and when it hands back what it kept."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8  # glibc's malloc.h


def keep_memory() -> bool:
    """Ask glibc to keep freed memory instead of handing it back after every step.

    A training step frees and asks again for the same hundreds of megabytes; by default glibc maps and unmaps each large
    block, and the kernel zeroes every page anew. First figures in docs/log.md; `benchmarks/train_step.py` compares.

    Returns:
        Whether the C library took it; other systems' libraries are left alone.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    largest = 2**31 - 1
    # One arena for all threads: each would keep its own freed blocks, and shards on two threads were 1.1 times as fast.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, largest), (_M_MMAP_THRESHOLD, 2**30), (_M_ARENA_MAX, 1))
    return all([mallopt(name, value) for name, value in settings])  # noqa: C419 - all are told, whatever one says


def release_memory() -> bool:
    """Hand freed memory back to the system between two stages, whose blocks differ in size.

    What one stage left free seldom fits what the next asks for, so without this both stay resident (docs/log.md).

    Returns:
        Whether there was anything to hand back; other systems' libraries are left alone.
    """
    malloc_trim = _glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(ctypes.c_size_t(0)))


def _glibc(name: str) -> Any:
    """A function of glibc's malloc, or None where there is another C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
