"""Whether probabilities come true, and what refusing the least sure photos buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import wilson
from carspotter.records import Figure

BINS = 10
"""Bins of equally many photos. Assumption: with some hundred photos fewer hide the curve, more show noise."""
RESAMPLES = 2_000
"""A bound of 2.5 % then lies within 2.5 ± 0.7 % (twice its binomial error)."""
SEED = 0

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


def reliability(confidence: Floats, right: Hits, bins: int = BINS) -> tuple[Bin, ...]:
    """The calibration curve: bins of equally many photos from the least to the most confident.

    Args:
        confidence: (N,) probability of the answer.
        right: (N,) whether the answer is the truth.
        bins: at most so many.
    """
    return tuple(
        Bin(float(confidence[some].mean()), wilson(int(right[some].sum()), len(some)))
        for some in _bins(confidence, bins)
    )


def calibration_error(confidence: Floats, right: Hits, bins: int = BINS) -> Figure:
    """Root mean square distance between confidence and accuracy, the part that chance alone makes taken off.

    The plain estimate is never 0, however good the calibration: in a bin of n photos chance alone adds a(1-a)/n.
    Source: A. Kumar, P. Liang, T. Ma, "Verified uncertainty calibration", NeurIPS 2019 (debiased, of the first answer).

    Args:
        confidence: (N,) probability of the answer.
        right: (N,) whether the answer is the truth.
        bins: at most so many.

    Returns:
        The error in [0, 1] (0 is best) with a 95 % bootstrap interval over photos.

    Raises:
        ValueError: fewer than two photos.
    """
    if len(right) < 2:
        raise ValueError(f"{len(right)} photos; a calibration error needs at least two")
    rng, found = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(right), len(right))
        found.append(_debiased(confidence[drawn], right[drawn], bins))
    value = _debiased(confidence, right, bins)
    # The bootstrap adds chance of its own to that of the sample; its centre is moved back onto the estimate.
    squares = np.asarray(found) - (np.mean(found) - value)
    low, high = np.sqrt(np.maximum(0.0, np.quantile(squares, (0.025, 0.975))))
    middle = float(np.sqrt(max(0.0, value)))
    return Figure(value=middle, low=min(float(low), middle), high=max(float(high), middle), n=len(right))


def calibration_p(confidence: Floats, right: Hits, bins: int = BINS) -> float:
    """How often perfect calibration alone would look at least as bad; below .05 it is called off.

    Consistency resampling: truths are drawn from the confidences themselves. Source: J. Bröcker, L. A. Smith,
    "Increasing the reliability of reliability diagrams", Weather and Forecasting 22 (2007), 651-661.
    """
    rng, seen = np.random.default_rng(SEED), _debiased(confidence, right, bins)
    worse = sum(_debiased(confidence, rng.random(len(confidence)) < confidence, bins) >= seen for _ in range(RESAMPLES))
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


def errors_removed(confidence: Floats, right: Hits, refused: float = 0.2) -> float:
    """Which share of all errors goes when that share of photos, the least confident ones, is refused.

    Returns:
        In [0, 1]; 1 is best, `refused` is what chance would do. 1 where there is no error.
    """
    count = round(refused * len(right))
    worst = np.argsort(confidence, kind="stable")[:count]
    errors = int((~right).sum())
    return float((~right[worst]).sum() / errors) if errors else 1.0


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
