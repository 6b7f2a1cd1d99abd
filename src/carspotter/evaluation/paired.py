"""Two nets on the same photos: pure functions of arrays.

Both answered the same photos, so only those count on which they part. A test of such pairs sees smaller differences
than two separate intervals do. Where several trainings of one side answered a photo (seeds), its answers are no
independent witnesses: the photo is then the unit, and its answers are averaged before anything is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import wilson
from carspotter.records import Figure

ALPHA = 0.05
"""What is called distinguishable: the counterpart of the 95 % intervals everywhere else."""
RESAMPLES = 4_000
"""A bound of 2.5 % then lies within 2.5 ± 0.5 % (twice its binomial error); under 0.1 s for 800 values."""
FEW = 64
"""Different values up to which counts are drawn instead of photos. Assumption: shares of a few seeds are far fewer."""
SIGNS = np.array([-1.0, 1.0])
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
    """

    photos: int
    answers: tuple[int, int]
    only_a: int
    only_b: int
    difference: Figure
    p: float

    @property
    def distinguishable(self) -> bool:
        """Whether chance alone is an unlikely reason."""
        return self.p < ALPHA

    @property
    def several(self) -> bool:
        """Whether some photo was answered by several trainings of a side."""
        return max(self.answers) > self.photos

    def sentence(self, a: str = "A", b: str = "B") -> str:
        """The verdict in plain words; `a` and `b` are what to call the sides."""
        verdict = "distinguishable" if self.distinguishable else "not distinguishable"
        points = f"{percent_points(self.difference)}, p {show_p(self.p)}"
        better, more = (b, self.only_b - self.only_a) if self.only_b >= self.only_a else (a, self.only_a - self.only_b)
        if not self.several:
            lead = (
                f"{better} is right on {more} photos more of {self.photos}" if more else "both are right equally often"
            )
            return f"{verdict}: {lead} ({self.only_b} only {b}, {self.only_a} only {a}; difference {points})"
        return (
            f"{verdict}: {b} minus {a} is {points}, on {self.photos} photos ({self.only_b} lean to {b}, {self.only_a} "
            f"to {a}; {self.answers[1]} and {self.answers[0]} answers, those of one photo kept together)"
        )


def pair(photos_a: npt.ArrayLike, right_a: npt.ArrayLike, photos_b: npt.ArrayLike, right_b: npt.ArrayLike) -> Paired:
    """Compare two sides on the photos that both answered.

    With one answer per photo and side: McNemar's exact test, and Newcombe's interval. With more: the answers of each
    photo are averaged, and photos are resampled (`mean_difference`).

    Args:
        photos_a: (N,) photo numbers of A's answers, in any order; a photo may come several times.
        right_a: (N,) bool.
        photos_b: (M,) of B; the same number is the same photo.
        right_b: (M,) bool.

    Raises:
        ValueError: no photo is common, or the arrays of a side have not one length.
    """
    common = np.intersect1d(photos_a, photos_b)
    if not len(common):
        raise ValueError("no photo was answered by both sides")
    (share_a, count_a), (share_b, count_b) = (
        _per_photo(photos_a, right_a, common),
        _per_photo(photos_b, right_b, common),
    )
    ahead = share_b - share_a
    only_a, only_b = int((ahead < 0).sum()), int((ahead > 0).sum())
    if max(count_a, count_b) > len(common):
        difference, p = mean_difference(ahead)
    else:
        both = int(share_a.sum()) - only_a
        low, high = newcombe(both, only_b, only_a, len(common) - both - only_a - only_b)
        difference = Figure(value=(only_b - only_a) / len(common), low=low, high=high, n=len(common))
        p = mcnemar(only_a, only_b)
    return Paired(len(common), (count_a, count_b), only_a, only_b, difference, p)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of McNemar's test: the photos on which only one is right fall to either side like a coin.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), 153-157; exact by the binomial distribution.

    Args:
        only_a: photos on which only A is right.
        only_b: photos on which only B is right.
    """
    n, fewer = only_a + only_b, min(only_a, only_b)
    ways = tail = 1
    for k in range(fewer):
        ways = ways * (n - k) // (k + 1)  # whole numbers throughout: C(n, k + 1) from C(n, k)
        tail += ways
    return min(1.0, float(Fraction(2 * tail, 2**n)))


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired shares, first minus second; sound for few photos too.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998), 2635-2650, method 10: Wilson intervals of both shares, squared and
    added with the correlation, which is corrected for continuity.

    Args:
        both: photos on which both are right.
        only_first: on which only the first is.
        only_second: on which only the second is.
        neither: on which neither is.

    Raises:
        ValueError: there is no photo.
    """
    n = both + only_first + only_second + neither
    first, second = wilson(both + only_first, n), wilson(both + only_second, n)
    phi = _correlation(both, only_first, only_second, neither)
    below = _square_and_add(first.value - first.low, second.high - second.value, phi)
    above = _square_and_add(first.high - first.value, second.value - second.low, phi)
    difference = (only_first - only_second) / n
    return max(-1.0, difference - below), min(1.0, difference + above)


