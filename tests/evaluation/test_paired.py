"""Paired figures against published examples, SciPy, and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from carspotter.evaluation.paired import (
    Paired,
    bootstrap_mean,
    holm,
    mcnemar,
    mean_difference,
    newcombe,
    pair,
    show_p,
)
from carspotter.records import Figure

PHOTOS = np.arange(773)


def sides(only_a: int, only_b: int, both: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of two sides on the 773 photos."""
    a, b = np.zeros(773, bool), np.zeros(773, bool)
    a[:both] = b[:both] = True
    a[both : both + only_a] = True
    b[both + only_a : both + only_a + only_b] = True
    return a, b


# ---- the test and the interval --------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_takes_many_photos() -> None:
    assert mcnemar(4_800, 5_200) == pytest.approx(binomtest(4_800, 10_000).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((59, 6, 16, 80), -0.1186, -0.0046),  # Cavo et al. 2012, as R's contingencytables prints it
        ((1, 1, 7, 12), -0.507, -0.026),  # Bentur et al. 2009, in Fagerland, Lydersen, Laake (2014)
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998, method 10
    ],
)
def test_newcombe_gives_the_published_intervals(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    assert newcombe(*counts) == pytest.approx((low, high), abs=5e-4)


@given(*(st.integers(0, 60) for _ in range(4)))
def test_newcombe_holds_the_difference_and_turns_with_the_sides(
    both: int, only_first: int, only_second: int, neither: int
) -> None:
    n = both + only_first + only_second + neither
    if n == 0:
        return
    low, high = newcombe(both, only_first, only_second, neither)
    assert -1 <= low <= (only_first - only_second) / n <= high <= 1
    assert newcombe(both, only_second, only_first, neither) == pytest.approx((-high, -low))


def test_equal_answers_still_have_an_uncertain_difference() -> None:
    low, high = newcombe(10, 0, 0, 10)
    assert low < 0 < high


# ---- two sides ------------------------------------------------------------------------------------------------------


def test_photos_on_which_they_part_are_counted() -> None:
    a, b = sides(29, 33)
    found = pair(PHOTOS, a, PHOTOS, b)
    assert (found.photos, found.answers, found.only_a, found.only_b) == (773, (773, 773), 29, 33)
    assert found.difference.value == pytest.approx(b.mean() - a.mean())
    assert found.p == mcnemar(29, 33)
    assert found.sentence() == (
        "not distinguishable: B is right on 4 photos more of 773 (33 only B, 29 only A; "
        "difference +0.5 points [-1.5, +2.5], p = .70)"
    )


def test_a_clear_difference_is_called_one_either_way() -> None:
    a, b = sides(10, 40)
    assert pair(PHOTOS, a, PHOTOS, b).sentence("x", "y").startswith("distinguishable: y is right on 30 photos more")
    back = pair(PHOTOS, b, PHOTOS, a)
    assert back.sentence("x", "y").startswith("distinguishable: x is right on 30 photos more of 773 (10 only y, 40 ")
    assert back.difference.value == pytest.approx(-30 / 773)
    assert back.difference.high < 0


def test_equal_sides_are_said_to_be_equal() -> None:
    a, _ = sides(0, 0)
    assert "both are right equally often" in pair(PHOTOS, a, PHOTOS, a).sentence()


def test_only_common_photos_count_in_any_order() -> None:
    found = pair([5, 3, 9, 1], [True, False, True, True], [1, 3, 5, 7], [False, True, True, True])
    assert (found.photos, found.only_a, found.only_b, found.answers) == (3, 1, 1, (3, 3))


def test_no_common_photo_is_an_error() -> None:
    with pytest.raises(ValueError, match="no photo was answered by both"):
        pair([1], [True], [2], [True])


def test_answers_without_photos_are_an_error() -> None:
    with pytest.raises(ValueError, match="one answer per photo number"):
        pair([1, 2], [True], [1, 2], [True, True])


def test_several_trainings_of_one_photo_are_no_new_witnesses() -> None:
    """Three equal trainings say no more than one; counted apart they would seem to prove a difference."""
    a, b = sides(25, 40)
    once = pair(PHOTOS, a, PHOTOS, b)
    thrice = pair(np.tile(PHOTOS, 3), np.tile(a, 3), np.tile(PHOTOS, 3), np.tile(b, 3))
    assert mcnemar(75, 120) < 0.05 < once.p
    assert thrice.p == pytest.approx(once.p, abs=0.03)
    assert (thrice.difference.low, thrice.difference.high) == pytest.approx(
        (once.difference.low, once.difference.high), abs=0.004
    )
    assert thrice.several
    assert not once.several
    assert "2319 and 2319 answers, those of one photo kept together" in thrice.sentence()


def test_seeds_are_averaged_within_a_photo() -> None:
    found = pair([1, 1, 2, 2], [True, False, True, True], [1, 2], [True, True])
    assert (found.only_a, found.only_b, found.answers) == (0, 1, (4, 2))
    assert found.difference.value == 0.25


def test_many_seeds_see_what_one_cannot() -> None:
    """Averaging away the trainings' noise narrows the interval."""
    rng = np.random.default_rng(3)
    ability = rng.random(773)
    a = rng.random((8, 773)) < ability
    b = rng.random((8, 773)) < np.minimum(ability + 0.03, 1)
    one = pair(PHOTOS, a[0], PHOTOS, b[0]).difference
    many = pair(np.tile(PHOTOS, 8), a.ravel(), np.tile(PHOTOS, 8), b.ravel()).difference
    assert many.high - many.low < 0.6 * (one.high - one.low)


# ---- means ----------------------------------------------------------------------------------------------------------


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    ps = [mean_difference(rng.choice([-1, 0, 0, 1], size=100))[1] for _ in range(300)]
    assert 2 <= sum(p < 0.05 for p in ps) <= 30  # 15 expected; binomial, beyond four deviations either way


def test_the_bootstrap_is_the_normal_interval_of_many_values() -> None:
    values = np.random.default_rng(5).normal(0.3, 2.0, 2_000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert bootstrap_mean(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_a_mean_difference_repeats_and_finds_a_shift() -> None:
    values = np.random.default_rng(5).normal(0.3, 2.0, 1_000)
    first, p = mean_difference(values)
    assert (first, p) == mean_difference(values)
    assert first.low > 0
    assert p < 0.001
    assert mean_difference(values - values.mean())[1] > 0.9


def test_nothing_to_part_them() -> None:
    assert mean_difference([0.0, 0.0]) == (Figure(value=0, low=0, high=0, n=2), 1.0)
    with pytest.raises(ValueError, match="at least one photo"):
        mean_difference([])


# ---- several tests, text --------------------------------------------------------------------------------------------


def test_holm_raises_in_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.7036, "= .70"), (0.0321, "= .032"), (0.0004, "< .001"), (1.0, "= 1.00"), (0.9999, "= 1.00"), (0.994, "= .99")],
)
def test_p_is_shown_as_papers_do(p: float, shown: str) -> None:
    assert show_p(p) == shown


def test_the_verdict_follows_p() -> None:
    zero = Figure(value=0, low=0, high=0, n=10)
    assert Paired(10, (10, 10), 0, 0, zero, 0.0499).distinguishable
    assert not Paired(10, (10, 10), 0, 0, zero, 0.05).distinguishable
