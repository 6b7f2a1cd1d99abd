"""`reference.safetensors`: the photos that trained a bundle, as its net sees them; optional, and read without torch.

    embeddings    (M, D) F16   of the plain photos, through the net as shipped
    labels        (M,)   I32   class index, in the order of the card's classes
    ids           (B,)   U8    the M photo ids, as a JSON list of texts in UTF-8
    head.weight   (K, C) F32   only where the head is linear: see `evaluation.explain.HeadRows`
    head.bias     (K,)   F32   with it

A bundle may come from a stranger: every tensor must be there with exactly this type and shape, every number finite.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from carspotter.data.wording import brief, cause, one_line
from carspotter.errors import BundleError
from carspotter.evaluation.explain import HeadRows, head_rows
from carspotter.evaluation.sphere import distances
from carspotter.inference.bundle import WEIGHTS, Bundle
from carspotter.records import Scores

REFERENCE = "reference.safetensors"
MAX_EMBEDDING_BYTES = 256 * 2**20
"""Embeddings kept: 100,000 photos of 1,280 numbers. Assumption: more neighbours make no better picture."""
MAX_ID = 1024
"""Longest photo id, characters. Assumption: paths are shorter, and a hostile list is told early."""
MAX_BYTES = 2 * MAX_EMBEDDING_BYTES
"""Largest file that is read; ids and rows of what is kept fit beside the embeddings."""
MAX_WEIGHTS_BYTES = 4 * 2**30
"""Largest `model.safetensors` that is opened for its head: a billion numbers; assumption."""
HALF_MAX = float(np.finfo(np.float16).max)
_TYPES = {"F16": np.float16, "F32": np.float32, "I32": np.int32, "U8": np.uint8}
_REQUIRED = {"embeddings": "F16", "labels": "I32", "ids": "U8"}
_HEAD = {"head.weight": "F32", "head.bias": "F32"}

Tensors = dict[str, npt.NDArray[Any]]
Raw = list[tuple[str, dict[str, Any]]]
"""What safetensors hands out: names with `dtype`, `shape` and `data`."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a bundle remembers of the photos that trained it.

    Attributes:
        ids: M photo ids, all different.
        embeddings: (M, D) f16.
        labels: (M,) class indices, 0..K-1.
        rows: the linear head, or None.
    """

    ids: tuple[str, ...]
    embeddings: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int32]
    rows: HeadRows | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training photo near to another.

    Attributes:
        id: of the photo.
        distance: between both on the unit sphere: 0 the same direction, 2 opposite.
    """

    id: str
    distance: float


def make_reference(scores: Scores, labels: npt.NDArray[np.int64], rows: HeadRows | None) -> Reference:
    """What there is to remember.

    Beyond `MAX_EMBEDDING_BYTES` an even draw of the photos is kept.

    Args:
        scores: of the photos that trained, each once, plain (no views), through the net as shipped.
        labels: (M,) class index of each.
        rows: the linear head (`evaluation.explain.head_rows`), or None.

    Raises:
        ValueError: counts that do not fit, a label outside 0..K-1, an id twice, or a number that half precision
            cannot hold.
    """
    _check_inputs(scores, labels, scores.logits.shape[1])
    photos, dimensions = scores.embeddings.shape
    kept = _even_draw(photos, MAX_EMBEDDING_BYTES // (2 * dimensions))
    return Reference(
        ids=tuple(scores.ids[int(i)] for i in kept),
        embeddings=scores.embeddings[kept].astype(np.float16),
        labels=labels[kept].astype(np.int32),
        rows=rows,
    )


def write_reference(path: Path, reference: Reference) -> None:
    """Write the file, for `write_bundle` to take in under the name `reference.safetensors`.

    Raises:
        OSError: the disk refuses.
    """
    ids = json.dumps(reference.ids, ensure_ascii=True, separators=(",", ":")).encode()
    tensors: Tensors = {
        "embeddings": reference.embeddings,
        "labels": reference.labels,
        "ids": np.frombuffer(ids, np.uint8),
    }
    if reference.rows is not None:
        tensors |= {"head.weight": reference.rows.weight, "head.bias": reference.rows.bias}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)


def read_reference(bundle: Bundle, dimensions: int) -> Reference | None:
    """What a bundle remembers; None when it has no such file.

    Args:
        bundle: verified.
        dimensions: D, the length of its net's embeddings.

    Raises:
        BundleError: the file is damaged, hostile, or not of this bundle's net and classes.
    """
    if REFERENCE not in bundle.card.files:
        return None
    tensors = _tensors(bundle, REFERENCE, MAX_BYTES)
    tensors.pop("means", None)  # folders from before hold the means of the classes, which nobody asks for
    _check_types(tensors)
    found = _parse(tensors)
    classes, photos = len(bundle.card.classes), len(found.embeddings)
    _expect("embeddings", found.embeddings.shape, (photos, dimensions))
    _expect("labels", found.labels.shape, (photos,))
    if len(found.ids) != photos or len(set(found.ids)) != photos:
        raise _fault(f"{len(found.ids)} ids, {len(set(found.ids))} of them distinct, for {photos} embeddings")
    if photos and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < classes:
        raise _fault(f"a label is outside 0..{classes - 1}, of the {classes} classes that the card names")
    if found.rows is not None and len(found.rows.weight) != classes:
        raise _fault(f"head.weight has {len(found.rows.weight)} rows, the card names {classes} classes")
    return found


