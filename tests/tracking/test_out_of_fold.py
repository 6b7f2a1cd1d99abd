"""The answers of folds, put together."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.errors import TrackingError
from carspotter.records import HeldOut
from carspotter.tracking.out_of_fold import mean_answers


def fold(ids: str, logits: list[list[float]], labels: list[int], groups: list[int] | None = None) -> HeldOut:
    known = None if groups is None else np.array(groups, np.int64)
    return HeldOut(tuple(ids), np.array(logits, np.float32), np.array(labels, np.int64), known)


def test_folds_of_one_division_stand_one_after_the_other() -> None:
    kept, parts = mean_answers([fold("ca", [[1, 0], [0, 1]], [0, 1]), fold("b", [[2, 3]], [1])])
    assert kept.ids == ("c", "a", "b")
    assert kept.logits.tolist() == [[1, 0], [0, 1], [2, 3]]
    assert kept.labels.tolist() == [0, 1, 1]
    assert parts.tolist() == [0, 0, 1]


def test_answers_of_several_divisions_are_averaged_and_their_groups_united() -> None:
    one = [fold("ab", [[1, 0], [0, 1]], [0, 1], [5, 5]), fold("c", [[2, 3]], [1], [0])]
    two = [fold("bc", [[4, 1], [0, 1]], [1, 1], [2, 2]), fold("a", [[0, 0]], [0], [0])]
    kept, parts = mean_answers([*one, *two])
    assert kept.ids == ("a", "b", "c")
    assert kept.logits.tolist() == [[0.5, 0], [2, 1], [1, 2]]
    assert kept.labels.tolist() == [0, 1, 1]
    assert kept.groups is not None
    assert len(set(kept.groups.tolist())) == 1
    assert parts.tolist() == [0, 0, 1]


def test_a_photo_that_always_trains_in_one_division_is_answered_by_fewer() -> None:
    kept, parts = mean_answers([fold("a", [[1, 0]], [0]), fold("b", [[1, 0]], [1]), fold("a", [[3, 1]], [0])])
    assert kept.ids == ("a", "b")
    assert kept.logits.tolist() == [[2, 0.5], [1, 0]]
    assert parts.tolist() == [0, 1]


def test_other_labels_of_the_same_photo_are_refused() -> None:
    one = [fold("a", [[1, 0]], [0]), fold("b", [[1, 0]], [1])]
    with pytest.raises(TrackingError, match="other labels of the same photos"):
        mean_answers([*one, fold("ab", [[1, 0], [0, 1]], [1, 0])])
