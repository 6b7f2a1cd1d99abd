"""`demo`: the whole story on photos that the package draws itself."""

from __future__ import annotations


def demo() -> None:
    """Draw a small lot of cars, train on it, answer its contest, and show where to look."""
