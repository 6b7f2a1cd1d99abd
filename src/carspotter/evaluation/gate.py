"""Whether a cheaper network may stand in for another: its answers on the same photos, within stated bounds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.reliability import calibration_error
from carspotter.evaluation.shares import share
from carspotter.records import Calibration, Figure, Scores

WORSE = 0.01
"""Accuracy that may be lost. Assumption: one photo of a hundred is what a seed moves anyway."""
OFF = 0.02
"""By which the calibration error may rise: less than the .03 that is asked of a model at all."""
SHY = 0.03
"""By which the share of photos that are not named may move, either way (assumption)."""


@dataclass(frozen=True, slots=True)
class GateFigures:
    """How a network answers.

    Attributes:
        accuracy: on the photos.
        calibration_error: of its probabilities, 0 is best.
        refused: share of photos that are not named.
    """

    accuracy: Figure
    calibration_error: float
    refused: float


def stand(
    scores: Scores,
    labels: npt.NDArray[np.int64],
    calibration: Calibration | None,
    strangers: Collection[str] = (),
    groups: npt.NDArray[np.int64] | None = None,
) -> GateFigures:
    """Judge by one calibration, that of the network which the other may stand in for.

    Args:
        scores: of at least two photos.
        labels: (N,) class indices.
        calibration: of the original.
        strangers: photos that are called unknown, which are not named either.
        groups: (N,) equal for photos that belong together; None: none do.
    """
    temperature, name_at = (1.0, 0.0) if calibration is None else (calibration.temperature, calibration.name_at)
    shares = softmax(np.asarray(scores.logits, np.float64) / temperature)
    right = shares.argmax(1) == labels
    strange = np.array([photo in strangers for photo in scores.ids])
    return GateFigures(
        accuracy=share(right, groups),
        calibration_error=calibration_error(shares.max(1), right).value,
        refused=float((strange | (shares.max(1) < name_at)).mean()),
    )


def misses(before: GateFigures, after: GateFigures) -> tuple[str, ...]:
    """Every bound that the second network breaks, a sentence each; empty where it may stand in."""
    found = []
    if after.accuracy.value < before.accuracy.value - WORSE:
        lost = before.accuracy.value - after.accuracy.value
        found.append(f"accuracy falls by {lost:.3f} to {after.accuracy.value:.3f}; {WORSE:g} is allowed")
    if after.calibration_error > before.calibration_error + OFF:
        rise = after.calibration_error - before.calibration_error
        found.append(f"the calibration error rises by {rise:.3f} to {after.calibration_error:.3f}; {OFF:g} is allowed")
    if abs(after.refused - before.refused) > SHY:
        found.append(
            f"{after.refused:.1%} of the photos are not named instead of {before.refused:.1%}; {SHY:.0%} is allowed"
        )
    return tuple(found)
