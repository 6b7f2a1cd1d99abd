"""On how many photos an accuracy was measured, found from the accuracies themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carspotter.evaluation.shares import wilson
from carspotter.records import Figure

MOST = 20_000
"""Photos (assumption): up to here a few float32 accuracies name one number only."""
FEWEST_VALUES = 3
"""Assumption: fewer accuracies fit too many numbers of photos."""
PRECISION = 1.2e-7
"""Relative rounding of a float32, in which Keras computes accuracies (2^-23)."""


def photos_behind(accuracies: Sequence[float]) -> int | None:
    """The fewest photos of which every accuracy is a whole count; None where the accuracies do not tell.

    Args:
        accuracies: in [0, 1], all measured on the same photos.
    """
    values = np.unique(np.asarray(accuracies, dtype=np.float64))
    if len(values) < FEWEST_VALUES:
        return None
    photos = np.arange(1, MOST + 1)
    counts = values[:, None] * photos
    whole = (np.abs(counts - np.rint(counts)) <= np.maximum(counts * PRECISION, 1e-9)).all(axis=0)
    return int(photos[whole.argmax()]) if whole.any() else None


def is_count(accuracy: float, photos: int) -> bool:
    """Whether an accuracy can have been measured on so many photos."""
    count = accuracy * photos
    return abs(count - round(count)) <= max(count * PRECISION, 1e-9)


def figure(accuracy: float, photos: int | None) -> Figure:
    """The accuracy with its interval; without a number of photos the interval says nothing."""
    if photos is None:
        return Figure(value=accuracy, low=0.0, high=1.0, n=0)
    return wilson(round(accuracy * photos), photos).model_copy(update={"value": accuracy})
