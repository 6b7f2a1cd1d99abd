"""Which of many may be the best: choosing the winner by the same photos is part of what is tested.

Comparing all with the winner as if it had been named beforehand finds false differences: of many equal ones, the
luckiest stands on top. Here all pairs are compared at once, and the worst leaves as long as the rest part further than
luck lets the luckiest and the unluckiest of so many part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.paired import RESAMPLES, Floats, chunks
from carspotter.evaluation.shares import by_group

MOST = 500
"""Sides compared at once: 3.3 s of one core with 770 photos (measured); the time grows with their square."""
ROUNDING = 1e-9
"""Relative: sums that differ by less are as far apart."""


def may_be_best(losses: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Floats:
    """For each of R sides, the p of it being (one of) the best; below 0.05 it is worse than another one here.

    The chance that any of the truly best falls below 0.05 is about 5 %, however many there are: those at or above it
    are a 95 % confidence set of the best. Of two sides whose losses are 0 and 1, p is McNemar's exact one as far as
    drawing tells it: at .05 within ± .007 (twice the binomial error of 4,000 draws).

    Log losses keep this approximately. What is drawn holds where the difference of two equally good sides is as likely
    to be positive as negative, by any amount; right and wrong answers are so. A net that is surer than right has small
    losses and a few huge ones, and where few photos hold them, an equally good modest net is called worse too often.
    Where every 20th photo holds them all, that befell a pair in 20 % of drawn tables of 94 photos and in 8 % of 770; a
    table of 20, half of them so, in 83 % and 16 %.

    Source: P. R. Hansen, A. Lunde, J. M. Nason, "The model confidence set", Econometrica 79 (2011), 453-497, with the
    range statistic; where equal, the two answers of a photo could as well be the other way round, so its distribution
    is found by turning round photos at random (R. A. Fisher, "The design of experiments", 1935), all sides together.
    Photos that belong together are turned round together, as none of them is a witness by itself.

    Args:
        losses: (R, N) of each side on the same N photos, lower is better, any unit: wrong answers as 1, or log losses;
            at most `MOST` sides. Between equals, the one that stands first stays longer.
        groups: (N,) equal for photos that belong together; None: none do.

    Returns:
        (R,) in 0..1; the last that stays has 1.

    Raises:
        ValueError: there is no photo or not one group for each, or there are too many sides.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"losses are {values.shape}; expected sides by photos, at least one photo")
    if len(values) > MOST:
        raise ValueError(f"{len(values)} sides; expected at most {MOST}, for the time grows with their square")
    values, _ = by_group(values - values.mean(axis=0), groups)  # a photo's difficulty leaves no difference
    scale = _scale(values)
    sums = values.sum(axis=1)
    order, furthest = _leave((sums[:, None] - sums) / scale)
    ps = _as_far(_turned(values)[:, order], scale[np.ix_(order, order)], furthest)
    found = np.ones(len(values))
    found[order[:-1]] = np.maximum.accumulate(ps)  # who outlives another is no less likely the best
    return found


def _scale(values: Floats) -> Floats:
    """(R, R) standard deviation of each pair's summed difference if neither were better; inf for the same answers."""
    products = values @ values.T
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    same = squares <= ROUNDING * max(1.0, float(products.max(initial=0.0)))
    return np.sqrt(np.where(same, np.inf, squares))


def _leave(behind: Floats) -> tuple[npt.NDArray[np.int64], list[float]]:
    """Who leaves first, second, …, and how far the worst is behind another each time.

    Args:
        behind: (R, R) how far the row's side is behind the column's, in standard deviations.
    """
    left = list(range(len(behind)))
    order, furthest = [], []
    while len(left) > 1:
        worst = behind[np.ix_(left, left)].max(axis=1)
        at = len(left) - 1 - int(worst[::-1].argmax())
        furthest.append(float(worst[at]))
        order.append(left.pop(at))
    return np.array([*order, *left], dtype=np.int64), furthest


def _turned(values: Floats) -> Floats:
    """(RESAMPLES, R) sums after the photos were turned round at random."""
    drawn = [
        (2.0 * rng.integers(0, 2, size=(rows, values.shape[1])) - 1) @ values.T for rng, rows in chunks(values.shape[1])
    ]
    return np.concatenate(drawn)


def _as_far(turned: Floats, scale: Floats, furthest: list[float]) -> Floats:
    """(R-1,) how often chance parts some two of those still there as far; sides in the order in which they leave."""
    widest = np.zeros(len(turned))
    ps = np.ones(len(furthest))
    for at in reversed(range(len(furthest))):
        gaps = np.abs(turned[:, at + 1 :] - turned[:, at : at + 1]) / scale[at, at + 1 :]
        np.maximum(widest, gaps.max(axis=1), out=widest)
        ps[at] = (1 + int((widest >= furthest[at] * (1 - ROUNDING)).sum())) / (1 + RESAMPLES)
    return ps
