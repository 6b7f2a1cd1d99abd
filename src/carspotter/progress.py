"""How long work reports that it goes on, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total); the phase is a short noun such as "photos"."""


def silent(phase: str, done: int, total: int) -> None:
    """The progress that shows nothing."""
