from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carspotter.data.split import TRAINS, most_folds, split
from carspotter.errors import SourceError
from carspotter.records import Dataset, Photo, Split


def lot(labels: str, groups: list[int] | None = None, near: list[int] | None = None) -> tuple[Dataset, np.ndarray]:
    """A set with one photo per letter; equal numbers of either kind belong together."""
    photos = tuple(
        Photo(f"{i:04}", b"", label, None if groups is None or groups[i] < 0 else f"g{groups[i]}")
        for i, label in enumerate(labels)
    )
    near = list(range(len(labels))) if near is None else near
    return Dataset(photos, tuple(sorted(set(labels)))), np.array(near, dtype=np.int64)


def sides(dataset: Dataset, found: Split) -> dict[str, list[int]]:
    """Photos per class as [train, validation]."""
    counts: dict[str, list[int]] = {label: [0, 0] for label in dataset.classes}
    for photo in dataset.photos:
        counts[str(photo.label)][photo.id in set(found.validation)] += 1
    return counts


def blocks(dataset: Dataset, near: np.ndarray) -> dict[str, set[str]]:
    """Which block each photo is in, found by plain repetition instead of union-find."""
    block = {photo.id: {photo.id} for photo in dataset.photos}
    keys: dict[object, set[str]] = defaultdict(set)
    for photo, number in zip(dataset.photos, near.tolist(), strict=True):
        keys[number].add(photo.id)
        keys[photo.group or photo.id].add(photo.id)
    for _ in dataset.photos:
        for members in keys.values():
            whole = set().union(*(block[i] for i in members))
            for i in whole:
                block[i] = whole
    return block


lots = st.integers(4, 60).flatmap(
    lambda n: st.tuples(
        st.text("ABC", min_size=n, max_size=n),
        st.lists(st.integers(-3, 8), min_size=n, max_size=n),
        st.lists(st.integers(0, 3 * n), min_size=n, max_size=n),
    )
)


def try_split(dataset: Dataset, near: np.ndarray, **options: object) -> Split | None:
    try:
        return split(dataset, near, **options)  # type: ignore[arg-type]
    except SourceError:
        return None


@settings(max_examples=100, deadline=None)
@given(lots, st.sampled_from(["holdout", "folds"]), st.floats(0.05, 0.8), st.integers(2, 5), st.integers(0, 9))
def test_promises(made: tuple[str, list[int], list[int]], method: str, share: float, folds: int, seed: int) -> None:
    dataset, near = lot(*made)
    found = try_split(dataset, near, method=method, share=share, folds=folds, seed=seed)
    block = blocks(dataset, near)
    several = {
        label for label in dataset.classes if len({min(block[p.id]) for p in dataset.photos if p.label == label}) > 1
    }
    if found is None:
        assert len(dataset.classes) < 2 or not several or method == "folds" or len(several) < len(dataset.classes)
        return
    train, validation = set(found.train), set(found.validation)
    assert train | validation == {photo.id for photo in dataset.photos}
    assert not train & validation
    assert validation
    assert all(block[i] <= train or block[i] <= validation for i in block)
    assert all(sides(dataset, found)[label][0] > 0 for label in dataset.classes)
    if method == "folds":
        assert found.folds.keys() == block.keys()
        assert all(len({found.folds[j] for j in block[i]}) == 1 for i in block)
        for label in several:
            assert len({found.folds[p.id] for p in dataset.photos if p.label == label}) > 1


@settings(max_examples=40, deadline=None)
@given(lots, st.sampled_from(["holdout", "folds"]), st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter(made: tuple[str, list[int], list[int]], method: str, rng) -> None:  # type: ignore[no-untyped-def]
    dataset, near = lot(*made)
    order = list(range(len(near)))
    rng.shuffle(order)
    renamed = {
        number: int(i) for i, number in enumerate(rng.sample(sorted(set(near.tolist())), len(set(near.tolist()))))
    }
    shuffled = np.array([renamed[int(near[i])] for i in order])
    assert try_split(dataset, near, method=method) == try_split(dataset.subset(order), shuffled, method=method)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(10, 120), min_size=2, max_size=6), st.floats(0.1, 0.5), st.integers(0, 99))
def test_shares_of_single_photos_are_within_one(counts: list[int], share: float, seed: int) -> None:
    dataset, near = lot("".join(chr(65 + i) * n for i, n in enumerate(counts)))
    for label, (train, held) in sides(dataset, split(dataset, near, share=share, seed=seed)).items():
        assert abs(held - share * (train + held)) <= 1, label
    folds = split(dataset, near, method="folds", folds=4, seed=seed).folds
    for label in dataset.classes:
        sizes = np.bincount([folds[p.id] for p in dataset.photos if p.label == label], minlength=4)
        assert np.ptp(sizes) <= 1
    assert np.ptp(np.bincount(list(folds.values()))) <= len(counts)


def test_everything_may_train() -> None:
    dataset, near = lot("AABB", near=[0, 0, 1, 1])  # nothing of these could be held out
    assert split(dataset, near, method="none") == Split(
        ("0000", "0001", "0002", "0003"), (), "every photo trains, nothing validates"
    )
    with pytest.raises(SourceError, match="needs two"):
        split(*lot("AAAA"), method="none")


