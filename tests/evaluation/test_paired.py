"""Paired figures against published examples and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carspotter.evaluation.paired import (
    Paired,
    bootstrap_mean,
    holm,
    mean_difference,
    pair,
    separate,
    share_difference,
    show_p,
)
from carspotter.evaluation.shares import wilson
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


def ahead(both: int, only_a: int, only_b: int, neither: int) -> np.ndarray:
    """How far B is ahead on each photo."""
    return np.repeat([0.0, -1.0, 1.0, 0.0], [both, only_a, only_b, neither])


def test_the_interval_is_bonetts_and_prices() -> None:
    """Cavo et al. 2012, as R's contingencytables prints it (there A minus B)."""
    found, _ = share_difference(ahead(59, 6, 16, 80))
    assert (found.low, found.high) == pytest.approx((0.0032, 0.1195), abs=5e-5)


@settings(deadline=None)
@given(*(st.integers(0, 60) for _ in range(4)))
def test_interval_and_p_agree_and_turn_with_the_sides(both: int, only_a: int, only_b: int, neither: int) -> None:
    n = both + only_a + only_b + neither
    if n == 0:
        return
    found, p = share_difference(ahead(both, only_a, only_b, neither))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx((only_b - only_a) / n)
    assert (p < 0.05) == (found.low > 0 or found.high < 0)
    back, same = share_difference(ahead(both, only_b, only_a, neither))
    assert (back.low, back.high, same) == pytest.approx((-found.high, -found.low, p))


def test_equal_answers_still_have_an_uncertain_difference() -> None:
    found, p = share_difference(np.zeros(20))
    assert found.low < 0 < found.high
    assert p == 1


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("part", "better"), [(0.1, 0.5), (0.3, 0.5), (0.3, 0.8), (0.6, 0.7)])
def test_few_photos_are_covered_as_promised(part: float, better: float, seeds: int) -> None:
    """Of 1,000 samples of 20 photos, the true difference is within 95 % of the intervals; more may be, not fewer."""
    rng = np.random.default_rng(0)
    true, held = part * (2 * better - 1), 0
    for _ in range(1_000):
        parted = rng.random((20, seeds)) < part
        values = np.where(parted, np.where(rng.random((20, seeds)) < better, 1.0, -1.0), 0.0).mean(axis=1)
        found, _ = share_difference(values)
        held += found.low <= true <= found.high
    assert held >= 929  # 950 less three binomial deviations


def test_separate_samples_are_newcombes() -> None:
    """Newcombe 1998 (independent proportions), method 10: 56 of 70 against 48 of 80."""
    found = separate(wilson(48, 80), wilson(56, 70))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert found.n == 70


# ---- two sides ------------------------------------------------------------------------------------------------------


def test_photos_on_which_they_part_are_counted() -> None:
    a, b = sides(29, 33)
    found = pair(PHOTOS, a, PHOTOS, b)
    assert (found.photos, found.answers, found.only_a, found.only_b) == (773, (773, 773), 29, 33)
    assert found.difference.value == pytest.approx(b.mean() - a.mean())
    assert found.sentence() == (
        "not distinguishable: B is right on 4 photos more of 773 (33 only B, 29 only A; "
        "difference +0.5 points [-1.5, +2.5], p = .62)"
    )


def test_among_several_comparisons_the_raised_p_decides() -> None:
    found = pair(PHOTOS, *[sides(20, 38)[0], PHOTOS, sides(20, 38)[1]])
    assert found.sentence().startswith("distinguishable")
    said = found.sentence(tests=3, raised=0.06)
    assert said.startswith("not distinguishable")
    assert "p = .020 taken alone, p = .060 among 3 comparisons)" in said


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
    a, b = sides(25, 38)
    once = pair(PHOTOS, a, PHOTOS, b)
    thrice = pair(np.tile(PHOTOS, 3), np.tile(a, 3), np.tile(PHOTOS, 3), np.tile(b, 3))
    apart = pair(np.arange(3 * 773), np.tile(a, 3), np.arange(3 * 773), np.tile(b, 3))
    assert apart.p < 0.05 < once.p
    assert (thrice.p, thrice.difference) == (once.p, once.difference)
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


# ---- photos that belong together ------------------------------------------------------------------------------------


