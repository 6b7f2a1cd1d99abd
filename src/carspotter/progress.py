"""How long work reports that it goes on, without knowing who shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called again and again while work is done."""

    def __call__(self, phase: str, done: int, total: int, said: str = "") -> None:
        """Note that `done` of `total` are done.

        Args:
            phase: a short noun, such as "photos".
            done: finished items.
            total: all items.
            said: what came out of the last item, worth a line of its own; most have none.
        """


def silent(phase: str, done: int, total: int, said: str = "") -> None:
    """The progress that shows nothing."""
