"""The photos of one training: looked at, divided, and joined by those from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan
from carspotter.data.split import split
from carspotter.progress import Progress
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Split
from carspotter.training.allocator import release_memory
from carspotter.training.look import look
from carspotter.training.outside import ALONE, Outside, Sources, join


@dataclass(frozen=True, slots=True)
class Gathered:
    """The photos of one training.

    Attributes:
        looked: the source, read once.
        split: which of its photos train and which validate.
        outside: photos of other sources, which train too.
        groups: (N,) near-copy group of each photo of `looked`.
    """

    looked: Scan
    split: Split
    outside: Outside
    groups: npt.NDArray[np.int64]

    @property
    def train(self) -> Dataset:
        """What the weights are fitted on; photos from outside last."""
        inside = _some(self.looked.dataset, self.split.train)
        return replace(inside, photos=(*inside.photos, *self.outside.photos))

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(N,) how much each photo of `train` counts in the loss; the source's own 1."""
        return np.array([1.0] * len(self.split.train) + list(self.outside.weights), np.float32)

    @property
    def held_out(self) -> Dataset:
        """What validates."""
        return _some(self.looked.dataset, self.split.validation)

    @property
    def held_out_groups(self) -> npt.NDArray[np.int64]:
        """(M,) near-copy group of each photo that validates."""
        group = dict(zip((photo.id for photo in self.looked.dataset.photos), self.groups.tolist(), strict=True))
        return np.array([group[photo] for photo in self.split.validation], dtype=np.int64)

    @property
    def held_out_facts(self) -> tuple[PhotoFacts, ...]:
        """What the one look told of the photos that validate."""
        held_out = set(self.split.validation)
        return tuple(fact for fact in self.looked.facts if fact.id in held_out)


def gather(
    source: Dataset | Scan, recipe: Recipe, outside: Sources = ALONE, *, cache: PhotoCache, progress: Progress
) -> Gathered:
    """Look at every photo, divide them, and let those from outside join.

    Raises:
        SourceError: no labels, too few photos, or outside photos that do not fit.
    """
    looked = source if isinstance(source, Scan) else look(source, progress=progress)
    groups = near_duplicates(looked.facts)
    divided = divide(looked.dataset, groups, recipe)
    joined = join(outside, looked, divided, recipe, cache=cache, progress=progress)
    release_memory()
    return Gathered(looked, divided, joined, groups)


def divide(dataset: Dataset, groups: npt.NDArray[np.int64], recipe: Recipe) -> Split:
    """Which photos train and which validate; near copies and groups stay on one side."""
    how = recipe.split
    return split(
        dataset,
        groups,
        method=how.method,
        share=how.share,
        folds=how.folds,
        fold=how.fold,
        seed=recipe.split_seed,
    )


def _some(dataset: Dataset, ids: Sequence[str]) -> Dataset:
    at = {photo.id: i for i, photo in enumerate(dataset.photos)}
    return dataset.subset([at[i] for i in ids])
