"""Which may be the best: no more false claims than promised, and true ones found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from carspotter.evaluation import contenders
from carspotter.evaluation.contenders import may_be_best


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation of hundreds of tables needs fewer resamples in each."""

    def chunks(width: int) -> list[tuple[np.random.Generator, int]]:
        return [(np.random.default_rng(0), 499)]

    monkeypatch.setattr(contenders, "RESAMPLES", 499)
    monkeypatch.setattr(contenders, "chunks", chunks)


def wrong(rng: np.random.Generator, better: np.ndarray, photos: int = 94) -> np.ndarray:
    """Wrong answers of trainings on the same photos, some harder than others; `better` shifts a training's chances."""
    easy = rng.beta(5, 1, photos)
    return (rng.random((len(better), photos)) > np.clip(easy + better[:, None], 0, 1)).astype(float)


def false_claims(tables: int, worse: int) -> float:
    """Share of tables of 30 trainings, `worse` of them really so, where one of the equally best is called worse."""
    rng, better = np.random.default_rng(3), np.zeros(30)
    better[30 - worse :] = -0.25
    return float(np.mean([(may_be_best(wrong(rng, better))[: 30 - worse] < 0.05).any() for _ in range(tables)]))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("worse", [0, 20])
def test_equal_trainings_are_seldom_called_worse(worse: int) -> None:
    """5 % of tables are promised; Holm's correction against the chosen winner had 19 % (25 % among 50)."""
    assert false_claims(300, worse) <= 0.088  # three binomial deviations above 5 %


@pytest.mark.usefixtures("few")
def test_log_losses_of_one_shape_keep_the_promise_too() -> None:
    rng = np.random.default_rng(4)
    claims = [
        (may_be_best(rng.exponential(1, 94) * np.exp(0.5 * rng.normal(size=(20, 94)))) < 0.05).any() for _ in range(300)
    ]
    assert np.mean(claims) <= 0.088


def overconfident_claims(photos: int, badly: float) -> float:
    """Share of pairs of equal mean log loss called apart: a modest net, and one that loses all on a share of photos."""
    rng = np.random.default_rng(5)
    modest = rng.exponential(1, (300, photos))
    sure = rng.exponential(1 / badly, (300, photos)) * (rng.random((300, photos)) < badly)
    return float(np.mean([(may_be_best(pair) < 0.05).any() for pair in zip(modest, sure, strict=True)]))


@pytest.mark.usefixtures("few")
def test_log_losses_of_unlike_shapes_keep_it_where_many_photos_hold_them() -> None:
    assert overconfident_claims(770, 0.2) <= 0.088


@pytest.mark.usefixtures("few")
def test_log_losses_of_unlike_shapes_break_it_as_far_as_is_said() -> None:
    """The promise is approximate for log losses; this is the figure that the docstring names, 20 %."""
    assert 0.13 <= overconfident_claims(94, 0.05) <= 0.27  # three binomial deviations


def test_more_sides_than_can_be_compared_in_time_are_an_error() -> None:
    with pytest.raises(ValueError, match="501 sides; expected at most 500, for the time grows"):
        may_be_best(np.zeros((501, 3)))


def test_a_really_worse_one_is_found_and_only_that() -> None:
    better = np.zeros(50)
    better[17] = -0.3
    ps = may_be_best(wrong(np.random.default_rng(0), better, 200))
    assert np.flatnonzero(ps < 0.05).tolist() == [17]
    assert ps.max() == 1


def test_one_better_than_all_the_rest_is_found() -> None:
    better = np.full(50, -0.3)
    better[8] = 0.0
    ps = may_be_best(wrong(np.random.default_rng(0), better, 300))
    assert np.flatnonzero(ps >= 0.05).tolist() == [8]


def test_hundreds_of_runs_can_still_be_told_apart() -> None:
    """A correction by the number of tests could not: no p of a resampling is that small."""
    values = np.random.default_rng(0).normal(0, 1, (300, 60))
    values[150:] += 3
    ps = may_be_best(values)
    assert (ps[150:] < 0.05).all()
    assert (ps[:150] >= 0.05).mean() > 0.95


def test_of_two_it_is_the_exact_test_of_mcnemar_as_far_as_drawing_tells() -> None:
    a, b = np.zeros(40), np.zeros(40)
    b[:11] = 1
    a[11:14] = 1
    assert may_be_best([a, b]) == pytest.approx([1.0, binomtest(3, 14).pvalue], abs=0.012)


def test_equal_answers_cannot_be_told_apart_and_the_first_stays() -> None:
    same = np.tile(np.arange(10) % 2, (3, 1))
    assert may_be_best(same).tolist() == [1, 1, 1]
    assert may_be_best(same[:1]).tolist() == [1]


def test_a_photo_that_all_find_hard_changes_nothing() -> None:
    values = wrong(np.random.default_rng(0), np.r_[np.zeros(5), -0.2])
    harder = values + 1e3 * np.arange(values.shape[1])
    assert may_be_best(harder) == pytest.approx(may_be_best(values))


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_no_photos_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected sides by photos, at least one photo"):
        may_be_best(np.zeros(shape))


def test_a_lead_on_copies_of_one_photo_is_one_photo() -> None:
    """Eight photos more are a difference, eight copies of one photo are none."""
    losses, copies = np.zeros((2, 50)), np.minimum(np.arange(50), 42)
    losses[0, 42:] = 1
    assert may_be_best(losses)[0] < 0.05
    assert may_be_best(losses, copies)[0] == 1
    assert (may_be_best(losses, np.arange(50)[::-1]) == may_be_best(losses)).all()
