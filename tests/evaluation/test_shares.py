"""Shares and their intervals, where photos are separate witnesses and where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from carspotter.evaluation.metrics import evaluate
from carspotter.evaluation.reliability import calibration_error, calibration_p, errors_removed
from carspotter.evaluation.shares import RESAMPLES, bootstrap, share, wilson, witnesses
from carspotter.records import Figure, Scores


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(sample: tuple[int, int]) -> None:
    right, n = sample
    ours = wilson(right, n)
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1
    assert witnesses(ours) == pytest.approx(n)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="a share needs at least one photo"):
        wilson(right, n)


@pytest.mark.parametrize("half", [0.0, 0.01, 0.5])
def test_no_figure_stands_for_more_than_its_photos(half: float) -> None:
    assert witnesses(Figure(value=0.5, low=0.5 - half, high=0.5 + half, n=7)) == 7


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_photos_of_their_own_change_no_bit() -> None:
    right = np.random.default_rng(0).random(616) < 0.7
    own = np.random.default_rng(1).permutation(616)
    assert share(right, own) == share(right) == wilson(int(right.sum()), 616)


@pytest.mark.parametrize("sizes", [(1, 2, 3, 4), (3,)])
def test_groups_are_covered_as_promised(sizes: tuple[int, ...]) -> None:
    """Of 1,000 samples of 40 groups whose photos mostly agree; as single photos, 74 and 76 % of them were."""
    rng, held, alone = np.random.default_rng(0), 0, 0
    for _ in range(1_000):
        groups = np.repeat(np.arange(40), rng.choice(sizes, 40))
        of_group, own = rng.random(40) < 0.7, rng.random(len(groups)) < 0.7
        right = np.where(rng.random(len(groups)) < 0.9, of_group[groups], own)
        found, plain = share(right, groups), share(right)
        assert found.value == plain.value
        held += found.low <= 0.7 <= found.high
        alone += plain.low <= 0.7 <= plain.high
    assert held >= 930
    assert alone <= 800


@pytest.mark.parametrize("right", [True, False])
def test_photos_that_all_agree_are_as_many_witnesses_as_groups(right: bool) -> None:
    found, ten = share(np.full(40, right), np.arange(40) // 4), wilson(10 * right, 10)
    assert found.n == 40
    assert (found.low, found.high) == pytest.approx((ten.low, ten.high))
    assert witnesses(found) == pytest.approx(10)


def test_groups_that_disagree_within_are_no_more_than_their_photos() -> None:
    right = np.tile([True, False], 20)
    assert share(right, np.arange(40) // 2) == share(right)


def test_groups_must_be_of_these_photos() -> None:
    with pytest.raises(ValueError, match="expected one of each of 3 photos"):
        share([True, False, True], [1, 2])
    with pytest.raises(ValueError, match="at least one photo"):
        share([], [])


def test_resamples_take_groups_whole_and_repeat() -> None:
    groups = np.array([5, 2, 5, 2, 9])
    drawn = bootstrap(lambda at: np.bincount(at, minlength=5), 5, groups)
    assert drawn.shape == (RESAMPLES, 5)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 1] == drawn[:, 3]).all()
    assert drawn[:, 4].mean() == pytest.approx(1, abs=0.1)
    assert (drawn == bootstrap(lambda at: np.bincount(at, minlength=5), 5, groups)).all()

    def whole(at: np.ndarray) -> np.ndarray:
        runs = np.split(at, np.flatnonzero(np.isin(at, (0, 1, 4))))[1:]
        return np.array(sum(map(len, runs)) == len(at) and all(run.tolist() in ([0, 2], [1, 3], [4]) for run in runs))

    assert bootstrap(whole, 5, groups).all()


def test_every_figure_of_copies_is_as_wide_as_that_of_one_of_each() -> None:
    """Each of 80 photos four times: the same figures, with the intervals that 80 allow."""
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(80, 4)).astype(np.float32), rng.integers(0, 4, 80)
    logits[np.arange(60), truth[:60]] += 3
    confidence, right = rng.random(80), logits.argmax(1) == truth
    groups, copies = np.repeat(np.arange(80), 4), np.repeat(np.arange(80), 4)

    def scores(rows: np.ndarray) -> Scores:
        return Scores(tuple(map(str, range(len(rows)))), logits[rows], np.zeros((len(rows), 1), np.float32))

    once = evaluate(scores(np.arange(80)), truth, tuple("abcd"))
    copied = evaluate(scores(copies), truth[copies], tuple("abcd"), groups)
    for one, many in ((once.accuracy, copied.accuracy), (once.top3_accuracy, copied.top3_accuracy)):
        assert (many.low, many.value, many.high) == pytest.approx((one.low, one.value, one.high))
        assert many.n == 320
    one, many = errors_removed(confidence, right), errors_removed(confidence[copies], right[copies], groups=groups)
    assert (many.low, many.value, many.high) == pytest.approx((one.low, one.value, one.high))
    assert calibration_p(confidence[copies], right[copies], groups=groups) == calibration_p(confidence, right)
    one, many = (
        calibration_error(confidence, right),
        calibration_error(confidence[copies], right[copies], groups=groups),
    )
    assert (many.low, many.value, many.high) == pytest.approx((one.low, one.value, one.high))
