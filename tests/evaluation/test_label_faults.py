"""Wrong labels planted in made embeddings are found, and where there are none, none."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation import label_faults as module
from carspotter.evaluation.label_faults import blend, label_faults, log_loss, out_of_fold, overlaps, vote
from carspotter.evaluation.near import Near, find_near
from helpers.embedded import CLASSES, WIDTH


def judged(embeddings: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    heads = out_of_fold([embeddings], labels, folds, CLASSES)
    return blend(heads, vote(find_near(embeddings), labels, np.arange(len(labels)), CLASSES))


def test_planted_label_errors_come_first(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    embeddings, truth, folds = made
    labels = truth.copy()
    planted = np.array([3, 50, 90, 130, 170, 199])
    labels[planted] = (truth[planted] + 2) % CLASSES
    faults = label_faults(judged(embeddings, labels, folds), labels)
    assert set(np.argsort(faults.score)[: len(planted)].tolist()) == set(planted.tolist())
    issues = set(np.flatnonzero(faults.is_issue).tolist())
    assert issues <= set(planted.tolist())
    assert len(issues) >= 5
    assert (faults.guess[planted] == truth[planted]).all()
    assert faults.score.min() >= 0
    assert faults.score.max() <= 1


def planted(spread: float, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What heads say of 1,000 photos, their labels, and which of these are wrong."""
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(CLASSES), 200)
    centres = 3 + rng.normal(0, 1.5, (CLASSES, WIDTH))
    embeddings = (centres[truth] + rng.normal(0, spread, (len(truth), WIDTH))).astype(np.float32)
    labels, wrong = truth.copy(), rng.permutation(len(truth))[: int(share * len(truth))]
    labels[wrong] = (truth[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return judged(embeddings, labels, np.arange(len(labels)) % 5), labels, labels != truth


def test_a_weak_judge_accuses_few_labels_and_expects_half_of_them_to_be_right() -> None:
    said, labels, _ = planted(4.0, 0)
    assert (said.argmax(axis=1) == labels).mean() < 0.7
    faults = label_faults(said, labels)
    assert faults.is_issue.sum() <= 20
    assert 0 < faults.right_after_all <= faults.is_issue.sum() / 2
    sure = np.maximum(faults.given, faults.likely).mean() - (said.argmax(axis=1) == labels).mean()
    assert abs(sure) < 0.03


def test_a_good_judge_is_not_made_to_doubt_itself_by_many_wrong_labels() -> None:
    said, labels, wrong = planted(0.7, 0.15)
    faults = label_faults(said, labels)
    assert (faults.is_issue == wrong).mean() > 0.99
    assert faults.right_after_all < 2


def test_a_label_that_nobody_can_read_off_its_photo_is_not_accused() -> None:
    said, labels, wrong = planted(0.7, 0.03)
    spoiled = wrong & (np.arange(len(labels)) % 2 == 0)
    faults = label_faults(said, labels, spoiled)
    assert (faults.is_issue == (wrong & ~spoiled)).mean() > 0.99
    assert not faults.is_issue[spoiled].any()
    assert not label_faults(said, labels, np.ones(len(labels), np.bool_)).is_issue.any()


def test_few_wrong_labels_of_many_are_found() -> None:
    """Of 100,000 labels 50 are wrong: any fixed bound that lets chance accuse as few would be below most."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.2, (100_000, 20))
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (said.cumsum(axis=1) > rng.random((len(said), 1))).argmax(axis=1)
    labels, wrong = truth.copy(), np.flatnonzero(said[np.arange(len(said)), truth] > 0.9)[:50]
    labels[wrong] = said[wrong].argmin(axis=1)
    faults = label_faults(said, labels)
    issues = np.flatnonzero(faults.is_issue)
    assert len(np.intersect1d(issues, wrong)) > 25
    assert len(issues) < 2.5 * len(np.intersect1d(issues, wrong))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_smallest_sets_are_judged(classes: int) -> None:
    said = np.full((3, classes), 1 / classes)
    for rows in (0, 1, 3):
        faults = label_faults(said[:rows], np.zeros(rows, np.int64))
        assert not faults.is_issue.any()
        assert len(faults.score) == rows


def test_photos_are_judged_alike_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    said, labels, _ = planted(2.0, 0.08)
    whole = label_faults(said, labels)
    monkeypatch.setattr(module, "ROWS", 300)
    parts = label_faults(said, labels)
    assert (whole.is_issue == parts.is_issue).all()
    assert parts.right_after_all == pytest.approx(whole.right_after_all)
    assert whole.is_issue.sum() > 60


def test_a_judge_that_is_surely_wrong_cannot_be_told_from_wrong_labels() -> None:
    """What an audit cannot know, and says in `label_faults`: all labels are right, and four of ten are accused."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    named = np.where(rng.random(600) < 0.6, labels, (labels + rng.integers(1, 5, 600)) % 5)
    said = np.full((600, 5), 0.025)
    said[np.arange(600), named] = 0.9
    assert label_faults(said, labels).is_issue.sum() == (named != labels).sum()


def test_a_clean_set_has_no_label_issue(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    embeddings, labels, folds = made
    assert not label_faults(judged(embeddings, labels, folds), labels).is_issue.any()


def test_no_photo_is_answered_by_a_head_that_saw_it() -> None:
    """Labels without any meaning cannot be guessed; a head that saw them would know them all."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(200, 60)).astype(np.float32)
    labels = rng.integers(0, 4, 200)
    answers = out_of_fold([embeddings], labels, np.arange(200) % 5, 4)
    assert (answers.argmax(axis=1) == labels).mean() < 0.4
    assert answers.sum(axis=1) == pytest.approx(np.ones(200))
    assert log_loss(answers, labels) > 1


def test_a_class_that_a_fold_never_saw_gets_nothing() -> None:
    embeddings = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    labels = np.array([0, 1] * 5 + [2, 2])
    answers = out_of_fold([embeddings], labels, np.array([0, 0, 1, 1, 2, 2, 3, 3, 1, 0, 4, 4]), 3)
    assert (answers[-2:, 2] == 0).all()
    only_one_left = out_of_fold([embeddings[:4]], np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]), 2)
    assert only_one_left.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]


def test_a_rare_class_survives_the_draw_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 photos 20 fit a head; a plain draw would leave none of the rare ten to most."""
    monkeypatch.setattr(module, "MAX_FITTED", 20)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 390, 10])
    embeddings = (rng.normal(0, 2, (3, 60))[labels] + rng.normal(0, 2, (1_000, 60))).astype(np.float32)
    answers = out_of_fold([embeddings], labels, np.arange(1_000) % 5, 3)
    assert (answers[-10:].argmax(axis=1) == 2).sum() >= 8


def test_a_draw_keeps_shares_and_leaves_every_class_its_fewest() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [6_000, 3_000, 900, 10]))
    drawn = module._draw(labels, 1_000)
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.bincount(labels[drawn]).tolist() == [605, 302, 90, 0, 0, 10]
    assert np.bincount(labels[module._draw(labels, 100)]).tolist() == [60, 30, 25, 0, 0, 10]
    many = np.arange(900) % 300
    assert np.bincount(many[module._draw(many, 600)]).tolist() == [2] * 300
    assert module._draw(labels, 10_000).tolist() == list(range(len(labels)))


