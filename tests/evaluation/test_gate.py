from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation.gate import GateFigures, misses, stand
from carspotter.evaluation.shares import wilson
from carspotter.records import Calibration, Scores


def standing(right: int = 80, error: float = 0.02, refused: float = 0.3) -> GateFigures:
    return GateFigures(wilson(right, 100), error, refused)


def test_a_standing_is_judged_by_the_calibration_of_the_bundle() -> None:
    logits = np.array([[3.0, 0.0], [0.4, 0.0], [0.0, 2.0], [0.0, 3.0]], np.float32)
    scores = Scores(tuple("abcd"), logits, np.zeros((4, 1), np.float32))
    labels = np.array([0, 0, 1, 0])
    trust = Calibration(temperature=2.0, method="by hand", photos=40, name_at=0.7)
    found = stand(scores, labels, trust)
    assert found.accuracy.value == 0.75
    assert found.refused == 0.25  # softmax([.4, 0] / 2) is .55
    assert stand(scores, labels, None).refused == 0.0


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (standing(), ""),
        (standing(right=79), ""),
        (standing(right=78), "accuracy falls by 0.020 to 0.780; 0.01 is allowed"),
        (standing(error=0.039), ""),
        (standing(error=0.05), "the calibration error rises by 0.030 to 0.050; 0.02 is allowed"),
        (standing(refused=0.35), "35.0% of the photos are not named instead of 30.0%; 3% is allowed"),
        (standing(refused=0.25), "25.0% of the photos are not named instead of 30.0%; 3% is allowed"),
    ],
)
def test_every_bound_is_held(after: GateFigures, says: str) -> None:
    assert misses(standing(), after) == ((says,) if says else ())


def test_all_broken_bounds_are_said() -> None:
    assert len(misses(standing(), standing(right=50, error=0.2, refused=0.9))) == 3
