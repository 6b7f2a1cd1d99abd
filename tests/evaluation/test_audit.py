"""Planted faults in made embeddings are found, and where there are none, none."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation import audit
from carspotter.evaluation.audit import (
    Near,
    blend,
    find_near,
    label_faults,
    lack_of_evidence,
    log_loss,
    out_of_fold,
    outlier_scores,
    overlaps,
    vote,
)

CLASSES, EACH, WIDTH = 5, 40, 24


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, D) around one centre per class and a common one; labels; folds."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = 3 + rng.normal(0, 1.5, (CLASSES, WIDTH))
    embeddings = centres[labels] + rng.normal(0, 0.7, (len(labels), WIDTH))
    return embeddings.astype(np.float32), labels, np.arange(len(labels)) % 5


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
    monkeypatch.setattr(audit, "ROWS", 300)
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
    monkeypatch.setattr(audit, "MAX_FITTED", 20)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 390, 10])
    embeddings = (rng.normal(0, 2, (3, 60))[labels] + rng.normal(0, 2, (1_000, 60))).astype(np.float32)
    answers = out_of_fold([embeddings], labels, np.arange(1_000) % 5, 3)
    assert (answers[-10:].argmax(axis=1) == 2).sum() >= 8


def test_a_draw_keeps_shares_and_leaves_every_class_its_fewest() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [6_000, 3_000, 900, 10]))
    drawn = audit._draw(labels, 1_000)
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.bincount(labels[drawn]).tolist() == [605, 302, 90, 0, 0, 10]
    assert np.bincount(labels[audit._draw(labels, 100)]).tolist() == [60, 30, 25, 0, 0, 10]
    many = np.arange(900) % 300
    assert np.bincount(many[audit._draw(many, 600)]).tolist() == [2] * 300
    assert audit._draw(labels, 10_000).tolist() == list(range(len(labels)))


def test_where_most_photos_are_copies_the_others_are_not_strange(
    made: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    embeddings, _, _ = made
    noise = np.random.default_rng(1).normal(0, 1e-6, (300, WIDTH)).astype(np.float32)
    scores, beyond = outlier_scores([find_near(np.concatenate([embeddings, embeddings[:1] + noise]))])
    assert (scores[:200] < 0.5).mean() < 0.1
    assert np.abs(beyond).max() < 20
    same, off = outlier_scores([find_near(np.ones((30, 4), dtype=np.float32))])
    assert (same == 1).all()
    assert (off == 0).all()


def test_a_copy_has_no_vote() -> None:
    near = Near(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[1.0, 0.5], [1.0, 0.5], [0.5, 0.5]], dtype=np.float32))
    votes = vote(near, np.array([0, 0, 1]), np.array([7, 7, 8]), 2)
    assert votes.tolist() == [[0, 1], [0, 1], [1, 0]]
    alone = vote(Near(np.full((1, 3), -1), np.full((1, 3), -1, dtype=np.float32)), np.array([0]), np.array([0]), 2)
    assert alone.tolist() == [[0.5, 0.5]]


# ---- neighbours -----------------------------------------------------------------------------------------------------


def test_neighbours_are_the_nearest_by_angle_and_never_oneself() -> None:
    embeddings = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    near = find_near(embeddings, 5)
    assert near.photos.tolist() == np.argsort(-cosine, axis=1)[:, :5].tolist()
    assert near.cosine == pytest.approx(-np.sort(-cosine, axis=1)[:, :5], abs=1e-5)


def test_equal_photos_are_each_others_neighbours_and_not_their_own() -> None:
    near = find_near(np.ones((30, 4), dtype=np.float32), 3)
    assert not (near.photos == np.arange(30)[:, None]).any()
    assert (near.photos >= 0).all()


def test_fewer_photos_than_asked_for_are_filled_up() -> None:
    near = find_near(np.eye(3, dtype=np.float32), 5)
    assert near.photos.shape == (3, 5)
    assert (near.photos[:, 2:] == -1).all()
    assert (near.photos[:, :2] >= 0).all()


def test_the_graph_finds_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    embeddings = (rng.normal(size=(50, 40))[rng.integers(0, 50, 2_000)] + rng.normal(0, 0.3, (2_000, 40))).astype(
        np.float32
    )
    exact = find_near(embeddings, 5)
    monkeypatch.setattr(audit, "EXACT", 100)
    graph = find_near(embeddings, 5)
    shared = [len(set(a) & set(b)) for a, b in zip(exact.photos.tolist(), graph.photos.tolist(), strict=True)]
    assert np.mean(shared) > 4.5


def test_strange_photos_come_first(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    embeddings, _, _ = made
    strange = np.random.default_rng(5).normal(0, 3, (4, WIDTH)).astype(np.float32)
    scores, beyond = outlier_scores([find_near(np.concatenate([embeddings, strange]))])
    assert set(np.argsort(scores)[:4].tolist()) == {200, 201, 202, 203}
    assert (scores[200:] < 0.5).all()
    assert (scores[:200] < 0.5).mean() < 0.03
    assert (beyond[200:] > audit.SPREADS).all()


def test_little_evidence_of_a_vehicle_adds_to_strangeness(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    evidence = np.random.default_rng(0).normal(6, 0.5, 200)
    evidence[3], evidence[4] = 4.0, np.nan
    lacking = lack_of_evidence(evidence)
    assert lacking[3] == pytest.approx(4, abs=0.8)
    assert lacking[4] == 0
    assert (lacking[np.abs(evidence - 6) < 0.6] == 0).all()
    assert (lacking[lacking > 0] > audit.UNSEEN).all()
    assert (lack_of_evidence(np.full(5, np.nan)) == 0).all()
    near = [find_near(made[0])]
    (plain, beyond), (scores, same) = outlier_scores(near), outlier_scores(near, lacking)
    assert same.tolist() == beyond.tolist()
    assert scores[3] == pytest.approx(np.exp2(-max(0, beyond[3] + lacking[3]) / audit.SPREADS))
    assert scores[lacking == 0].tolist() == plain[lacking == 0].tolist()


# ---- overlap --------------------------------------------------------------------------------------------------------


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