def test_a_copy_has_no_vote() -> None:
    near = Near(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[1.0, 0.5], [1.0, 0.5], [0.5, 0.5]], dtype=np.float32))
    votes = vote(near, np.array([0, 0, 1]), np.array([7, 7, 8]), 2)
    assert votes.tolist() == [[0, 1], [0, 1], [1, 0]]
    alone = vote(Near(np.full((1, 3), -1), np.full((1, 3), -1, dtype=np.float32)), np.array([0]), np.array([0]), 2)
    assert alone.tolist() == [[0.5, 0.5]]


# ---- neighbours -----------------------------------------------------------------------------------------------------


def test_two_classes_that_nobody_can_tell_apart_overlap() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 50)
    answers = np.eye(6)[labels]
    answers[:100] = np.eye(6)[rng.integers(0, 2, 100)]
    answers[150] = np.eye(6)[5]
    first, second = overlaps(answers, labels)
    assert (first.first, first.second, first.is_issue, first.photos) == (0, 1, True, 100)
    assert first.score == pytest.approx(1 - first.mistaken / 100)
    assert (second.first, second.second, second.mistaken, second.is_issue) == (3, 5, 1, False)


def test_evenly_spread_mistakes_are_no_overlap() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 60)
    answers = np.eye(6)[np.where(rng.random(360) < 0.5, labels, rng.integers(0, 6, 360))]
    assert not any(pair.is_issue for pair in overlaps(answers, labels))


def test_photos_of_one_ad_are_one_witness() -> None:
    """Of each class six ads of ten photos. One ad that is taken for another class is chance, half of all are none."""
    labels, ads = np.repeat(np.arange(6), 60), np.arange(360) // 10
    guess = labels.copy()
    guess[ads == 0], guess[ads == 12] = 1, 3
    answers = np.eye(6)[guess]
    assert overlaps(answers, labels, np.arange(360)) == overlaps(answers, labels)
    assert [pair.is_issue for pair in overlaps(answers, labels)] == [True, True]
    assert [pair.is_issue for pair in overlaps(answers, labels, ads)] == [False, False]
    taken = (labels < 2) & (ads % 2 == 1)
    answers[taken] = np.eye(6)[1 - labels[taken]]
    assert [pair.is_issue for pair in overlaps(answers, labels, ads)] == [True, False]
