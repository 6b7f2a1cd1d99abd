"""Two nets on the same photos: pure functions of arrays.

Both answered the same photos, so only those count on which they part. A test of such pairs sees smaller differences
than two separate intervals do. Where several trainings of one side answered a photo (seeds), its answers are no
independent witnesses: the photo is then the unit, and its answers are averaged before anything is tested. Near copies
and photos of one ad are no independent witnesses either: they count as many photos in every figure, but intervals and
p take each group of them whole. Where every photo is its own group, nothing changes.

A difference is called one exactly where its interval leaves out 0: interval and p always come from one method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from carspotter.data.wording import count
from carspotter.evaluation.shares import Z_95, by_group
from carspotter.records import Figure

ALPHA = 0.05
"""What is called distinguishable: the counterpart of the 95 % intervals everywhere else."""
RESAMPLES = 3_999
"""With the sample itself 4,000: a bound of 2.5 % then lies within 2.5 ± 0.5 % (twice its binomial error)."""
BEYOND = 98
"""Resamples beyond either bound: the most for which p, 2 · (1 + 98) / 4,000, is below `ALPHA`."""
CHUNK = 2_000_000
"""Numbers drawn at once: 16 MB."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paired:
    """What the photos that two sides both answered say about which is better.

    Attributes:
        photos: how many both answered.
        answers: of A and of B on them; more than `photos` where several trainings of a side answered a photo.
        only_a: photos on which A is right and B is not (or A's trainings are right more often than B's).
        only_b: the same for B.
        difference: accuracy of B minus that of A in -1..1, with its 95 % interval.
        p: how often chance alone would part them at least as far, if neither were better; in 0..1.
        groups: how many groups of near copies or of one ad the photos are in; a photo on its own is one.
    """

    photos: int
    answers: tuple[int, int]
    only_a: int
    only_b: int
    difference: Figure
    p: float
    groups: int

    @property
    def distinguishable(self) -> bool:
        """Whether chance alone is an unlikely reason."""
        return self.p < ALPHA

    @property
    def several(self) -> bool:
        """Whether some photo was answered by several trainings of a side."""
        return max(self.answers) > self.photos

    def sentence(self, a: str = "A", b: str = "B", *, tests: int = 1, raised: float | None = None) -> str:
        """The verdict in plain words.

        Args:
            a: what to call the first side.
            b: what to call the second.
            tests: how many comparisons are made at once.
            raised: p for all of them together (`holm`); the verdict then follows it. None: `p` as it is.
        """
        found = self.p if raised is None else raised
        verdict = "distinguishable" if found < ALPHA else "not distinguishable"
        points = f"{percent_points(self.difference)}, p {show_p(self.p)}"
        if tests > 1:
            points += f" taken alone, p {show_p(found)} among {tests} comparisons"
        return f"{verdict}: {self._counts(a, b, points)}"

    @property
    def grouped(self) -> str:
        """` in 598 groups`; empty where no photos belong together."""
        return f" in {count(self.groups, 'group')}" if self.groups < self.photos else ""

    def _counts(self, a: str, b: str, points: str) -> str:
        if self.several:
            return (
                f"{b} minus {a} is {points}, on {self.photos} photos{self.grouped} "
                f"({self.only_b} lean to {b}, {self.only_a} to {a}; "
                f"{self.answers[1]} and {self.answers[0]} answers, those of one photo kept together)"
            )
        better, more = (b, self.only_b - self.only_a) if self.only_b >= self.only_a else (a, self.only_a - self.only_b)
        photos = "photo" if more == 1 else "photos"
        lead = (
            f"{better} is right on {more} {photos} more of {self.photos}{self.grouped}"
            if more
            else "both are right equally often"
        )
        return f"{lead} ({self.only_b} only {b}, {self.only_a} only {a}; difference {points})"


def pair(
    photos_a: npt.ArrayLike,
    right_a: npt.ArrayLike,
    photos_b: npt.ArrayLike,
    right_b: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
) -> Paired:
    """Compare two sides on the photos that both answered.

    The several answers of one photo are averaged; then see `share_difference`.

    Args:
        photos_a: (N,) photo numbers of A's answers, in any order; a photo may come several times.
        right_a: (N,) bool.
        photos_b: (M,) of B; the same number is the same photo.
        right_b: (M,) bool.
        groups: (P,) equal for photos that belong together, where photo number i is at position i; None: none do.

    Raises:
        ValueError: no photo is common, the arrays of a side have not one length, or a photo number has no group.
    """
    common = np.intersect1d(photos_a, photos_b)
    if not len(common):
        raise ValueError("no photo was answered by both sides")
    (share_a, count_a), (share_b, count_b) = (
        _per_photo(photos_a, right_a, common),
        _per_photo(photos_b, right_b, common),
    )
    ahead = share_b - share_a
    whose = None if groups is None else _groups_of(common, groups)
    only_a, only_b = int((ahead < 0).sum()), int((ahead > 0).sum())
    units = len(common) if whose is None else len(np.unique(whose))
    return Paired(len(common), (count_a, count_b), only_a, only_b, *share_difference(ahead, whose), units)