def mean_difference(ahead: npt.ArrayLike) -> tuple[Figure, float]:
    """The mean of per-photo differences, its 95 % interval and the p of there being none.

    The interval is the percentile bootstrap over photos (B. Efron, "Bootstrap methods: another look at the
    jackknife", Annals of Statistics 7 (1979), 1-26); p is by random exchange of the two sides within each photo (R. A.
    Fisher, "The design of experiments", 1935), two-sided. Both are drawn from a fixed seed, so they repeat.

    Args:
        ahead: (N,) how far B is ahead of A on each photo, any unit.

    Raises:
        ValueError: there is no photo.
    """
    values = np.asarray(ahead, dtype=np.float64)
    if not len(values):
        raise ValueError("a mean difference needs at least one photo")
    low, high = bootstrap_mean(values)
    mean = float(values.mean())
    return Figure(value=mean, low=min(low, mean), high=max(high, mean), n=len(values)), exchange(values)


def bootstrap_mean(values: npt.ArrayLike) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of (N,) values, N at least 1."""
    values = np.asarray(values, dtype=np.float64)
    kinds, counts = np.unique(values, return_counts=True)
    n = len(values)
    if len(kinds) <= FEW:  # drawing N photos is drawing how often each different value comes
        draws = [rng.multinomial(n, counts / n, size=rows) @ kinds / n for rng, rows in _chunks(len(kinds))]
    else:
        draws = [values[rng.integers(0, n, size=(rows, n))].mean(axis=1) for rng, rows in _chunks(n)]
    low, high = np.quantile(np.concatenate(draws), (0.025, 0.975))
    return float(low), float(high)


def exchange(ahead: npt.ArrayLike) -> float:
    """Two-sided p of a mean of (N,) differences being 0: the sign of each photo's difference is flipped at random."""
    values = np.asarray(ahead, dtype=np.float64)
    kinds, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    if not len(kinds):
        return 1.0
    seen = abs(float(values.sum()))
    if len(kinds) <= FEW:  # how many of the photos with one size of difference are flipped is binomial
        sums = [(2 * rng.binomial(counts, 0.5, size=(rows, len(kinds))) - counts) @ kinds for rng, rows in _chunks(FEW)]
    else:
        sums = [rng.choice(SIGNS, size=(rows, len(values))) @ values for rng, rows in _chunks(len(values))]
    # Sums of thirds differ by rounding from what was seen; those are as far apart, not less.
    as_far = int((np.abs(np.concatenate(sums)) >= seen - 1e-9 * max(1.0, seen)).sum())
    return (1 + as_far) / (1 + RESAMPLES)


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


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    n = both + only_first + only_second + neither
    spread = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if spread == 0:
        return 0.0
    shared = both * neither - only_first * only_second
    corrected = max(shared - n / 2, 0.0) if shared > 0 else float(shared)
    return corrected / sqrt(spread)


def _square_and_add(a: float, b: float, phi: float) -> float:
    return sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _chunks(width: int) -> Iterator[tuple[np.random.Generator, int]]:
    """One generator and how many rows to draw from it at once, until all resamples are drawn."""
    rng, left = np.random.default_rng(0), RESAMPLES
    while left:
        rows = min(left, max(1, CHUNK // width))
        left -= rows
        yield rng, rows
