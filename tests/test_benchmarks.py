"""What the benchmarks read can be read; their figures are for people to judge."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCREENS = sorted((BENCHMARKS / "screens").glob("*.toml"))


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_a_shipped_screen_is_sound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    sides = importlib.import_module("screen").read_variants(path)
    first, *others = (side.recipe for side in sides)
    assert others
    assert all(other.model_copy(update={"name": first.name}) != first for other in others)


def test_there_are_screens() -> None:
    assert SCREENS
