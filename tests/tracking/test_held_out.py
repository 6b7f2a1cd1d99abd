"""A run's answers come back as they were, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe
from carspotter.records import Dataset, HeldOut, Machine, Scores
from carspotter.tracking.held_out import NAME, groups_of, read_held_out, write_held_out
from carspotter.tracking.runs import RunStore, open_store

IDS = ("2.jpg", "ВАЗ/3 .jpg", '"4"\n.jpg')
LOGITS = np.array([[0.5, -2.0], [1e-7, 3e30], [0.0, 0.1]], dtype=np.float32)
LABELS = np.array([0, 1, 1], dtype=np.int64)
GROUPS = np.array([4, 9, 4], dtype=np.int64)


def kept(folder: Path) -> Path:
    write_held_out(folder, IDS, LOGITS, LABELS, GROUPS)
    return folder / NAME


def test_answers_come_back_through_the_store(
    store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine
) -> None:
    with store.start(recipe, dataset, machine) as run:
        run.answers(Scores(IDS, LOGITS, np.zeros((3, 4), np.float32)), LABELS, GROUPS)
        run.finish()
    found = open_store().answers(run.id[:9])
    assert found.ids == IDS
    assert found.logits.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert np.array_equal(found.logits, LOGITS)
    assert np.array_equal(found.labels, LABELS)
    assert np.array_equal(found.groups, GROUPS)
    with pytest.raises(TrackingError, match="has ended and is never edited"):
        run.answers(Scores(IDS, LOGITS, np.zeros((3, 4), np.float32)), LABELS)


def test_answers_without_groups_are_read_as_ever(tmp_path: Path) -> None:
    """Such are those of runs that are older than groups; what was written for them has not changed."""
    digest = hashlib.sha256(json.dumps(IDS).encode() + LOGITS.tobytes() + LABELS.tobytes()).hexdigest()
    header = {"ids": json.dumps(IDS), "sha256": digest}
    save_file({"logits": LOGITS, "labels": LABELS}, tmp_path / NAME, header)
    assert read_held_out(tmp_path).groups is None


def test_what_any_run_knows_to_belong_together_does() -> None:
    def of(ids: str, *groups: int) -> HeldOut:
        n = len(ids)
        return HeldOut(tuple(ids), np.zeros((n, 2), np.float32), np.zeros(n, np.int64), np.array(groups))

    bare = HeldOut(("a", "e"), np.zeros((2, 2), np.float32), np.zeros(2, np.int64))
    assert groups_of("abcdef", []).tolist() == [0, 1, 2, 3, 4, 5]
    assert groups_of("abcdef", [of("xba", 7, 7, 8), bare]).tolist() == [0, 1, 2, 3, 4, 5]
    # The numbers of two runs are not the same groups, but a and c are together by way of b.
    assert groups_of("abcdef", [of("abd", 7, 7, 8), of("cbf", 8, 8, 7)]).tolist() == [0, 0, 0, 3, 4, 5]


def test_a_run_without_answers_says_so(store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine) -> None:
    with store.start(recipe, dataset, machine) as run:
        run.finish()
    with pytest.raises(TrackingError, match="kept no held-out answers"):
        store.answers(run.id)


def test_any_flipped_byte_is_seen(tmp_path: Path) -> None:
    path = kept(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x04]) + whole[at + 1 :])
        with pytest.raises(TrackingError, match=NAME):
            read_held_out(tmp_path)


def test_a_cut_file_is_seen(tmp_path: Path) -> None:
    path = kept(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(TrackingError, match="is damaged"):
            read_held_out(tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"ids": "[]"}, {"ids": "7", "sha256": ""}, {"ids": "{", "sha256": ""}])
def test_another_file_of_that_name_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"logits": LOGITS, "labels": LABELS}, tmp_path / NAME, metadata)
    with pytest.raises(TrackingError, match="is damaged"):
        read_held_out(tmp_path)


def test_groups_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one group for each photo"):
        write_held_out(tmp_path, IDS, LOGITS, LABELS, GROUPS[:2])
    header = {"ids": json.dumps(IDS), "sha256": ""}
    save_file({"logits": LOGITS, "labels": LABELS, "groups": GROUPS.astype(np.float64)}, tmp_path / NAME, header)
    with pytest.raises(TrackingError, match="groups are float64"):
        read_held_out(tmp_path)


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    header = {"ids": json.dumps(IDS), "sha256": ""}
    save_file({"logits": LOGITS.astype(np.float64), "labels": LABELS}, tmp_path / NAME, header)
    with pytest.raises(TrackingError, match="logits are float64"):
        read_held_out(tmp_path)


@pytest.mark.parametrize(
    ("ids", "logits", "labels"),
    [
        (IDS[:2], LOGITS, LABELS),
        (IDS, LOGITS, LABELS[:2]),
        (IDS, LOGITS[0], LABELS),
        ((IDS[0], *IDS[:2]), LOGITS, LABELS),
        (IDS, LOGITS, np.array([0, 1, 2])),
        (IDS, LOGITS, np.array([0, 1, -1])),
        (IDS, LOGITS * np.float32("nan"), LABELS),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, ids: tuple[str, ...], logits: np.ndarray, labels: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"one row and one label|finite number"):
        HeldOut(ids, logits, labels)
    with pytest.raises(ValueError, match=r"one row and one label|finite number"):
        write_held_out(tmp_path, ids, logits, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, disk_of: Callable[[int], AbstractContextManager[None]]) -> None:
    with disk_of(100), pytest.raises(TrackingError, match=f"cannot write .*{NAME}"):
        write_held_out(tmp_path, IDS, LOGITS, LABELS)
    assert list(tmp_path.iterdir()) == []
