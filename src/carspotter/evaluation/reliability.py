"""Whether probabilities come true, and what refusing the least sure photos buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.shares import RESAMPLES, SEED, between, bootstrap, share
from carspotter.records import Figure

BINS = 10
"""Bins of equally many photos. Assumption: with some hundred photos fewer hide the curve, more show noise."""

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Photos of like confidence.

    Attributes:
        confidence: their mean, in [0, 1].
        accuracy: share that came true, with its interval.
    """

    confidence: float
    accuracy: Figure


def reliability(
    confidence: Floats, right: Hits, bins: int = BINS, groups: npt.NDArray[np.int64] | None = None
) -> tuple[Bin, ...]:
    """The calibration curve: bins of equally many photos from the least to the most confident.

    Args:
        confidence: (N,) probability of the answer.
        right: (N,) whether the answer is the truth.
        bins: at most so many.
        groups: (N,) equal for photos that belong together; None: none do.
    """
    return tuple(
        Bin(float(confidence[some].mean()), share(right[some], None if groups is None else groups[some]))
        for some in _bins(confidence, bins)
    )


def calibration_error(
    confidence: Floats, right: Hits, bins: int = BINS, groups: npt.NDArray[np.int64] | None = None
) -> Figure:
    """Root mean square distance between confidence and accuracy, the part that chance alone makes taken off.

    The plain estimate is never 0, however good the calibration: in a bin of n photos chance alone adds a(1-a)/n.
    Source: A. Kumar, P. Liang, T. Ma, "Verified uncertainty calibration", NeurIPS 2019 (debiased, of the first answer).

    Args:
        confidence: (N,) probability of the answer.
        right: (N,) whether the answer is the truth.
        bins: at most so many.
        groups: (N,) equal for photos that belong together; None: none do.

    Returns:
        The error in [0, 1] (0 is best) with a 95 % bootstrap interval over photos.

    Raises:
        ValueError: fewer than two photos.
    """
    if len(right) < 2:
        raise ValueError(f"{len(right)} photos; a calibration error needs at least two")
    found = bootstrap(lambda at: np.array(_debiased(confidence[at], right[at], bins)), len(right), groups)
    value = _debiased(confidence, right, bins)
    # The bootstrap adds chance of its own to that of the sample; its centre is moved back onto the estimate.
    squares = found - (found.mean() - value)
    low, high = np.sqrt(np.maximum(0.0, np.quantile(squares, (0.025, 0.975))))
    middle = float(np.sqrt(max(0.0, value)))
    return Figure(value=middle, low=min(float(low), middle), high=max(float(high), middle), n=len(right))


def calibration_p(
    confidence: Floats, right: Hits, bins: int = BINS, groups: npt.NDArray[np.int64] | None = None
) -> float:
    """How often perfect calibration alone would look at least as bad; below .05 it is called off.

    Consistency resampling: truths are drawn from the confidences themselves, those of one group by one draw.
    Source: J. Bröcker, L. A. Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22
    (2007), 651-661.
    """
    rng, seen = np.random.default_rng(SEED), _debiased(confidence, right, bins)
    _, whose = np.unique(np.arange(len(right)) if groups is None else groups, return_inverse=True)
    draws = int(whose.max()) + 1
    worse = sum(_debiased(confidence, rng.random(draws)[whose] < confidence, bins) >= seen for _ in range(RESAMPLES))
    return (1 + worse) / (1 + RESAMPLES)


def risk_coverage(confidence: Floats, right: Hits) -> tuple[Floats, Floats]:
    """The share of wrong answers among the most confident photos, for every number of them that is answered.

    Source: Y. Geifman, R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Returns:
        (N,) coverage, rising to 1; (N,) risk, the share of wrong answers among the answered.
    """
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(~right[order]) / answered


def errors_removed(
    confidence: Floats, right: Hits, refused: float = 0.2, groups: npt.NDArray[np.int64] | None = None
) -> Figure:
    """Which share of all errors goes when that share of photos, the least confident ones, is refused.

    Args:
        confidence: (N,) probability of the answer.
        right: (N,) whether the answer is the truth.
        refused: share of the photos.
        groups: (N,) equal for photos that belong together; None: none do.

    Returns:
        In [0, 1] with its 95 % bootstrap interval; 1 is best, `refused` is what chance would do. 1 where there is no
        error.

    Raises:
        ValueError: there is no photo.
    """
    if not len(right):
        raise ValueError("what refusing removes needs at least one photo")
    order = np.argsort(confidence, kind="stable")
    wrong = (~right[order]).astype(np.float64)

    def removed(at: npt.NDArray[np.int64]) -> Floats:
        times = np.bincount(at, minlength=len(right))[order]  # each photo was drawn, the least sure first
        left = round(refused * len(at)) - (np.cumsum(times) - times)  # to refuse, when it is this photo's turn
        errors = float(wrong @ times)
        return np.array(float(wrong @ np.clip(left, 0, times)) / errors if errors else 1.0)

    value = float(removed(np.arange(len(right))))
    low, high = between(value, bootstrap(removed, len(right), groups))
    return Figure(value=value, low=low, high=high, n=len(right))


def _bins(confidence: Floats, bins: int) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(confidence, kind="stable")
    return [some for some in np.array_split(order, min(bins, max(1, len(order) // 2))) if len(some)]


def _debiased(confidence: Floats, right: Hits, bins: int) -> float:
    """Mean square distance; below 0 where chance made less than its share."""
    total = 0.0
    for some in _bins(confidence, bins):
        accuracy = float(right[some].mean())
        chance = accuracy * (1 - accuracy) / (len(some) - 1)
        total += len(some) / len(right) * ((float(confidence[some].mean()) - accuracy) ** 2 - chance)
    return total
