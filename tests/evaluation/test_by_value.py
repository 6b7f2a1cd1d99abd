"""Photos are sorted by what a column says of them."""

from __future__ import annotations

import pytest

from carspotter.evaluation import by_value as module
from carspotter.evaluation.by_value import by_value


def counts(cells: list[str]) -> list[tuple[str, int]]:
    return [(name, int(mask.sum())) for name, mask in by_value(cells)]


def test_the_frequent_come_first_and_every_photo_is_in_one_group() -> None:
    found = by_value(["side", "front", " front ", "", "rear", "front", "side"])
    assert [(name, mask.tolist()) for name, mask in found[:1]] == [("front", [0, 1, 1, 0, 0, 1, 0])]
    assert [(name, int(mask.sum())) for name, mask in found] == [
        ("front", 3),
        ("side", 2),
        ("rear", 1),
        ("no value", 1),
    ]
    assert (sum(mask.astype(int) for _, mask in found) == 1).all()


def test_rare_values_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    assert counts(list("aabbbc")) == [("b", 3), ("a", 2), ("c", 1)]
    assert counts(list("aabbbcd")) == [("b", 3), ("a", 2), ("2 other values", 2)]
    assert counts(["2 other values", "2 other values", "x", "x", "y", "z"])[0::2] == [
        ("2 other values", 2),
        ("2 other values", 2),
    ]