def share_difference(ahead: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> tuple[Figure, float]:
    """The difference of two paired shares, its 95 % interval and the p of there being none; sound for few photos too.

    Two photos are added, one in favour of either side: no small sample then looks surer than it is.

    Source: D. G. Bonett, R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based
    on paired data", Journal of Educational and Behavioral Statistics 37 (2012), 479-488. With one answer per side and
    photo this is theirs; averages of several lie between -1 and 1 as well and spread less.

    Photos that belong together are drawn together: the variance is that of the groups' sums (N. A. Obuchowski, "On the
    comparison of correlated proportions for clustered data", Statistics in Medicine 17 (1998), 1495-1507), and what is
    added are two groups of the mean size. With groups of one size this is Bonett's and Price's interval of the groups'
    means. V. L. Durkalski et al., "Analysis of clustered matched-pair data", Statistics in Medicine 22 (2003),
    2417-2428, let every group count the same instead; here every photo does, as in the accuracies that are compared.

    Args:
        ahead: (N,) how far B is ahead of A on each photo, in -1..1.
        groups: (N,) equal for photos that belong together; None: none do.

    Raises:
        ValueError: there is no photo, or not one group for each.
    """
    values = _some_values(ahead)
    sums, sizes = by_group(values, groups)
    usual = float(sizes.mean())
    leads, uneven = sums / usual, sizes / usual - 1  # of each group, in photos of a group of the usual size
    n = len(leads) + 2
    middle = float(leads.sum()) / n
    # Groups of other sizes carry another part of the middle with them: sum of (lead - middle * size)², multiplied out.
    carried = (middle * middle * float(uneven @ uneven) - 2 * middle * float(leads @ uneven)) / n
    error = sqrt(((float(leads @ leads) + 2) / n - middle * middle + carried) / n)
    low, high = max(-1.0, middle - Z_95 * error), min(1.0, middle + Z_95 * error)
    return Figure(value=float(values.mean()), low=low, high=high, n=len(values)), erfc(abs(middle) / error / sqrt(2))


def separate(a: Figure, b: Figure) -> Figure:
    """The difference of two shares, B minus A, as if of two separate samples: too wide where the photos are the same.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17 (1998), 873-890, method 10: both Wilson intervals, squared and added.

    Args:
        a: with its Wilson interval.
        b: the same.
    """
    difference = b.value - a.value
    low = difference - sqrt((b.value - b.low) ** 2 + (a.high - a.value) ** 2)
    high = difference + sqrt((b.high - b.value) ** 2 + (a.value - a.low) ** 2)
    return Figure(value=difference, low=low, high=high, n=min(a.n, b.n))


def mean_difference(ahead: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> tuple[Figure, float]:
    """The mean of per-photo differences without bounds (log losses), its 95 % interval and the p of there being none.

    Both by `bootstrap_mean`'s method.

    Args:
        ahead: (N,) how far B is ahead of A on each photo, any unit.
        groups: (N,) equal for photos that belong together; None: none do.

    Raises:
        ValueError: there is no photo, or not one group for each.
    """
    values = _some_values(ahead)
    drawn = _draw(*by_group(values, groups))
    low, high = drawn.bounds
    mean = float(values.mean())
    difference = Figure(value=mean, low=min(low, mean), high=max(high, mean), n=len(values))
    return difference, 1.0 if drawn.groups == 1 else _two_sided(drawn.ts * drawn.error, mean)


def bootstrap_mean(values: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> tuple[float, float]:
    """95 % interval of the mean of (N,) values: the bootstrap of Student's t, right for few and lopsided values too.

    Photos are drawn again from a fixed seed, so it repeats; those that belong together are drawn together, with the
    standard error of a ratio (W. G. Cochran, "Sampling techniques", 3rd edition, 1977, section 9A.1). A single value or
    group has no bounds; equal values have no width.

    Source: B. Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9 (1981),
    139-158; P. Hall, "Theoretical comparison of bootstrap confidence intervals", Annals of Statistics 16 (1988),
    927-953.

    Args:
        values: (N,) of each photo, any unit.
        groups: (N,) equal for photos that belong together; None: none do.

    Raises:
        ValueError: there is no value, or not one group for each.
    """
    return _draw(*by_group(_some_values(values), groups)).bounds


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A mean, and what became of it when groups of photos were drawn again.

    Attributes:
        mean: over the photos.
        groups: how many.
        ts: (RESAMPLES,) Student's t of each resample, rising; ±inf where a resample has no spread.
        error: standard error of the sample itself.
    """

    mean: float
    groups: int
    ts: Floats
    error: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the 95 % interval."""
        if self.groups == 1:
            return -np.inf, np.inf
        if self.error == 0:
            return self.mean, self.mean
        return self.mean - self.error * float(self.ts[-1 - BEYOND]), self.mean - self.error * float(self.ts[BEYOND])


def _draw(sums: Floats, sizes: Floats) -> _Drawn:
    """Draw groups again, given (G,) sums of their values and (G,) photos in them."""
    n, ((mean,), (error,)) = len(sums), _ratios(sums[None], sizes[None])
    ts = []
    for rng, rows in chunks(n):
        at = rng.integers(0, n, size=(rows, n))
        means, errors = _ratios(sums[at], sizes[at])
        with np.errstate(divide="ignore", invalid="ignore"):
            ts.append(np.nan_to_num((means - mean) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf))
    return _Drawn(float(mean), n, np.sort(np.concatenate(ts)), float(error))


def _ratios(sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """(R,) mean over all photos of each row of groups, and (R,) its standard error."""
    means = sums.sum(axis=1) / sizes.sum(axis=1)
    off = sums - sizes * means[:, None]
    return means, np.sqrt((off * off).mean(axis=1)) / (sizes.mean(axis=1) * sqrt(sums.shape[1]))


def _two_sided(drawn: Floats, seen: float) -> float:
    """How often a resample is as far out as what was seen, which is a draw itself; the nearer side counts double."""
    further = min(int((drawn >= seen).sum()), int((drawn <= seen).sum()))
    return min(1.0, 2 * (1 + further) / (1 + RESAMPLES))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """The p values of several tests at once, raised so that one false alarm among all of them stays rare.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979), 65-70.
    """
    adjusted, floor = [1.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        floor = max(floor, min(1.0, ps[at] * (len(ps) - rank)))
        adjusted[at] = floor
    return tuple(adjusted)


def percent_points(difference: Figure) -> str:
    """A difference of shares as people say it: `+0.5 points [-1.5, +2.5]`."""
    return f"{100 * difference.value:+.1f} points [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def show_p(p: float) -> str:
    """`= .70`, as papers print it, or `< .001`."""
    if p < 0.001:
        return "< .001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return f"= {text}" if p >= 0.995 else f"= {text.removeprefix('0')}"


def _per_photo(photos: npt.ArrayLike, right: npt.ArrayLike, common: npt.NDArray[np.int64]) -> tuple[Floats, int]:
    """(N,) share of right answers of each common photo, and how many answers that were."""
    numbers, hits = np.asarray(photos, dtype=np.int64), np.asarray(right, dtype=np.float64)
    if numbers.shape != hits.shape or numbers.ndim != 1:
        raise ValueError(f"photos are {numbers.shape} and answers {hits.shape}; expected one answer per photo number")
    at = np.searchsorted(common, numbers)
    known = (at < len(common)) & (common[np.minimum(at, len(common) - 1)] == numbers)
    counts = np.bincount(at[known], minlength=len(common))
    return np.bincount(at[known], weights=hits[known], minlength=len(common)) / counts, int(counts.sum())


def _groups_of(photos: npt.NDArray[np.int64], groups: npt.ArrayLike) -> npt.NDArray[np.int64]:
    known = np.asarray(groups, dtype=np.int64)
    if known.ndim != 1 or photos.min() < 0 or photos.max() >= len(known):
        raise ValueError(f"groups are {known.shape}; expected one for each photo number up to {photos.max()}")
    return known[photos]


def _some_values(values: npt.ArrayLike) -> Floats:
    some = np.asarray(values, dtype=np.float64)
    if not len(some):
        raise ValueError("a mean needs at least one photo")
    return some


def chunks(width: int) -> Iterator[tuple[np.random.Generator, int]]:
    """One generator and how many rows to draw from it at once, until all resamples are drawn."""
    rng, left = np.random.default_rng(0), RESAMPLES
    while left:
        rows = min(left, max(1, CHUNK // width))
        left -= rows
        yield rng, rows
