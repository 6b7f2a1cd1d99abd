"""Strange photos planted in made embeddings are found, and where there are none, none."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation import near as module
from carspotter.evaluation.near import find_near, lack_of_evidence, outlier_scores
from helpers.embedded import WIDTH


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
    monkeypatch.setattr(module, "EXACT", 100)
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
    assert (beyond[200:] > module.SPREADS).all()


def test_little_evidence_of_a_vehicle_adds_to_strangeness(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    evidence = np.random.default_rng(0).normal(6, 0.5, 200)
    evidence[3], evidence[4] = 4.0, np.nan
    lacking = lack_of_evidence(evidence)
    assert lacking[3] == pytest.approx(4, abs=0.8)
    assert lacking[4] == 0
    assert (lacking[np.abs(evidence - 6) < 0.6] == 0).all()
    assert (lacking[lacking > 0] > module.UNSEEN).all()
    assert (lack_of_evidence(np.full(5, np.nan)) == 0).all()
    near = [find_near(made[0])]
    (plain, beyond), (scores, same) = outlier_scores(near), outlier_scores(near, lacking)
    assert same.tolist() == beyond.tolist()
    assert scores[3] == pytest.approx(np.exp2(-max(0, beyond[3] + lacking[3]) / module.SPREADS))
    assert scores[lacking == 0].tolist() == plain[lacking == 0].tolist()


# ---- overlap --------------------------------------------------------------------------------------------------------
