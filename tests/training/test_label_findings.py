"""Labels are judged by photos that share neither the picture nor the ad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carspotter.evaluation.near import find_near
from carspotter.records import Dataset, Finding, Kind, Photo
from carspotter.training.embeddings import Embedded
from carspotter.training.label_findings import label_findings

EACH, AD, WIDTH = 30, 6, 24


@pytest.fixture
def cars() -> tuple[Dataset, np.ndarray]:
    """Two classes; the first six photos are one golf's ad that is labelled polo, and lie close together."""
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], EACH)
    embeddings = 3 + rng.normal(0, 1.5, (2, WIDTH))[kinds] + rng.normal(0, 0.7, (2 * EACH, WIDTH))
    embeddings[:AD] = embeddings[:1] + rng.normal(0, 0.05, (AD, WIDTH))
    labels = ["polo" if at < AD else ("golf", "polo")[kind] for at, kind in enumerate(kinds.tolist())]
    photos = tuple(Photo(f"{at:02}", b"", label, "ad" if at < AD else None) for at, label in enumerate(labels))
    return Dataset(photos, ("golf", "polo")), embeddings.astype(np.float32)


def judged(dataset: Dataset, embeddings: np.ndarray) -> tuple[list[Finding], tuple[str, ...]]:
    near = find_near(embeddings)
    alone = np.arange(len(embeddings))
    return label_findings(dataset, [Embedded("net", (embeddings,))], [near], alone, {})


def test_photos_of_one_mislabelled_ad_have_no_vote_on_each_other(cars: tuple[Dataset, np.ndarray]) -> None:
    dataset, embeddings = cars
    found, _ = judged(dataset, embeddings)
    issues = {f.id for f in found if f.kind is Kind.LABEL_ERROR and f.is_issue}
    assert issues == {f"{at:02}" for at in range(AD)}


@pytest.mark.parametrize("together", ["ads", "copies"])
def test_photos_of_one_mislabelled_ad_make_no_overlap(together: str) -> None:
    """Six classes in ads of six photos; two ads are mislabelled. As twelve separate photos they were two overlaps."""
    rng = np.random.default_rng(0)
    kinds, ads = np.repeat(np.arange(6), EACH), np.arange(6 * EACH) // AD
    centres = 3 + rng.normal(0, 1.5, (6, WIDTH))
    embeddings = (centres[kinds] + rng.normal(0, 0.7, (6 * EACH, WIDTH))).astype(np.float32)
    labels = np.where(ads == 0, 1, np.where(kinds == 2, np.where(ads == 10, 3, 2), kinds))
    photos = tuple(
        Photo(f"{at:03}", b"", f"k{label}", f"ad {ad}" if together == "ads" else None)
        for at, (label, ad) in enumerate(zip(labels.tolist(), ads.tolist(), strict=True))
    )
    dataset = Dataset(photos, tuple(f"k{label}" for label in range(6)))
    copies = ads if together == "copies" else np.arange(len(ads))
    found, _ = label_findings(dataset, [Embedded("net", (embeddings,))], [find_near(embeddings)], copies, {})
    pairs = {(f.id, f.suggestion): f for f in found if f.kind is Kind.CLASS_OVERLAP}
    assert pairs.keys() >= {("k0", "k1"), ("k2", "k3")}
    assert not any(pair.is_issue for pair in pairs.values())


def test_the_note_names_both_judges_and_no_more(cars: tuple[Dataset, np.ndarray]) -> None:
    found, (note,) = judged(*cars)
    assert note == (
        "labels were judged by net: linear heads fitted on other photos and the labels of the nearest ones, taken "
        "together, name 90% of the photos as they are labelled; 6 labels look wrong, and chance "
        "alone would make 0.0 look so"
    )
    assert found[0].why.startswith("other photos, by heads and as neighbours, say golf ")


def test_a_small_set_is_judged_in_fewer_folds(cars: tuple[Dataset, np.ndarray]) -> None:
    dataset, embeddings = cars
    few = [AD, AD + 1, EACH, EACH + 1]
    found, (note,) = judged(dataset.subset(few), embeddings[few])
    assert {f.id for f in found if f.kind is Kind.LABEL_ERROR} == {f"{at:02}" for at in few}
    assert note.endswith("; in 4 folds, as so few photos can be held out: take it for a hint")


def test_what_cannot_be_judged_is_said(cars: tuple[Dataset, np.ndarray]) -> None:
    dataset, embeddings = cars
    bare = replace(dataset, photos=(replace(dataset.photos[0], label=None), *dataset.photos[1:]))
    assert judged(bare, embeddings) == (
        [],
        ("labels were not judged: every photo must have one, and there must be two classes",),
    )
    one_ad = replace(dataset, photos=tuple(replace(photo, group="ad") for photo in dataset.photos))
    found, (note,) = judged(one_ad, embeddings)
    assert found == []
    assert note.startswith("labels were not judged: no class has two photos")
