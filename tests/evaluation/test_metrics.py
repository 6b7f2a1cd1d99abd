from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax as scipy_log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from sklearn.metrics import top_k_accuracy_score as sklearn_top_k

from carspotter.evaluation.metrics import best_first, evaluate, log_softmax, softmax
from carspotter.records import Scores

CLASSES = ("a", "b", "c", "d", "e")


def made(n: int = 400, k: int = 5, seed: int = 0) -> tuple[Scores, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)).astype(np.float32)
    logits[np.arange(n), truth] += 1
    return scores(logits), truth


def scores(logits: object) -> Scores:
    array = np.asarray(logits, dtype=np.float32)
    return Scores(tuple(f"p{i}" for i in range(len(array))), array, np.zeros((len(array), 2), np.float32))


def test_softmax_is_scipys() -> None:
    logits = np.random.default_rng(1).normal(0, 30, size=(50, 7))
    np.testing.assert_allclose(log_softmax(logits), scipy_log_softmax(logits, axis=1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)


def test_softmax_of_huge_logits_neither_overflows_nor_loses_the_order() -> None:
    np.testing.assert_allclose(
        softmax([[1e4, 1e4 - 1, -1e4]])[0], [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], atol=1e-12
    )
    assert np.isfinite(log_softmax([[3e38, -3e38]])).all()


def test_best_first_keeps_the_order_of_classes_in_a_tie() -> None:
    assert best_first([[1, 3, 3, 2]], 3).tolist() == [[1, 2, 3]]
    assert best_first([[1, 2]], 3).tolist() == [[1, 0]]


def test_evaluation_is_scikit_learns() -> None:
    found, truth = made()
    figures = evaluate(found, truth, CLASSES)
    probabilities, answers = softmax(found.logits), found.logits.argmax(axis=1)
    precision, recall, _, photos = precision_recall_fscore_support(truth, answers, labels=range(5))
    assert figures.accuracy.value == pytest.approx(accuracy_score(truth, answers))
    assert figures.accuracy.n == 400
    assert figures.top3_accuracy.value == pytest.approx(sklearn_top_k(truth, probabilities, k=3))
    assert figures.log_loss == pytest.approx(log_loss(truth, probabilities))
    assert figures.macro_recall == pytest.approx(recall.mean())
    assert [c.precision for c in figures.per_class] == pytest.approx(list(precision))
    assert [c.recall for c in figures.per_class] == pytest.approx(list(recall))
    assert [c.photos for c in figures.per_class] == list(photos)
    np.testing.assert_array_equal(figures.confusion, confusion_matrix(truth, answers, labels=range(5)))


def test_a_class_without_photos_or_answers_has_no_share_and_leaves_the_mean_alone() -> None:
    figures = evaluate(scores([[2, 1, 0], [0, 2, 1]]), [0, 0], ("a", "b", "c"))
    assert [(c.recall, c.precision) for c in figures.per_class] == [(0.5, 1.0), (None, 0.0), (None, None)]
    assert figures.macro_recall == 0.5


def test_two_classes_have_a_top3_of_all() -> None:
    assert evaluate(scores([[2, 1], [2, 1]]), [0, 1], ("a", "b")).top3_accuracy.value == 1


def test_log_loss_of_a_hopeless_answer_is_finite() -> None:
    assert evaluate(scores([[2000, 0]]), [1], ("a", "b")).log_loss == pytest.approx(2000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused_by_name(value: float) -> None:
    found, truth = made(4)
    found.logits[2, 1] = value
    with pytest.raises(ValueError, match=r"logits of 1 photos are not finite numbers, first of 'p2'"):
        evaluate(found, truth, CLASSES)


@pytest.mark.parametrize("value", [-1, 5])
def test_a_truth_outside_the_classes_is_refused_by_name(value: int) -> None:
    found, truth = made(4)
    truth[3] = value
    with pytest.raises(ValueError, match=rf"1 truths are outside 0\.\.4, first {value} of 'p3'"):
        evaluate(found, truth, CLASSES)


def test_arrays_that_do_not_fit_are_refused() -> None:
    found, truth = made(4)
    with pytest.raises(ValueError, match="expected the class of each of 4 photos"):
        evaluate(found, truth[:3], CLASSES)
    with pytest.raises(ValueError, match="4 photos and 4 classes need another shape"):
        evaluate(found, truth, CLASSES[:4])
    with pytest.raises(ValueError, match="at least one"):
        evaluate(scores(np.zeros((0, 5))), [], CLASSES)
