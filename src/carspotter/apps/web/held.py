"""What visitors sent and may ask about again: held in memory while their pages are open, within one bound for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_HELD = 400 * 2**20
"""Bytes of all visitors' files together. Assumption: two of the largest zips, or a hundred phone photos."""


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One file as sent: its name and bytes."""

    name: str
    data: bytes


class Held:
    """The files of all visitors.

    Where they take too much, whoever holds most loses his oldest: one who sends much takes nothing from others.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self._of: dict[str, dict[Upload, Callable[[], None]]] = {}

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(map(self._size, self._of))

    def come(self, visitor: str) -> None:
        """A page is opened."""
        self._of[visitor] = {}

    def go(self, visitor: str) -> None:
        """It is closed, and what it held is gone."""
        self._of.pop(visitor, None)

    def keep(self, visitor: str, file: Upload, lost: Callable[[], None]) -> None:
        """Hold a file; `lost` is called should it be let go to make room."""
        if visitor not in self._of:  # the page was closed while the file arrived
            return
        self._of[visitor][file] = lost
        while self.size > self._most:
            theirs = self._of[max(self._of, key=self._size)]
            theirs.pop(next(iter(theirs)))()

    def drop(self, visitor: str, file: Upload) -> None:
        """It will not be asked about again."""
        self._of.get(visitor, {}).pop(file, None)

    def _size(self, visitor: str) -> int:
        return sum(len(file.data) for file in self._of[visitor])
