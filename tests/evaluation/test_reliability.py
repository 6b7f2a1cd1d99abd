"""Calibration curves, errors and tests on confidences whose truth is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from carspotter.evaluation import reliability as module
from carspotter.evaluation.reliability import (
    calibration_error,
    calibration_p,
    errors_removed,
    reliability,
    risk_coverage,
)

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]


def drawn(photos: int, *, bold: float = 0.0, seed: int = 0) -> tuple[Floats, Hits]:
    """Confidences, and truths that come less often by `bold`."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1.0, photos)
    return confidence, rng.random(photos) < confidence - bold


def test_bins_hold_equally_many_photos_in_rising_order() -> None:
    bins = reliability(*drawn(105), 10)
    assert [one.accuracy.n for one in bins] == [11] * 5 + [10] * 5
    confidences = [one.confidence for one in bins]
    assert confidences == sorted(confidences)


def test_the_error_of_a_bold_net_is_what_it_is_bold_by() -> None:
    found = calibration_error(*drawn(5000, bold=0.2))
    assert found.low < 0.2 < found.high
    assert found.high - found.low < 0.05


@pytest.mark.slow
def test_chance_is_taken_off() -> None:
    """Without that, 200 well calibrated photos would show an error of about .1."""
    squares = [calibration_error(*drawn(200, seed=seed)).value for seed in range(12)]
    assert np.median(squares) < 0.04


def test_photos_of_their_own_change_no_bit() -> None:
    """Of single photos, grouped or not, the error is that of Kumar and others to the last bit."""
    for photos in (2, 3, 61, 616):
        confidence, right = drawn(photos, seed=photos)
        own = np.random.default_rng(photos).permutation(photos)
        square = 0.0
        for some in np.array_split(np.argsort(confidence, kind="stable"), min(10, photos // 2)):
            accuracy = float(right[some].mean())
            off = float(confidence[some].mean()) - accuracy
            square += len(some) / photos * (off**2 - accuracy * (1 - accuracy) / (len(some) - 1))
        assert module._debiased(confidence, right, 10) == module._debiased(confidence, right, 10, own) == square
    assert calibration_error(confidence, right, groups=own) == calibration_error(confidence, right)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_chance_is_taken_off_photos_that_agree(size: int) -> None:
    """600 photos of a perfect net: without groups, the mean square is .009 for groups of 4 and .021 for groups of 8."""
    rng, groups = np.random.default_rng(0), np.arange(600) // size
    squares = []
    for _ in range(100):
        confidence, draws = rng.uniform(0.3, 1.0, 600)[groups], rng.random(600)
        squares.append(module._debiased(confidence, draws[groups] < confidence, 10, groups))
    assert abs(np.mean(squares)) < 0.002  # its own deviation is .0013 for groups of 8


def test_a_bin_of_one_group_is_one_draw() -> None:
    """Of two photos that are always right or wrong together, neither outcome says more than their confidence did."""
    confidence, groups = np.full(2, 0.8), np.zeros(2, np.int64)
    right, wrong = (module._debiased(confidence, np.full(2, hit), 10, groups) for hit in (True, False))
    assert 0.8 * right + 0.2 * wrong == pytest.approx(0.0)


@pytest.mark.slow
def test_the_test_rejects_bold_nets_and_only_those() -> None:
    assert calibration_p(*drawn(600, bold=0.15)) < 0.01
    rejected = sum(calibration_p(*drawn(300, seed=seed)) < 0.05 for seed in range(40))
    assert rejected <= 6  # 40 · .05 = 2; more than 6 happens once in 300 times


def test_two_photos_are_the_least() -> None:
    with pytest.raises(ValueError, match="at least two"):
        calibration_error(np.array([0.5]), np.array([True]))


def test_risk_falls_with_coverage_where_confidence_means_something() -> None:
    confidence, right = np.array([0.9, 0.2, 0.8, 0.4]), np.array([True, False, True, False])
    coverage, risk = risk_coverage(confidence, right)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0.0, 0.0, pytest.approx(1 / 3), 0.5]


def test_refusing_the_least_sure_removes_errors() -> None:
    confidence, right = np.linspace(0, 1, 10), np.array([False, False, *[True] * 7, False])
    assert errors_removed(confidence, right, 0.2).value == pytest.approx(2 / 3)
    assert errors_removed(confidence, np.ones(10, dtype=bool)).value == 1.0
    with pytest.raises(ValueError, match="at least one photo"):
        errors_removed(np.zeros(0), np.zeros(0, dtype=bool))
