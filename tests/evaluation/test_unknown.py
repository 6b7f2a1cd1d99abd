"""Detectors of strangers, on made embeddings with known and unknown clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from carspotter.evaluation.unknown import DETECTORS, Known, auroc, knn, strangeness_bound

Floats = npt.NDArray[np.float64]
DIMENSIONS, CLASSES = 24, 5
CENTRES = np.random.default_rng(0).normal(0, 2, (CLASSES + 2, DIMENSIONS))


def rows(kinds: range, each: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    labels = np.repeat(np.array(kinds), each)
    return CENTRES[labels] + np.random.default_rng(seed).normal(0, 1, (len(labels), DIMENSIONS)), labels


def logits(embeddings: Floats) -> Floats:
    """Of a linear head that knows the first classes."""
    known = CENTRES[:CLASSES]
    return np.asarray(embeddings @ known.T - (known**2).sum(1) / 2)


@pytest.fixture(scope="module")
def reference() -> Known:
    embeddings, labels = rows(range(CLASSES), 30, 1)
    return Known(embeddings, labels, logits(embeddings))


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_strangers_stranger(name: str, reference: Known) -> None:
    known, _ = rows(range(CLASSES), 20, 2)
    strange, _ = rows(range(CLASSES, CLASSES + 2), 50, 3)
    detect = DETECTORS[name]
    found = auroc(detect(reference, known, logits(known)), detect(reference, strange, logits(strange)))
    assert found.value > 0.8, found
    assert found.low < found.value < found.high or found.value == 1.0


@pytest.mark.parametrize("name", DETECTORS)
def test_an_answer_does_not_depend_on_the_other_photos(name: str, reference: Known) -> None:
    some, _ = rows(range(CLASSES + 2), 5, 4)
    together = DETECTORS[name](reference, some, logits(some))
    alone = np.concatenate([DETECTORS[name](reference, one[None], logits(one[None])) for one in some])
    assert np.allclose(together, alone)


def test_neighbours_are_found_in_pieces_as_in_one(reference: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    some, _ = rows(range(CLASSES), 5, 5)
    whole = knn(reference, some, logits(some))
    monkeypatch.setattr("carspotter.evaluation.unknown.CHUNK", 7)
    assert np.allclose(knn(reference, some, logits(some)), whole, rtol=1e-9)


def test_auroc_counts_pairs() -> None:
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])).value == pytest.approx((1.5 + 3) / 6)
    with pytest.raises(ValueError, match="at least one"):
        auroc(np.zeros(0), np.ones(3))


def test_the_interval_of_an_area_covers_it() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):  # normal scores one standard deviation apart: an area of .760
        found = auroc(rng.normal(size=30), rng.normal(1, 1, size=20))
        held += found.low <= 0.7602 <= found.high
    assert 0.92 <= held / 300 <= 0.99
    few, many = (auroc(np.zeros(n), np.ones(n)) for n in (5, 500))
    assert few.value == few.high == 1.0
    assert few.low < 0.8
    assert many.low > 0.98


def test_a_bound_refuses_no_more_known_photos_than_it_says() -> None:
    rng = np.random.default_rng(0)
    refused = [(rng.normal(size=200) > strangeness_bound(rng.normal(size=100), 0.05)).mean() for _ in range(200)]
    assert 0.03 < np.mean(refused) <= 0.055
    assert strangeness_bound(rng.normal(size=10), 0.05) == float("inf")
