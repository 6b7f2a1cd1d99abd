"""A model examined on labelled photos: the shipped predictor answers, what follows is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.data.classes import same_classes
from carspotter.data.duplicates import near_duplicates
from carspotter.data.quality import BOUNDS, Quality, measure_all
from carspotter.data.scan import PhotoFacts, Scan, scan
from carspotter.data.split import together
from carspotter.errors import SourceError
from carspotter.evaluation.by_value import Masks, by_value
from carspotter.evaluation.judging import Judged, judge, sort_by
from carspotter.inference.neighbours import taught_with
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress, silent
from carspotter.records import BundleCard, Dataset, HeldOut, Rejected, Scores

SMALL = 240
"""Pixels of the shorter side below which a photo is small: that of the ads at hand is 240 or more."""
LEAST = 2
"""Photos that can be judged."""

Columns = Mapping[str, Mapping[str, str]]
"""Name of a column of the photos' table → photo id → cell."""
NONE: Columns = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Examination:
    """What came out.

    Attributes:
        judged: the figures.
        dataset: the photos that were judged, those that could not be read in `rejected`.
        labels: photo id → class under the model's name, those that could not be read among them.
        foreign: photos of classes that the model does not know; nothing is said of them.
        taught: photos left out because the model remembers that they trained it, whatever their names; of kept answers,
            photos without one because they trained every network.
        photos_per_second: read, decoded and answered, all threads together; None where answers were kept before.
    """

    judged: Judged
    dataset: Dataset
    labels: Mapping[str, str]
    foreign: int
    taught: int
    photos_per_second: float | None


def examine(
    predictor: Predictor, dataset: Dataset, *, tta: int = 1, columns: Columns = NONE, progress: Progress = silent
) -> Examination:
    """Ask a model about labelled photos and judge what it says of those that did not train it, as far as it remembers.

    Args:
        predictor: of the model.
        dataset: labelled; classes meet the model's by name, whatever the case.
        tta: views per photo.
        columns: by which the photos are sorted too.
        progress: told about photos.

    Raises:
        SourceError: no labels, no class that the model knows, or fewer than two photos that can be read and did not
            train it.
        BundleError: the network itself fails.
    """
    card = predictor.card
    known = same_classes(dataset, Dataset((), card.classes, card.codes, origin=str(predictor.bundle.folder)))
    looked = scan(known, progress=progress)
    began = time.perf_counter()
    # Without a cache, so that the speed is that of photos seen for the first time.
    scores = predictor.scores(looked.dataset, tta=tta, cache=PhotoCache(None), progress=progress)
    seconds = time.perf_counter() - began
    scores, taught = _leave_out_taught(predictor, looked.dataset, scores, tta, progress)
    if taught and not scores.ids:
        raise SourceError(
            f"all {taught} photos of {dataset.origin} trained this model, which remembers them under whatever name; "
            "judge it on others"
        )
    _must_be_enough(dataset, scores.ids)
    labels = dict(zip((photo.id for photo in looked.dataset.photos), looked.dataset.labels.tolist(), strict=True))
    truth = np.array([labels[photo] for photo in scores.ids], dtype=np.int64)
    places = {photo.id: place for place, photo in enumerate(looked.dataset.photos)}
    at, whose = [places[photo] for photo in scores.ids], together(looked.dataset.photos, near_duplicates(looked.facts))
    kinds, strangers = kinds_of(looked, scores.ids, progress), predictor.strangers(looked.dataset, scores)
    judged = judge(scores, truth, card.classes, card.calibration, strangers, card.parents, whose[at])
    return Examination(
        judged=sort_by(judged, kinds, _sorted(scores.ids, columns)),
        dataset=looked.dataset,
        labels=_labels(known),
        foreign=len(dataset.photos) - len(known.photos),
        taught=taught,
        photos_per_second=(len(scores.ids) + taught) / seconds,
    )


def examine_answers(
    card: BundleCard, looked: Scan, kept: HeldOut, *, columns: Columns = NONE, progress: Progress = silent
) -> Examination:
    """Judge answers that a model's networks gave to photos when these had not trained them.

    Embeddings are not kept, so no photo is called a stranger.

    Args:
        card: of the model.
        looked: the photos that the model was trained on.
        kept: answers on some of them.
        columns: by which the photos are sorted too.
        progress: told about photos.

    Raises:
        SourceError: there are fewer than two answers.
    """
    _must_be_enough(looked.dataset, kept.ids)
    scores = kept.as_scores(looked.dataset.rejected)
    kinds = kinds_of(looked, kept.ids, progress)
    judged = judge(scores, kept.labels, card.classes, card.calibration, parents=card.parents, groups=kept.groups)
    return Examination(
        judged=sort_by(judged, kinds, _sorted(kept.ids, columns)),
        dataset=looked.dataset,
        labels=_labels(looked.dataset),
        foreign=0,
        taught=len(looked.dataset.photos) - len(kept.ids),
        photos_per_second=None,
    )


def _sorted(ids: Sequence[str], columns: Columns) -> dict[str, Masks]:
    return {name: by_value([cells.get(photo, "") for photo in ids]) for name, cells in columns.items()}


def _must_be_enough(dataset: Dataset, ids: Sequence[str]) -> None:
    if len(ids) < LEAST:
        raise SourceError(f"{dataset.origin}: {len(ids)} photos can be used; judging needs {LEAST} or more")


def _labels(dataset: Dataset) -> dict[str, str]:
    return {photo.id: photo.label for photo in dataset.photos if photo.label is not None}


def _leave_out_taught(
    predictor: Predictor, dataset: Dataset, scores: Scores, tta: int, progress: Progress
) -> tuple[Scores, int]:
    """The scores without photos that trained the model, and how many these are."""
    if predictor.reference is None or not scores.ids:
        return scores, 0
    # What is remembered is of plain photos.
    plain = scores if tta == 1 else predictor.scores(dataset, cache=PhotoCache(None), progress=progress)
    taught = taught_with(predictor.reference, plain.embeddings)
    kept = np.flatnonzero(~taught)
    ids = tuple(scores.ids[int(at)] for at in kept)
    notes = {name: scores.notes[name] for name in ids if name in scores.notes}
    return Scores(ids, scores.logits[kept], scores.embeddings[kept], scores.rejected, notes), int(taught.sum())


def kinds_of(looked: Scan, ids: tuple[str, ...], progress: Progress = silent) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Kinds of photos that may fare worse: dark, blurry, overexposed, small, portrait.

    Returns:
        Name → (N,) whether each photo of `ids` is of that kind.
    """
    wanted = set(ids)
    photos = [photo for photo in looked.dataset.photos if photo.id in wanted]
    quality = {photo.id: found for photo, found in zip(photos, measure_all(photos, progress), strict=True)}
    facts = {fact.id: fact for fact in looked.facts}
    rows = [_kinds(quality[i], facts[i]) for i in ids]
    return {name: np.array([row[name] for row in rows], dtype=bool) for name in rows[0]}


def _kinds(quality: Quality | Rejected, fact: PhotoFacts) -> dict[str, bool]:
    faults = {
        name: isinstance(quality, Quality) and getattr(quality, measure) < BOUNDS[measure]
        for name, measure in (("dark", "dark"), ("overexposed", "bright"), ("blurry", "blurry"))
    }
    return faults | {"small": min(fact.height, fact.width) < SMALL, "portrait": fact.height > fact.width}
