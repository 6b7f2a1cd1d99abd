"""How fast requests come, of late."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

FADES = 0.5
"""Seconds after which a request counts a third. Assumption: long enough that what one page sends at once is no flood,
and at five times what a worker takes (140 requests a second for Lite0 on one core) it is known as one after 0.1 s."""


class Arrivals:
    """Requests, counted with a weight that fades with time.

    Args:
        now: the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._count = 0.0
        self._at = now()

    def add(self) -> None:
        """One came."""
        self._fade()
        self._count += 1

    @property
    def rate(self) -> float:
        """Requests a second."""
        self._fade()
        return self._count / FADES

    def _fade(self) -> None:
        now = self._now()
        self._count *= math.exp((self._at - now) / FADES)
        self._at = now
