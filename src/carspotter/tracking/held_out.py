"""A run's validation photos, and its answers on them as one safetensors file beside its journal.

Tensors `logits` (N, K) f32, `labels` (N,) i64 and, where known, `groups` (N,) i64; the ids stand in the header as JSON,
with a sha256 over all of them. Runs that are older than groups have none: each of their photos counts by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carspotter.data.disk import read_capped
from carspotter.data.unions import Unions
from carspotter.errors import SourceError, TrackingError
from carspotter.records import Dataset, HeldOut, Logits, Split, hash_json
from carspotter.tracking.folder import keep

NAME = "held_out.safetensors"
MAX_BYTES = 1 << 30
"""Assumption: a million photos with 200 classes are 0.8 GB; a larger file is no validation set."""


def validation_hash(dataset: Dataset, split: Split) -> str | None:
    """A hash over the ids, labels and contents of the validation photos: equal where figures can be compared.

    None where nothing validates.
    """
    if not split.validation:
        return None
    wanted = set(split.validation)
    return hash_json(sorted((p.id, p.label or "", p.digest or "") for p in dataset.photos if p.id in wanted))


def write_held_out(
    folder: Path,
    ids: Sequence[str],
    logits: Logits,
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
) -> None:
    """Keep answers in a run's folder, whole or not at all.

    Args:
        folder: the run's.
        ids: N different photo ids.
        logits: (N, K), finite.
        labels: (N,) class indices.
        groups: (N,) equal for photos that belong together, as `HeldOut` says; None: not known.

    Raises:
        ValueError: the arrays do not belong together.
        TrackingError: the disk refuses.
    """
    from safetensors.numpy import save

    kept = HeldOut(
        tuple(ids),
        np.ascontiguousarray(logits, np.float32),
        np.ascontiguousarray(labels, np.int64),
        None if groups is None else np.ascontiguousarray(groups, np.int64),
    )
    header = {"ids": json.dumps(kept.ids, ensure_ascii=False), "sha256": _digest(kept)}
    keep(folder / NAME, save(_tensors(kept), header))


def has_held_out(folder: Path) -> bool:
    """Whether a run's folder holds answers, sound or not."""
    return (folder / NAME).exists()


def read_held_out(folder: Path) -> HeldOut:
    """The answers kept in a run's folder.

    Raises:
        TrackingError: there are none, or the file is damaged.
    """
    path = folder / NAME
    if not has_held_out(folder):
        raise TrackingError(f"{path} does not exist: the run kept no held-out answers; train again to have them")
    try:
        return _parse(read_capped(path, MAX_BYTES))
    except SourceError as fault:
        raise TrackingError(str(fault)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise TrackingError(f"{path} is damaged ({fault}); restore it from a copy, or train again") from None


def groups_of(photos: Sequence[str], answers: Iterable[HeldOut]) -> npt.NDArray[np.int64]:
    """What belongs together among photos, as far as any of several runs knows.

    Args:
        photos: P different photo ids.
        answers: of the runs; photos that one of them puts in one group are joined, if only by way of others.

    Returns:
        (P,) the position of the first photo of each one's group.
    """
    at, unions = {photo: i for i, photo in enumerate(photos)}, Unions(len(photos))
    for kept in answers:
        if kept.groups is None:
            continue
        first: dict[int, int] = {}
        for photo, group in zip(kept.ids, kept.groups.tolist(), strict=True):
            if photo in at:
                unions.join(first.setdefault(group, at[photo]), at[photo])
    return np.array([unions.root(i) for i in range(len(photos))], dtype=np.int64)


def _parse(data: bytes) -> HeldOut:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except SafetensorError as fault:
        raise ValueError(fault) from None
    # `load` has checked that the header is there and whole; it does not hand on what we wrote into it.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    logits, labels, groups = tensors["logits"], tensors["labels"], tensors.get("groups")
    if (logits.dtype.name, labels.dtype.name) != ("float32", "int64"):
        raise ValueError(f"logits are {logits.dtype} and labels {labels.dtype}, not float32 and int64")
    if groups is not None and groups.dtype.name != "int64":
        raise ValueError(f"groups are {groups.dtype}, not int64")
    kept = HeldOut(tuple(map(str, json.loads(header["ids"]))), logits, labels, groups)
    if _digest(kept) != header["sha256"]:
        raise ValueError("its contents do not have the hash that was written")
    return kept


def _tensors(kept: HeldOut) -> dict[str, npt.NDArray[Any]]:
    groups = {} if kept.groups is None else {"groups": kept.groups}
    return {"logits": kept.logits, "labels": kept.labels, **groups}


def _digest(kept: HeldOut) -> str:
    found = hashlib.sha256(json.dumps(kept.ids).encode())
    for array in _tensors(kept).values():
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