def test_a_seed_decides() -> None:
    dataset, near = lot("A" * 40 + "B" * 40)
    first = split(dataset, near, seed=1)
    assert first == split(dataset, near, seed=1)
    assert first.validation != split(dataset, near, seed=2).validation
    assert len(first.validation) == 12


def test_folds_together_hold_every_photo_once() -> None:
    dataset, near = lot("A" * 11 + "B" * 9)
    found = [split(dataset, near, method="folds", folds=3, fold=f) for f in range(3)]
    assert sorted(i for one in found for i in one.validation) == sorted(photo.id for photo in dataset.photos)


def test_groups_and_near_copies_are_joined_across_each_other() -> None:
    labels = "A" * 6 + "B" * 6
    dataset, near = lot(labels, [0, 0, 1, -1, -1, -1] + [-1] * 6, [0, 1, 1, 2, 3, 4, *range(10, 16)])
    for seed in range(20):
        found = split(dataset, near, share=0.3, seed=seed)
        assert len({i in found.validation for i in ("0000", "0001", "0002")}) == 1


def test_small_classes_are_validated_where_they_can_be() -> None:
    dataset, near = lot("A" * 50 + "BB" + "CCC")
    assert sides(dataset, split(dataset, near, share=0.1)) == {"A": [45, 5], "B": [1, 1], "C": [2, 1]}


def test_a_class_of_one_photo_trains_and_is_named() -> None:
    dataset, near = lot("A" * 10 + "B" + "CC", near=[*range(11), 20, 20])
    found = split(dataset, near, share=0.3)
    assert sides(dataset, found) == {"A": [7, 3], "B": [1, 0], "C": [2, 0]}
    assert "never validated, having one photo or one group: B, C" in found.method
    folds = split(dataset, near, method="folds", folds=2).folds
    assert [folds[i] for i in ("0010", "0011", "0012")] == [TRAINS] * 3


def test_blocks_of_several_classes_that_cannot_all_be_on_both_sides_train() -> None:
    dataset, near = lot("ABBCAC", near=[1, 1, 2, 2, 3, 3])  # A in 1, 3; B in 1, 2; C in 2, 3: no two sides fit
    for found in (split(dataset, near, share=0.5), split(dataset, near, method="folds", folds=2)):
        assert all(train > 0 for train, _ in sides(dataset, found).values())


def test_the_method_is_a_sentence() -> None:
    dataset, near = lot("A" * 10 + "B" * 10, near=[0, 0, *range(18)])
    assert split(dataset, near, share=0.2, seed=7).method == (
        "one hold-out of 20%, seed 7, stratified by class; "
        "groups and near copies kept on one side (18 blocks of 20 photos)"
    )
    assert split(dataset, near, method="folds", folds=4, fold=2).method.startswith("fold 2 of 4, seed 0")


@pytest.mark.parametrize(
    ("labels", "near", "words"),
    [
        ("AAAA", None, "4 photos of 1 class"),
        ("AB", None, "nothing to validate on"),
        ("AABB", [0, 0, 1, 1], "nothing to validate on"),
    ],
)
def test_sets_that_cannot_be_split(labels: str, near: list[int] | None, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        split(*lot(labels, near=near))


def test_unlabelled_photos_and_too_many_folds() -> None:
    dataset, near = lot("AABB")
    with pytest.raises(SourceError, match="4 groups of photos for 5 folds"):
        split(dataset, near, method="folds", folds=5)
    bare = Dataset((*dataset.photos, Photo("x.jpg", b"")), dataset.classes)
    with pytest.raises(SourceError, match=r"1 photo without a label: x\.jpg"):
        split(bare, np.arange(5))
    with pytest.raises(ValueError, match="3 groups for 4 photos"):
        split(dataset, np.arange(3))


@pytest.mark.parametrize(
    ("labels", "near", "most"),
    [("AAABBB", None, 6), ("AAABBB", [1, 1, 2, 3, 3, 3], 2), ("AABB", [1, 2, 3, 4], 4), ("AABBC", [1, 2, 3, 4, 5], 4)],
)
def test_into_how_many_folds_a_set_can_be_divided(labels: str, near: list[int] | None, most: int) -> None:
    dataset, groups = lot(labels, near=near)
    assert most_folds(dataset, groups) == most
    assert set(split(dataset, groups, method="folds", folds=most).folds.values()) - {TRAINS} == set(range(most))
    with pytest.raises(SourceError, match=f"{most} groups of photos for {most + 1} folds; use fewer folds"):
        split(dataset, groups, method="folds", folds=most + 1)


def test_one_group_cannot_be_folds() -> None:
    """Of A two groups, one of which holds all of B and so only trains."""
    dataset, groups = lot("AAB", near=[1, 2, 2])
    assert most_folds(dataset, groups) == 1
    with pytest.raises(SourceError, match="1 group of photos for 2 folds; more photos are needed"):
        split(dataset, groups, method="folds", folds=2)