def test_planted_copies_do_not_make_anything_surer() -> None:
    """Every photo twice: as many photos look like proof, as many groups say what one of each said."""
    a, b = sides(25, 38)
    photos, twice = np.arange(2 * 773), np.repeat(PHOTOS, 2)
    once = pair(PHOTOS, a, PHOTOS, b)
    blind = pair(photos, np.repeat(a, 2), photos, np.repeat(b, 2))
    grouped = pair(photos, np.repeat(a, 2), photos, np.repeat(b, 2), twice)
    assert blind.p < 0.05 < grouped.p
    assert (grouped.difference.low, grouped.difference.high, grouped.p) == pytest.approx(
        (once.difference.low, once.difference.high, once.p)
    )
    assert (grouped.photos, grouped.groups, grouped.difference.n) == (1546, 773, 1546)
    assert "B is right on 26 photos more of 1546 in 773 groups (76 only B, 50 only A" in grouped.sentence()
    assert " groups" not in once.sentence()


def test_photos_of_seeds_can_belong_together_too() -> None:
    a, b = sides(25, 38)
    groups = np.maximum(PHOTOS, 2)
    found = pair(np.tile(PHOTOS, 2), np.tile(a, 2), np.tile(PHOTOS, 2), np.tile(b, 2), groups)
    assert ", on 773 photos in 771 groups (38 lean to B, 25 to A; 1546 and 1546 answers" in found.sentence()


def test_groups_of_one_change_nothing() -> None:
    rng = np.random.default_rng(2)
    values, own = rng.choice([-1.0, -1 / 3, 0.0, 0.0, 1.0], 300), rng.permutation(300)
    assert share_difference(values, own) == share_difference(values)
    assert mean_difference(values, own) == mean_difference(values)
    assert bootstrap_mean(values, own) == bootstrap_mean(values)


def test_every_photo_counts_alike_whatever_its_group() -> None:
    values, groups = np.array([1.0, 1.0, 1.0, -1.0, 0.0, 0.0]), [7, 7, 7, 3, 4, 4]
    for difference in (share_difference, mean_difference):
        found, _ = difference(values, groups)
        assert found.value == pytest.approx(values.mean())
        assert found.low <= found.value <= found.high


def test_only_the_groups_of_common_photos_count() -> None:
    found = pair([3, 1, 0], [True, False, True], [1, 3], [True, True], groups=[9, 5, 9, 5])
    assert (found.photos, found.groups) == (2, 1)


@pytest.mark.parametrize("sizes", [(1, 2), (3,), (1, 1, 1, 1, 2, 4)])
def test_groups_are_covered_as_promised(sizes: tuple[int, ...]) -> None:
    """Of 1,000 samples of 40 groups whose photos mostly agree; as single photos, 78 to 89 % of them were."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1_000):
        groups = np.repeat(np.arange(40), rng.choice(sizes, 40))
        of_group, own = (
            np.where(rng.random(n) < 0.4, np.where(rng.random(n) < 0.7, 1.0, -1.0), 0.0) for n in (40, len(groups))
        )
        found, _ = share_difference(np.where(rng.random(len(groups)) < 0.9, of_group[groups], own), groups)
        held += found.low <= 0.4 * 0.4 <= found.high
    assert held >= 929  # 950 less three binomial deviations


def test_losses_of_copies_are_one_loss() -> None:
    values = np.random.default_rng(6).normal(0.2, 1.0, 60)
    once, p = mean_difference(values)
    grouped, same = mean_difference(np.repeat(values, 3), np.repeat(np.arange(60), 3))
    assert (grouped.low, grouped.high, same) == pytest.approx((once.low, once.high, p))
    low, high = bootstrap_mean(np.repeat(values, 3))
    assert high - low < 0.7 * (grouped.high - grouped.low)
    assert bootstrap_mean([3.0, 4.0], [1, 1]) == (-np.inf, np.inf)  # one witness


def test_groups_that_are_not_of_these_photos_are_an_error() -> None:
    with pytest.raises(ValueError, match="one of each of 2 photos"):
        share_difference([0.0, 1.0], [1])
    with pytest.raises(ValueError, match="one for each photo number up to 2"):
        pair([2], [True], [2], [True], groups=[0, 1])


# ---- means ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lopsided", [False, True])
def test_few_losses_are_covered_as_promised(lopsided: bool) -> None:
    """Means of 10 values; the percentile bootstrap held 86 % of the lopsided ones and 88 % of the others."""
    rng = np.random.default_rng(0)
    held = alarms = 0
    for _ in range(400):
        values = rng.exponential(1.0, 10) - 1 if lopsided else rng.normal(0.0, 1.0, 10)
        found, p = mean_difference(values)
        held += found.low <= 0 <= found.high
        alarms += p < 0.05
    assert held >= 367  # 380 less three binomial deviations
    assert alarms == 400 - held


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
    assert mean_difference([3.0]) == (Figure(value=3, low=-np.inf, high=np.inf, n=1), 1.0)
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
    assert Paired(10, (10, 10), 0, 0, zero, 0.0499, 10).distinguishable
    assert not Paired(10, (10, 10), 0, 0, zero, 0.05, 10).distinguishable
