"""Directions alone tell likeness, in either precision."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation.sphere import distances, squared_distances, unit


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_directions_are_compared_whatever_the_lengths(kind: type) -> None:
    rows = np.array([[3, 0], [0, 0.5], [-7, 0], [0, 0]], dtype=kind)
    found = distances(rows, np.array([10, 0], dtype=kind))
    assert found.dtype == kind
    assert found == pytest.approx([0, np.sqrt(2), 2, np.sqrt(2)], abs=1e-6)


def test_equal_directions_have_no_negative_square() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 33)).astype(np.float32)
    squares = squared_distances(unit(rows), unit(5 * rows))
    assert (squares >= 0).all()
    assert squares.diagonal() == pytest.approx(np.zeros(200), abs=1e-5)
    far = ((unit(rows)[:, None] - unit(rows)[None]) ** 2).sum(2)
    assert squares == pytest.approx(far, abs=1e-5)
