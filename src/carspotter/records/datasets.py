"""Sets of photos: how a source was read, what it held, and how it is divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydantic import Field

from carspotter.records.base import Record, hash_json
from carspotter.records.photos import Photo, Rejected


class Reading(Record):
    """How a source was read, so that it can be read again."""

    source: str = Field(description="absolute path")
    photos: str | None = Field(default=None, description="folder or zip of a table's photos, absolute; None: found")
    id_column: str | None = Field(default=None, description="as given; None: found")
    label_column: str | None = None
    group_column: str | None = None
    decisions: str | None = Field(
        default=None, description="table of decisions that were carried out on it, absolute; None: none"
    )
    families: str | None = Field(
        default=None, description="table of what stands above each class, absolute; None: names tell"
    )


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos with class names. Never edited in place: a decision makes a new one.

    Attributes:
        photos: in the order of the source; ids are unique.
        classes: class names in index order; empty when unlabelled.
        codes: how the source writes each class (`train.csv`'s Category), same order; equals `classes` without a table
            of names.
        origin: the source as the user gave it.
        rejected: photos named by the source that cannot be used.
        notes: what the reader skipped or decided, one sentence each.
        reading: how it was read; None for photos that came from Python.
        parents: class or family → the family above it; empty: the names of the classes tell their families. It decides
            no weight, so it is not part of the fingerprint.
    """

    photos: tuple[Photo, ...]
    classes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    origin: str = ""
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    reading: Reading | None = None
    parents: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) class index of each photo, -1 where unlabelled."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([-1 if p.label is None else index[p.label] for p in self.photos], dtype=np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Photos per class, in the order of `classes`, zeros included."""
        found = Counter(p.label for p in self.photos)
        return {name: found[name] for name in self.classes}

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, labels, groups and contents; independent of where the files lie and of their order.

        Raises:
            ValueError: a photo has no digest yet; scan the set first.
        """
        if any(p.digest is None for p in self.photos):
            raise ValueError("a fingerprint needs the digest of every photo; scan the dataset first")
        rows = sorted((p.id, p.label or "", p.group or "", p.digest) for p in self.photos)
        return hash_json({"classes": self.classes, "photos": rows})

    def subset(self, keep: Sequence[int] | npt.NDArray[np.int64]) -> Dataset:
        """The photos at these positions, in this order, as a new set with the same classes."""
        return replace(self, photos=tuple(self.photos[int(i)] for i in keep))


@dataclass(frozen=True, slots=True)
class Split:
    """Which photos train and which validate.

    Attributes:
        train: ids the weights are fitted on.
        validation: ids held out; never augmented, no near-duplicate of them in `train`.
        method: a sentence: seed, shares, what was kept together.
        folds: for k folds, the fold number of every id, -1 for those that always train; empty for one hold-out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    method: str
    folds: Mapping[str, int] = field(default_factory=dict)
