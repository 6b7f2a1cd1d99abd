"""Shares of photos, and the intervals that so many photos allow: pure functions of arrays.

Near copies and photos of one ad are no separate witnesses. They count as many photos in every figure, but an interval
takes each group of them whole. Where every photo is its own group, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import numpy.typing as npt

from carspotter.records import Figure

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: 95 % lie within ±Z_95 standard deviations."""
RESAMPLES = 2_000
"""A bound of 2.5 % then lies within 2.5 ± 0.7 % (twice its binomial error)."""
SEED = 0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def wilson(right: int, n: int, witnesses: float | None = None) -> Figure:
    """A share with its 95 % score interval, which stays within [0, 1] and holds for small samples.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.

    Args:
        right: how many of the `n` are right.
        n: how many were looked at.
        witnesses: how many separate photos would tell as much as these do (`share`), above 0; None: `n`.

    Raises:
        ValueError: `n` is not positive, or `right` is not in 0..n.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: a share needs at least one photo and 0 <= right <= n")
    value, z2, of = right / n, Z_95**2, n if witnesses is None else witnesses
    centre = (value + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 * sqrt(value * (1 - value) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    # Rounding may push a bound past the share by 1e-17 when nothing or everything is right.
    return Figure(value=value, low=max(0.0, min(value, centre - half)), high=min(1.0, max(value, centre + half)), n=n)


def share(right: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Figure:
    """The share of right answers with its 95 % interval: Wilson's, of as many photos as tell separate things.

    That number is N over the design effect, the variance of the share beside that of separate photos. Two groups are
    added whose photos agree, so that few groups never look surer than they are; where all are right or all are wrong,
    the photos of every group are taken to agree.

    Source: E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", Survey Methodology 24 (1998), 193-201 (the effective sample size); K. K. Saha,
    D. Miller, S. Wang, "A comparison of some approximate confidence intervals for a single proportion for clustered
    binary outcome data", International Journal of Biostatistics 12 (2016) (in Wilson's interval).

    Args:
        right: (N,) bool.
        groups: (N,) equal for photos that belong together; None: none do.

    Raises:
        ValueError: there is no photo, or not one group for each.
    """
    hits = np.asarray(right, dtype=np.float64)
    sums, sizes = by_group(hits, groups)
    n, found = len(hits), int(hits.sum())
    if not n or len(sums) == n:
        return wilson(found, n)
    value, largest = found / n, float(sizes @ sizes) / n
    effect = largest
    if 0 < value < 1:
        off = sums - value * sizes
        effect = (float(off @ off) / (n * value * (1 - value)) * len(sums) + 2 * largest) / (len(sums) + 2)
    return wilson(found, n, n / min(max(effect, 1.0), largest))


def witnesses(figure: Figure) -> float:
    """How many separate photos allow the interval of a share, that of `wilson` or `share`; never more than there are.

    An interval without width, or to the end of all shares, is none of these: then all photos.
    """
    far = figure.high if figure.value < 0.5 else figure.low
    if far in (figure.value, 0.0, 1.0):
        return figure.n
    return min(figure.n, Z_95**2 * far * (1 - far) / (figure.value - far) ** 2)


def bootstrap(statistic: Callable[[Ints], Floats], photos: int, groups: npt.ArrayLike | None = None) -> Floats:
    """What a statistic would be on other photos: the groups drawn again from a fixed seed, so it repeats.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979), 1-26.

    Args:
        statistic: of (M,) positions of photos, drawn with repetition, those of each drawn group together and
            from its first on; M is about `photos`.
        photos: N.
        groups: (N,) equal for photos that belong together; None: none do.

    Returns:
        (RESAMPLES, ...) one row of each resample.
    """
    rng = np.random.default_rng(SEED)
    order, starts, sizes = _blocks(np.arange(photos) if groups is None else groups, photos)

    def draw() -> Ints:
        chosen = rng.integers(0, len(starts), len(starts))
        many = sizes[chosen]
        before = np.cumsum(many) - many  # photos drawn before each group
        return np.asarray(order[np.repeat(starts[chosen] - before, many) + np.arange(many.sum())])

    return np.array([statistic(draw()) for _ in range(RESAMPLES)])


def between(value: float, drawn: Floats) -> tuple[float, float]:
    """95 % of what was drawn, and always the value itself."""
    low, high = np.quantile(drawn, (0.025, 0.975))
    return min(value, float(low)), max(value, float(high))


def by_group(values: Floats, groups: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """Sums over the photos of each group.

    Args:
        values: (..., N) of each photo.
        groups: (N,) equal for photos that belong together; None: none do.

    Returns:
        (..., G) sums, the groups in the order of their first photos, and (G,) photos in each.

    Raises:
        ValueError: there is not one group for each photo.
    """
    n = values.shape[-1]
    if groups is None or not n:
        return values, np.ones(n)
    order, starts, sizes = _blocks(groups, n)
    return np.add.reduceat(values[..., order], starts, axis=-1), sizes.astype(np.float64)


def _blocks(groups: npt.ArrayLike, photos: int) -> tuple[Ints, Ints, Ints]:
    """(N,) positions of the photos, group after group; (G,) where each begins; (G,) photos in each.

    Groups stand in the order of their first photos, so that nothing moves where every photo is on its own.

    Raises:
        ValueError: there is not one group for each photo.
    """
    numbers = np.asarray(groups, dtype=np.int64)
    if numbers.shape != (photos,):
        raise ValueError(f"groups are {numbers.shape}; expected one of each of {photos} photos")
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    whose = first[which]
    order = np.argsort(whose, kind="stable")
    starts = np.flatnonzero(np.diff(whose[order], prepend=-1))
    return order, starts, np.diff(starts, append=photos)
