"""Sets that grow together: photos that are copies, or of one ad."""

from __future__ import annotations


class Unions:
    """Sets that grow together (union-find; the smaller number is the root)."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, item: int) -> int:
        """The number that stands for an item's set."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Make one set of the two that hold `a` and `b`."""
        low, high = sorted((self.root(a), self.root(b)))
        self._parent[high] = low
