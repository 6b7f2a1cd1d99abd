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
Ints = npt.NDArray[np.int64]
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


def reliability(confidence: Floats, right: Hits, bins: int = BINS, groups: Ints | None = None) -> tuple[Bin, ...]:
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


def calibration_error(confidence: Floats, right: Hits, bins: int = BINS, groups: Ints | None = None) -> Figure:
    """Root mean square distance between confidence and accuracy, the part that chance alone makes taken off.

    The plain estimate is never 0, however good the calibration: in a bin of n photos chance alone adds a(1-a)/n, and
    more where photos of a group are right or wrong together. There it is the variance of the groups' sums that counts,
    as in `share`.
    Source: A. Kumar, P. Liang, T. Ma, "Verified uncertainty calibration", NeurIPS 2019 (debiased, of the first answer);
    R. M. Bell, D. F. McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples",
    Survey Methodology 28 (2002), 169-181 (of groups: their CR2 for a mean, a(1-a)/(n-1) where every photo is alone).

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
    _, first, whose = np.unique(
        np.arange(len(right)) if groups is None else groups, return_index=True, return_inverse=True
    )
    alone, begins = len(first) == len(right), np.zeros(len(whose), np.int64)
    begins[first] = 1

    def again(at: Ints) -> Floats:
        # A group that is drawn twice is two groups, as a photo that is drawn twice is two photos.
        drawn = None if alone else np.cumsum(begins[at])  # each comes from its first photo on
        return np.array(_debiased(confidence[at], right[at], bins, drawn))

    found = bootstrap(again, len(right), groups)
    value = _debiased(confidence, right, bins, None if alone else whose)
    # The bootstrap adds chance of its own to that of the sample; its centre is moved back onto the estimate.
    squares = found - (found.mean() - value)
    low, high = np.sqrt(np.maximum(0.0, np.quantile(squares, (0.025, 0.975))))
    middle = float(np.sqrt(max(0.0, value)))
    return Figure(value=middle, low=min(float(low), middle), high=max(float(high), middle), n=len(right))


def calibration_p(confidence: Floats, right: Hits, bins: int = BINS, groups: Ints | None = None) -> float:
    """How often perfect calibration alone would look at least as bad; below .05 it is called off.

    Consistency resampling: truths are drawn from the confidences themselves, those of one group by one draw. The draws
    hold all that chance makes, so nothing more is taken off for groups.
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


def errors_removed(confidence: Floats, right: Hits, refused: float = 0.2, groups: Ints | None = None) -> Figure:
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

    def removed(at: Ints) -> Floats:
        times = np.bincount(at, minlength=len(right))[order]  # each photo was drawn, the least sure first
        left = round(refused * len(at)) - (np.cumsum(times) - times)  # to refuse, when it is this photo's turn
        errors = float(wrong @ times)
        return np.array(float(wrong @ np.clip(left, 0, times)) / errors if errors else 1.0)

    value = float(removed(np.arange(len(right))))
    low, high = between(value, bootstrap(removed, len(right), groups))
    return Figure(value=value, low=low, high=high, n=len(right))


def _bins(confidence: Floats, bins: int) -> list[Ints]:
    order = np.argsort(confidence, kind="stable")
    return [some for some in np.array_split(order, min(bins, max(1, len(order) // 2))) if len(some)]


def _debiased(confidence: Floats, right: Hits, bins: int, groups: Ints | None = None) -> float:
    """Mean square distance; below 0 where chance made less than its share."""
    total = 0.0
    for some in _bins(confidence, bins):
        sure, hits = float(confidence[some].mean()), right[some]
        accuracy = np.count_nonzero(hits) / len(hits)
        chance = _chance(hits, accuracy, sure, None if groups is None else groups[some])
        total += len(some) / len(right) * ((sure - accuracy) ** 2 - chance)
    return total


def _chance(hits: Hits, accuracy: float, sure: float, groups: Ints | None) -> float:
    """Variance that chance gives the accuracy of a bin.

    A bin of one group cannot tell it from its photos: then it is that of one draw which comes true as often as its
    photos are sure.

    Args:
        hits: (n,) whether each answer is the truth; n is at least 2.
        accuracy: their share.
        sure: mean confidence.
        groups: (n,) small numbers from 0, equal for photos that belong together; None: none do.
    """
    n = len(hits)
    if groups is None or (largest := (sizes := np.bincount(groups)).max()) == 1:
        return accuracy * (1 - accuracy) / (n - 1)
    if largest == n:
        return sure * (1 - sure)
    off = np.bincount(groups, hits) - accuracy * sizes
    return float(off @ (off / (n - sizes))) / n
