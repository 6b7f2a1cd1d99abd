"""A wish to stop, noted when the signal comes and fulfilled after the step under way."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from carspotter.errors import EXIT_TERMINATED

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked.

    Attributes:
        asked: the signal, or None.
    """

    def __init__(self) -> None:
        self.asked: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """The handler: the first signal is noted, a second one ends at once."""
        if self.asked is not None:
            end(number)
        self.asked = number


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """The time in which SIGINT and SIGTERM are noted; outside it they end at once."""
    try:
        before = [(number, signal.signal(number, stop.note)) for number in SIGNALS]
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def end(number: int) -> NoReturn:
    """Leave as the signal would have it.

    Raises:
        KeyboardInterrupt: for SIGINT.
        SystemExit: for SIGTERM, with its exit code.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(EXIT_TERMINATED)
