from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from carspotter.data.disk import hash_file
from carspotter.errors import BundleError
from carspotter.evaluation.explain import HeadRows
from carspotter.inference import reference as module
from carspotter.inference.bundle import Bundle, read_bundle, write_bundle
from carspotter.inference.reference import (
    REFERENCE,
    Reference,
    make_reference,
    nearest,
    read_head_rows,
    read_reference,
    write_reference,
)
from carspotter.records import Scores
from helpers.tiny import tiny_card, tiny_files

DIMENSIONS = 3  # of the tiny net's embedding
ROWS = HeadRows(8 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
LABELS = np.array([0, 0, 1, 1, 1])


def scores(count: int = 5, dimensions: int = DIMENSIONS, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(count, dimensions)).astype(np.float32)
    ids = tuple(f"авто/{i}\n.jpg" for i in range(count))
    return Scores(ids, np.zeros((count, 3), np.float32), embeddings)


def bundle_with(folder: Path, write: Callable[[Path], None]) -> Bundle:
    """A tiny bundle whose reference is what `write` leaves."""
    files = tiny_files(folder / "parts")
    card = tiny_card(folder / "parts")
    write(folder / REFERENCE)
    files[REFERENCE] = folder / REFERENCE
    card = card.model_copy(update={"files": card.files | {REFERENCE: hash_file(folder / REFERENCE)}})
    return write_bundle(folder / "model", card, files)


def good() -> dict[str, Any]:
    """The tensors of a sound file."""
    ids = json.dumps([f"{i}.jpg" for i in range(5)]).encode()
    return {
        "embeddings": np.ones((5, 3), np.float16),
        "labels": np.arange(5, dtype=np.int32) % 3,
        "ids": np.frombuffer(ids, np.uint8),
        "head.weight": np.ones((3, 3), np.float32),
        "head.bias": np.ones(3, np.float32),
    }


# ---- whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [ROWS, None])
def test_what_is_written_is_read(tmp_path: Path, rows: HeadRows | None) -> None:
    made = make_reference(scores(), LABELS, rows)
    bundle = bundle_with(tmp_path, lambda path: write_reference(path, made))
    found = read_reference(read_bundle(bundle.folder), DIMENSIONS)
    assert found is not None
    assert found.ids == made.ids == scores().ids
    for name in ("embeddings", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert found.embeddings.dtype == np.float16
    np.testing.assert_allclose(found.embeddings, scores().embeddings, rtol=1e-3)
    if rows is None:
        assert found.rows is None
    else:
        assert found.rows is not None
        np.testing.assert_array_equal(found.rows.weight, rows.weight)


def test_a_bundle_without_one(tiny_bundle: Bundle) -> None:
    assert read_reference(tiny_bundle, DIMENSIONS) is None


def test_many_photos_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EMBEDDING_BYTES", 3 * 2 * DIMENSIONS)
    made = make_reference(scores(), LABELS, None)
    assert len(made.ids) == len(made.labels) == len(made.embeddings) == 3
    for name, label, row in zip(made.ids, made.labels, made.embeddings, strict=True):
        at = scores().ids.index(name)
        assert LABELS[at] == label
        np.testing.assert_allclose(row, scores().embeddings[at], rtol=1e-3)


@pytest.mark.parametrize(
    ("given", "labels", "why"),
    [
        (scores(), LABELS[:4], "5 ids"),
        (scores(), LABELS + 2, "outside 0..2"),
        (Scores(("a", "a"), np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)), LABELS[:2], "1 of them"),
        (Scores(("a",), np.zeros((1, 3), np.float32), np.full((1, 3), 7e4, np.float32)), LABELS[:1], "half precision"),
        (Scores(("a",), np.zeros((1, 3), np.float32), np.full((1, 3), np.nan, np.float32)), LABELS[:1], "reaches nan"),
    ],
)
def test_what_cannot_be_remembered(given: Scores, labels: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make_reference(given, labels, None)


# ---- refused --------------------------------------------------------------------------------------------------------


def ids(*names: object) -> dict[str, Any]:
    return {"ids": np.frombuffer(json.dumps(names).encode(), np.uint8)}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"labels": None}, "labels is missing"),
        ({"head.bias": None}, "head.bias is missing"),
        ({"novel": np.zeros(1, np.float32)}, "novel is unknown to this version"),
        ({"novel": np.zeros(1, np.float64)}, "novel is of type F64"),
        ({"embeddings": np.ones((5, 3), np.float32)}, "embeddings holds float32; expected float16"),
        ({"embeddings": np.full((5, 3), np.inf, np.float16)}, "embeddings holds a number that is not finite"),
        ({"head.bias": np.full(3, np.nan, np.float32)}, "head.bias holds a number that is not finite"),
        ({"embeddings": np.ones((5, 4), np.float16)}, r"embeddings has the shape \(5, 4\); .* need \(5, 3\)"),
        ({"embeddings": np.ones(15, np.float16)}, r"embeddings has the shape \(15,\)"),
        ({"embeddings": np.ones((4, 3), np.float16)}, r"labels has the shape \(5,\)"),
        ({"labels": np.full(5, 3, np.int32)}, r"a label is outside 0\.\.2"),
        ({"labels": np.full(5, -1, np.int32)}, r"a label is outside 0\.\.2"),
        ({"head.weight": np.ones((4, 3), np.float32), "head.bias": np.ones(4, np.float32)}, "head.weight has 4 rows"),
        ({"head.bias": np.ones(4, np.float32)}, "head: weight"),
        (ids("a", "b"), "2 ids, 2 of them distinct, for 5 embeddings"),
        (ids("a", "a", "b", "c", "d"), "5 ids, 4 of them distinct"),
        (ids("a", "b", "c", "d", 5), "no list of texts"),
        (ids("a", "b", "c", "d", "e" * 1025), "at most 1024 characters"),
        ({"ids": np.frombuffer(b'{"a": 1}', np.uint8)}, "no list of texts"),
        ({"ids": np.frombuffer(b"[" * 100_000, np.uint8)}, "no JSON"),
        ({"ids": np.frombuffer(b'["\xff"]', np.uint8)}, "no JSON"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    tensors = {name: tensor for name, tensor in (good() | change).items() if tensor is not None}
    bundle = bundle_with(tmp_path, lambda path: save_file(tensors, path))
    with pytest.raises(BundleError, match=why) as caught:
        read_reference(bundle, DIMENSIONS)
    assert "\n" not in str(caught.value)
    assert REFERENCE in str(caught.value)


@pytest.mark.parametrize("more", [{}, {"means": np.ones((3, 3), np.float32)}])
def test_the_sound_file_of_these_tests_is_taken_and_one_from_before(tmp_path: Path, more: dict[str, Any]) -> None:
    found = read_reference(bundle_with(tmp_path, lambda path: save_file(good() | more, path)), DIMENSIONS)
    assert isinstance(found, Reference)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    def cut(path: Path) -> None:
        save_file(good(), path)
        path.write_bytes(path.read_bytes()[:-7])

    with pytest.raises(BundleError, match="is no safetensors file"):
        read_reference(bundle_with(tmp_path, cut), DIMENSIONS)


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_with(tmp_path, lambda path: save_file(good(), path))
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(BundleError, match="more than the 100 that are read"):
        read_reference(bundle, DIMENSIONS)


def test_a_file_changed_after_it_was_verified(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, lambda path: save_file(good(), path))
    save_file(good() | {"labels": np.zeros(5, np.int32)}, bundle.folder / REFERENCE)
    with pytest.raises(BundleError, match="damaged or altered"):
        read_reference(bundle, DIMENSIONS)


# ---- the head of a bundle without reference -------------------------------------------------------------------------


def test_head_rows_come_from_the_weights(tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "parts")
    save_file({"head.linear.weight": ROWS.weight, "body.x": np.zeros(2, np.float64)}, files["model.safetensors"])
    bundle = write_bundle(tmp_path / "model", tiny_card(tmp_path / "parts"), files)
    rows = read_head_rows(bundle)
    assert rows is not None
    np.testing.assert_array_equal(rows.weight, ROWS.weight)


def test_weights_without_such_a_head(tiny_bundle: Bundle) -> None:
    assert read_head_rows(tiny_bundle) is None


# ---- neighbours -----------------------------------------------------------------------------------------------------


def test_the_nearest_of_a_class_come_first() -> None:
    """Directions count, lengths do not."""
    embeddings = np.array([[1, 0], [0, 2], [3, 3], [-1, 0], [5, 0.5]], np.float32)
    logits = np.zeros((5, 2), np.float32)
    made = make_reference(Scores(tuple("abcde"), logits, embeddings), np.array([0, 0, 0, 0, 1]), None)
    found = nearest(made, np.array([10, 0], np.float32), 0, 3)
    assert [one.id for one in found] == ["a", "c", "b"]
    expected = [0, np.sqrt(2 - np.sqrt(2)), np.sqrt(2)]
    assert [one.distance for one in found] == pytest.approx(expected, abs=1e-3)
    assert [one.id for one in nearest(made, np.array([10, 0], np.float32), 1, 3)] == ["e"]
    assert nearest(made, np.array([-1, 0], np.float32), 0, 4)[-1].distance == pytest.approx(2)
