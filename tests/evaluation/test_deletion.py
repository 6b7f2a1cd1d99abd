from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation.deletion import area, deletion_curve, drawn, hide, hottest_first

CELLS = np.array([[1.0, 5.0], [3.0, -2.0]])


def test_the_hottest_goes_first() -> None:
    np.testing.assert_array_equal(hottest_first(CELLS), [[2, 0], [1, 3]])


def test_hidden_cells_are_grey_and_the_photo_is_left_alone() -> None:
    photo = np.full((4, 6, 3), 7, np.uint8)
    hidden = hide(photo, hottest_first(CELLS), 0.5)
    np.testing.assert_array_equal(hidden[:2, 3:], 128)
    np.testing.assert_array_equal(hidden[2:, :3], 128)
    np.testing.assert_array_equal(hidden[:2, :3], 7)
    np.testing.assert_array_equal(hidden[2:, 3:], 7)
    assert (photo == 7).all()


def test_a_chance_order_is_a_whole_order() -> None:
    assert sorted(drawn((3, 4), np.random.default_rng(0)).ravel()) == list(range(12))


def test_hiding_what_matters_lowers_the_curve() -> None:
    photo = np.zeros((4, 4, 3), np.uint8)
    photo[:2, 2:] = 255

    def lead(pixels: np.ndarray) -> float:
        return float((pixels == 255).mean())

    hot, cold = (deletion_curve(lead, photo, hottest_first(sign * CELLS)) for sign in (1, -1))
    assert len(hot) == 11
    assert hot[0] == cold[0] == pytest.approx(0.25)
    assert hot[-1] == cold[-1] == 0
    assert area(hot) < area(cold)


def test_the_area_is_the_mean_height() -> None:
    assert area(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)
