"""Photos that a net was taught with are known by what it makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.inference import neighbours
from carspotter.inference.neighbours import taught_with
from carspotter.inference.reference import Reference


def remembered(embeddings: np.ndarray) -> Reference:
    labels, means = np.zeros(len(embeddings), np.int32), np.zeros((2, embeddings.shape[1]), np.float32)
    return Reference(tuple(map(str, range(len(embeddings)))), embeddings.astype(np.float16), labels, means)


def test_rounding_is_no_difference_and_another_photo_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 100)  # a row at a time
    seen = np.random.default_rng(0).normal(size=(60, 32)).astype(np.float32)
    again = 3 * seen[[4, 59]] + np.float32(0.01)  # brighter, and by another decoder
    assert taught_with(remembered(seen[:50]), np.concatenate([seen[45:55], again])).tolist() == [
        *[True] * 5, *[False] * 5, True, False
    ]  # fmt: skip


def test_a_net_that_hardly_tells_photos_apart_knows_only_the_same() -> None:
    seen = 1 + 0.005 * np.random.default_rng(0).normal(size=(60, 32)).astype(np.float32)
    assert taught_with(remembered(seen[:50]), seen).tolist() == [True] * 50 + [False] * 10


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything_remembered(count: int) -> None:
    seen = np.eye(4, dtype=np.float32)
    assert taught_with(remembered(seen[:count]), seen).tolist() == [at < count for at in range(4)]


def test_photos_that_all_trained_twice_are_known() -> None:
    seen = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert taught_with(remembered(np.repeat(seen, 2, 0)), seen).all()
