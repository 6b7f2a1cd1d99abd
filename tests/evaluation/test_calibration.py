"""Temperatures, prediction sets and costs, on logits whose truth is drawn from known probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from carspotter.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    calibrate,
    cross_fitted,
    fit_temperature,
    name_at,
    parts_of,
    prediction_sets,
    set_threshold,
)
from carspotter.evaluation.metrics import log_softmax, softmax

CLASSES = 6


def drawn(photos: int, *, hot: float = 1.0, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Logits, and truths that follow softmax(logits / hot)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.5, (photos, CLASSES)).astype(np.float32)
    chances = softmax(logits / hot).cumsum(1)
    return logits, (rng.random((photos, 1)) > chances).sum(1).clip(max=CLASSES - 1)


@pytest.mark.parametrize("hot", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(hot: float) -> None:
    assert fit_temperature(*drawn(6000, hot=hot)) == pytest.approx(hot, rel=0.08)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, labels = drawn(300, hot=2.0)
    best = fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits / temperature)[np.arange(300), labels].mean())

    assert all(loss(best) <= loss(best * factor) + 1e-9 for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_scikit_learn_finds_the_same() -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    logits, labels = drawn(500, hot=2.0)
    probe = LogisticRegression().fit(logits, labels)
    # The probe is set to hand its input on, so that both fit the very same logits.
    probe.coef_, probe.intercept_ = np.eye(CLASSES), np.zeros(CLASSES)
    theirs = CalibratedClassifierCV(FrozenEstimator(probe), method="temperature").fit(logits, labels)
    ours = softmax(logits / fit_temperature(logits, labels))
    assert np.abs(theirs.predict_proba(logits) - ours).max() < 0.01


def test_perfect_and_empty_answers_end_at_a_bound() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert fit_temperature(sure, np.arange(3)) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(sure, np.array([1, 2, 0])) == pytest.approx(HOTTEST, rel=1e-3)
    with pytest.raises(ValueError, match="at least one photo"):
        fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))


@pytest.mark.parametrize("seed", range(20))
def test_the_photo_at_the_bound_is_not_missed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(CLASSES), 39), rng.integers(0, CLASSES, 39)
    threshold = set_threshold(probabilities, labels, 0.05)
    assert (
        probabilities[np.arange(39), labels] < threshold
    ).sum() == 1  # of 40, one in twenty, the next one among them


def test_sets_hold_the_truth_as_often_as_promised() -> None:
    held, sizes = [], []
    for seed in range(40):
        logits, labels = drawn(400, seed=seed)
        threshold = set_threshold(softmax(logits[:200]), labels[:200], 0.1)
        sets = prediction_sets(softmax(logits[200:]), threshold)
        held.append(sets[np.arange(200), labels[200:]].mean())
        sizes.append(sets.sum(1).mean())
    # 8,000 photos judged; thresholds of 200 photos spread by 2 points around the promise, their mean by .3.
    assert 0.89 <= np.mean(held) <= 0.925
    assert np.mean(sizes) < 3


def test_sets_are_never_empty_and_whole_where_photos_are_too_few() -> None:
    logits, labels = drawn(15)
    assert set_threshold(softmax(logits), labels, 0.05) == 0.0  # 16 · 0.95 > 15
    assert set_threshold(softmax(np.repeat(logits, 2, 0)), np.repeat(labels, 2), 0.05) > 0.0
    assert prediction_sets(softmax(logits), 0.0).all()
    assert prediction_sets(softmax(logits), 1.1).sum(1).tolist() == [1] * 15
    for error in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="expected a share"):
            set_threshold(softmax(logits), labels, error)


def test_cross_fitting_never_judges_a_photo_by_itself() -> None:
    logits, labels = drawn(300, hot=2.0)
    parts = np.arange(300) % 5
    probabilities, sets = cross_fitted(logits, labels, parts, 0.1)
    lied = labels.copy()
    lied[parts == 3] = (lied[parts == 3] + 1) % CLASSES
    again, sets_again = cross_fitted(logits, lied, parts, 0.1)
    assert np.array_equal(again[parts == 3], probabilities[parts == 3])  # its own truths decided nothing
    assert np.array_equal(sets_again[parts == 3], sets[parts == 3])
    assert not np.allclose(again[parts == 0], probabilities[parts == 0])  # but those of the others
    with pytest.raises(ValueError, match="at least two"):
        cross_fitted(logits, labels, np.zeros(300, np.int64), 0.1)


def test_naming_pays_above_the_cost_of_asking() -> None:
    assert name_at(wrong=5) == pytest.approx(0.8)
    assert name_at(wrong=10, asked=5) == pytest.approx(0.5)
    assert name_at(wrong=1, asked=3) == 0.0
    with pytest.raises(ValueError, match="above 0"):
        name_at(wrong=0)


def test_groups_are_dealt_out_whole() -> None:
    groups = np.array([7, 7, 0, 3, 9, 9, 9, 4])
    parts = parts_of(groups, 3)
    assert parts.tolist() == [0, 0, 0, 1, 1, 1, 1, 2]
    assert parts_of(np.arange(40)).tolist() == list(range(5)) * 8


def test_too_few_photos_fit_nothing() -> None:
    logits, labels = drawn(40)
    assert calibrate(logits[:39], labels[:39], np.arange(39)) is None
    assert calibrate(logits, labels, np.zeros(40, dtype=np.int64)) is None
    assert calibrate(logits, labels, np.arange(40) % 5) is not None


def test_a_bundle_carries_what_was_fitted_and_why() -> None:
    logits, labels = drawn(400, hot=2.0)
    found = calibrate(logits, labels, np.arange(400) % 5, error=0.1, wrong=4)
    assert (found.photos, found.error, found.name_at) == (400, 0.1, 0.75)
    assert found.temperature == fit_temperature(logits, labels)
    assert "4 photos" in found.costs
    fresh, truth = drawn(4000, hot=2.0, seed=9)
    probabilities = softmax(fresh / found.temperature)
    sets = prediction_sets(probabilities, found.set_at)
    unnamed = probabilities.max(1) < found.name_at
    held = sets[np.arange(4000), truth]
    assert 0.85 < held[unnamed].mean() < 0.95  # some 250 photos fitted it: 2 points either way


def test_too_few_photos_without_a_name_promise_nothing() -> None:
    logits, _ = drawn(60)
    sure = calibrate(8 * logits, (8 * logits).argmax(1), np.arange(60) % 5)
    assert sure is not None
    assert sure.error is None
