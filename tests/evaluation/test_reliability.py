"""Calibration curves, errors and tests on confidences whose truth is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

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
