"""Probabilities that mean what they say: a temperature, and prediction sets that hold the truth as often as promised.

Everything is fitted on logits of photos that trained nothing. Where these are few, the same photos may fit and judge if
each is judged by a fit that did not see it (`cross_fitted`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, exp, log

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import log_losses, softmax
from carspotter.recipe import WRONG_COST
from carspotter.records import Calibration

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a temperature. Assumption: nets are off by a factor of 4 at most; a bound is met where logits say
nothing."""
ERROR = 0.05
"""The counterpart of the 95 % intervals everywhere else."""
FEWEST = 40
"""Photos below which nothing is fitted. Assumption: a set that may miss 5 % of so few would be decided by one photo."""
PARTS = 5
"""Parts that are fitted without each other (assumption, as usual in cross-validation)."""
GOLDEN = (5**0.5 - 1) / 2

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def fit_temperature(logits: npt.NDArray[np.float32], labels: Index) -> float:
    """The number that logits are divided by for the least log loss; it changes no answer, only how sure it is.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML 2017. The loss is
    convex in 1/T, so a golden-section search finds its only valley.

    Args:
        logits: (N, K) of photos that did not train the net.
        labels: (N,) class indices.

    Raises:
        ValueError: no photo.
    """
    if not len(labels):
        raise ValueError("a temperature needs at least one photo")
    wide = np.asarray(logits, np.float64)

    def loss(at: float) -> float:
        return float(log_losses(wide / exp(at), labels).mean())

    return exp(_lowest(loss, log(COLDEST), log(HOTTEST)))


def _lowest(value: Callable[[float], float], low: float, high: float, width: float = 1e-4) -> float:
    """Where a function with one valley is lowest, to within `width`."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > width:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = value(right)
    return (low + high) / 2


def set_threshold(probabilities: Floats, labels: Index, error: float) -> float:
    """The least probability that puts a class into a prediction set, so that sets miss a truth at most that often.

    Split conformal prediction with the least ambiguous sets: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in
    a random world", 2005; M. Sadinle, J. Lei, L. Wasserman, "Least ambiguous set-valued classifiers with bounded error
    levels", JASA 114 (2019), 223-234. Of all sets that hold the truth as often, these are the smallest on average. The
    promise is over photos like these, not for each class or each kind of photo.

    Args:
        probabilities: (N, K) of photos that fitted neither the net nor the temperature.
        labels: (N,) class indices.
        error: promised share of missed truths, above 0 and below 1.

    Returns:
        A probability; 0 (every class) where N is too small for the promise.

    Raises:
        ValueError: `error` is no such share.
    """
    if not 0 < error < 1:
        raise ValueError(f"error is {error}; expected a share above 0 and below 1")
    truths = np.sort(np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels])
    rank = ceil((len(labels) + 1) * (1 - error))
    # A probability as it is: 1 - (1 - p) is often a little more than p, and the photo at the bound would be missed.
    return 0.0 if rank > len(labels) else float(truths[-rank])


def prediction_sets(probabilities: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """(N, K) whether a class is in the photo's set; the likeliest always is, which only adds to what sets hold."""
    sets = np.asarray(probabilities) >= threshold
    sets[np.arange(len(sets)), np.asarray(probabilities).argmax(1)] = True
    return sets


def cross_fitted(
    logits: npt.NDArray[np.float32], labels: Index, parts: Index, error: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What calibration would say of each photo had it been fitted without it.

    Args:
        logits: (N, K) of photos that did not train the net that answered them.
        labels: (N,) class indices.
        parts: (N,) part of each photo; near copies and photos of one car share theirs.
        error: as for `set_threshold`.

    Returns:
        (N, K) probabilities and (N, K) sets, those of each part by a fit on all the others.

    Raises:
        ValueError: all photos are of one part.
    """
    probabilities = np.zeros(logits.shape)
    sets = np.zeros(logits.shape, dtype=bool)
    kinds = np.unique(parts)
    if len(kinds) < 2:
        raise ValueError("all photos are of one part; cross-fitting needs at least two")
    for part in kinds:
        here, others = parts == part, parts != part
        temperature = fit_temperature(logits[others], labels[others])
        threshold = set_threshold(softmax(logits[others] / temperature), labels[others], error)
        probabilities[here] = softmax(logits[here] / temperature)
        sets[here] = prediction_sets(probabilities[here], threshold)
    return probabilities, sets


def calibrate(
    logits: npt.NDArray[np.float32], labels: Index, parts: Index, *, error: float = ERROR, wrong: float = WRONG_COST
) -> Calibration | None:
    """What a bundle carries: the temperature of all photos, sets judged by temperatures that had not seen them.

    Args:
        logits: (N, K) of photos that trained nothing.
        labels: (N,) class indices.
        parts: (N,) part of each photo, as for `cross_fitted`.
        error: share of the photos not named whose truth the claimed classes may miss.
        wrong: cost of a wrong name, in photos that a person looks at.

    Returns:
        None where the photos are fewer than `FEWEST`, or all of one part.

    Raises:
        ValueError: a figure is out of range.
    """
    if len(labels) < FEWEST or len(np.unique(parts)) < 2:
        return None
    probabilities, _ = cross_fitted(logits, labels, parts, error)
    alone = name_at(wrong)
    # Sets are claimed where nothing is named, on the harder photos: what holds over all would not hold over these.
    open_ = probabilities.max(1) < alone
    enough = (open_.sum() + 1) * error >= 1
    judged = open_ if enough else np.ones(len(labels), dtype=bool)
    return Calibration(
        temperature=fit_temperature(logits, labels),
        method="temperature (Guo et al. 2017) and least ambiguous sets (Sadinle et al. 2019) on held-out photos",
        photos=len(labels),
        name_at=alone,
        costs=f"a wrong name costs as much as {wrong:g} photos that a person looks at",
        set_at=set_threshold(probabilities[judged], labels[judged], error),
        error=error if enough else None,
    )


def parts_of(groups: Index, parts: int = PARTS) -> Index:
    """(N,) a part for each photo, those of one group in the same; the groups are dealt out by their numbers.

    Args:
        groups: (N,) group number of each photo.
        parts: how many, at most.
    """
    return np.unique(groups, return_inverse=True)[1].astype(np.int64) % parts


def name_at(wrong: float, asked: float = 1.0) -> float:
    """The least probability at which naming costs less than asking a person.

    Source: C. K. Chow, "On optimum recognition error and reject tradeoff", IEEE Transactions on Information Theory 16
    (1970), 41-46: with true probabilities, name where (1 - p) · wrong < asked.

    Args:
        wrong: cost of a wrong name.
        asked: cost of a photo that a person looks at.

    Raises:
        ValueError: a cost is not positive.
    """
    if wrong <= 0 or asked <= 0:
        raise ValueError(f"a wrong name costs {wrong}, asking {asked}; both must be above 0")
    return max(0.0, 1 - asked / wrong)