def read_head_rows(bundle: Bundle) -> HeadRows | None:
    """The linear head out of `model.safetensors`, for a bundle without reference; None where there is none.

    Raises:
        BundleError: the file is damaged.
    """
    if WEIGHTS not in bundle.card.files:
        return None
    tensors = _tensors(bundle, WEIGHTS, MAX_WEIGHTS_BYTES, prefix="head.")
    head = {name: tensor for name, tensor in tensors.items() if tensor.dtype == np.float32}
    return head_rows(head, bundle.card.recipe.head.hidden)


def nearest(reference: Reference, embedding: npt.NDArray[np.float32], label: int, k: int) -> tuple[Neighbour, ...]:
    """The training photos of one class that are nearest to a photo, nearest first.

    Distances are between directions, as `evaluation.unknown.knn` takes them: how strongly a net answers varies with
    light and size, which is no likeness.

    Args:
        reference: to search.
        embedding: (D,) of the photo.
        label: class index.
        k: how many at most.
    """
    members = np.flatnonzero(reference.labels == label)
    far = distances(reference.embeddings[members].astype(np.float32), embedding)
    return tuple(
        Neighbour(reference.ids[int(members[at])], float(far[at])) for at in np.argsort(far, kind="stable")[:k]
    )


# ---- making ---------------------------------------------------------------------------------------------------------


def _check_inputs(scores: Scores, labels: npt.NDArray[np.int64], classes: int) -> None:
    if labels.shape != (len(scores.ids),) or len(set(scores.ids)) != len(scores.ids):
        raise ValueError(f"{len(scores.ids)} ids, {len(set(scores.ids))} of them distinct, and labels {labels.shape}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"a label is outside 0..{classes - 1}: {labels.min()}..{labels.max()}")
    largest = float(np.abs(scores.embeddings).max(initial=0.0))
    if not largest <= HALF_MAX:
        raise ValueError(f"an embedding reaches {largest:g}; half precision ends at {HALF_MAX:g}")


def _even_draw(count: int, most: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


# ---- reading --------------------------------------------------------------------------------------------------------


def _fault(what: str) -> BundleError:
    return BundleError(f"{REFERENCE}: {what}; copy the model folder again, or train again")


def _tensors(bundle: Bundle, name: str, limit: int, prefix: str = "") -> Tensors:
    """The tensors of one verified file, or those whose names begin so, without the prefix."""
    try:
        size = (bundle.folder / name).stat().st_size
    except OSError as fault:
        raise BundleError(f"cannot read {bundle.folder / name}: {cause(fault)}; copy the folder again") from None
    if size > limit:
        raise BundleError(f"{name} has {size:,} bytes, more than the {limit:,} that are read; train again")
    try:
        found: Raw = deserialize(bundle.read(name))  # type: ignore[no-untyped-call]
    except SafetensorError as fault:
        raise BundleError(f"{name} is no safetensors file: {one_line(fault)}; copy the model folder again") from None
    tensors: Tensors = {}
    for key, raw in found:
        if not key.startswith(prefix):
            continue
        if (kind := raw["dtype"]) in _TYPES:
            tensors[key.removeprefix(prefix)] = np.frombuffer(raw["data"], _TYPES[kind]).reshape(raw["shape"])
        elif not prefix:
            raise _fault(f"{brief(key)} is of type {kind}; expected one of {', '.join(_TYPES)}")
    return tensors


def _check_types(tensors: Tensors) -> None:
    """Exactly the tensors of the format, of their types; all finite."""
    expected = _REQUIRED | (_HEAD if tensors.keys() & _HEAD.keys() else {})
    missing, novel = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or novel:
        raise _fault(f"{brief(missing[0])} is missing" if missing else f"{brief(novel[0])} is unknown to this version")
    for name, kind in expected.items():
        tensor = tensors[name]
        if tensor.dtype != _TYPES[kind]:
            raise _fault(f"{name} holds {tensor.dtype}; expected {np.dtype(_TYPES[kind])}")
        if kind.startswith("F") and not np.isfinite(tensor).all():
            raise _fault(f"{name} holds a number that is not finite")


def _parse(tensors: Tensors) -> Reference:
    if tensors["embeddings"].ndim != 2:
        _expect("embeddings", tensors["embeddings"].shape, ("M", "D"))
    try:
        rows = HeadRows(tensors["head.weight"], tensors["head.bias"]) if "head.weight" in tensors else None
    except ValueError as fault:
        raise _fault(f"head: {fault}") from None
    return Reference(
        ids=_ids(tensors["ids"].tobytes()),
        embeddings=tensors["embeddings"],
        labels=tensors["labels"],
        rows=rows,
    )


def _ids(text: bytes) -> tuple[str, ...]:
    try:
        ids = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):  # JSON's and Unicode's errors are both ValueErrors
        raise _fault("the ids are no JSON") from None
    if not isinstance(ids, list) or not all(isinstance(one, str) and len(one) <= MAX_ID for one in ids):
        raise _fault(f"the ids are no list of texts of at most {MAX_ID} characters")
    return tuple(ids)


def _expect(name: str, found: tuple[int, ...], wanted: tuple[int | str, ...]) -> None:
    if found != wanted:
        raise _fault(f"{name} has the shape {found}; the card and the net need {wanted}")
