"""The photos of one training: looked at, divided, and joined by those from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan
from carspotter.data.split import split, together
from carspotter.errors import SourceError
from carspotter.progress import Progress
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Split
from carspotter.training.allocator import release_memory
from carspotter.training.look import look
from carspotter.training.outside import ALONE, Outside, Sources, join, must_be_few
from carspotter.training.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Gathered:
    """The photos of one training.

    Attributes:
        looked: the source, read once.
        split: which of its photos train and which validate.
        outside: photos of other sources, which train too.
        groups: (N,) near-copy group of each photo of `looked`.
        wanted: (M, K) what each photo of `train` is taught, where a teacher has a say; None: its label alone.
    """

    looked: Scan
    split: Split
    outside: Outside
    groups: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.float32] | None = None

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
        """(M,) a number for each photo that validates, shared by near copies and by photos of one group or ad."""
        photos = self.looked.dataset.photos
        group = dict(zip((photo.id for photo in photos), together(photos, self.groups).tolist(), strict=True))
        return np.array([group[photo] for photo in self.split.validation], dtype=np.int64)

    @property
    def held_out_facts(self) -> tuple[PhotoFacts, ...]:
        """What the one look told of the photos that validate."""
        held_out = set(self.split.validation)
        return tuple(fact for fact in self.looked.facts if fact.id in held_out)


def gather(
    source: Dataset | Scan,
    recipe: Recipe,
    outside: Sources = ALONE,
    *,
    strict: bool = False,
    cache: PhotoCache,
    progress: Progress,
) -> Gathered:
    """Look at every photo, divide them, and let those from outside join.

    Raises:
        SourceError: no labels, too few photos, outside photos or a teacher that do not fit, a teacher without work, or
            (strict) a photo that cannot be used.
    """
    _must_have_work(outside, recipe)
    for pool in outside.unlabelled:
        must_be_few(pool)
    looked = source if isinstance(source, Scan) else look(source, strict=strict, progress=progress)
    groups = near_duplicates(looked.facts)
    divided = divide(looked.dataset, groups, recipe)
    teacher = _teacher(outside, looked.dataset, divided, cache, progress)
    joined = join(outside, looked, divided, recipe, teacher, strict=strict, progress=progress)
    photos = Gathered(looked, divided, joined, groups)
    if teacher is not None and recipe.distil:
        photos = _taught(photos, teacher, recipe)
    release_memory()
    return photos


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


def _must_have_work(outside: Sources, recipe: Recipe) -> None:
    if outside.teacher is not None and not outside.unlabelled and not recipe.distil:
        raise SourceError(
            f"{outside.teacher} would have nothing to teach; name photos with --unlabelled, let its probabilities be "
            "learned (--set distil=0.5), or leave out --teacher"
        )
    if recipe.distil and outside.teacher is None:
        raise SourceError(
            f"distil = {recipe.distil:g} needs a model whose probabilities are learned: `train --teacher`, or set "
            "distil = 0"
        )


def _teacher(
    outside: Sources, dataset: Dataset, divided: Split, cache: PhotoCache, progress: Progress
) -> Teacher | None:
    if outside.teacher is None:
        return None
    return Teacher(outside.teacher, dataset, divided, survey=outside.survey, cache=cache, progress=progress)


def _taught(photos: Gathered, teacher: Teacher, recipe: Recipe) -> Gathered:
    """What each photo is taught: its label, and to a share what the teacher says."""
    train, share = photos.train, np.float32(recipe.distil)
    labels = np.eye(len(train.classes), dtype=np.float32)[train.labels]
    wanted = (1 - share) * labels + share * teacher.says(train, recipe.distil_temperature)
    sentence = f"{teacher.title} is the teacher: what it says of a photo is {share:g} of its target"
    told = replace(photos.outside, sentences=(*photos.outside.sentences, sentence))
    return replace(photos, wanted=wanted, outside=told)


def _some(dataset: Dataset, ids: Sequence[str]) -> Dataset:
    at = {photo.id: i for i, photo in enumerate(dataset.photos)}
    return dataset.subset([at[i] for i in ids])
