"""Pseudo-labels (Lee 2013): unlabelled photos of which a trained model is sure train another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from carspotter.data.cache import PhotoCache
from carspotter.errors import SourceError, TrackingError
from carspotter.evaluation.metrics import softmax
from carspotter.inference.predictor import Predictor, load
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Split
from carspotter.tracking.held_out import validation_hash
from carspotter.tracking.runs import open_store

TTA = 2
"""Views the teacher looks at: the photo and its mirror image. Assumption: more cost more than they tell."""


def pseudo_labels(
    pool: Dataset,
    teacher: Path,
    dataset: Dataset,
    divided: Split,
    recipe: Recipe,
    *,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The photos of a pool that a teacher names with at least `recipe.pseudo_bar`, labelled as it says.

    A pool holds models that the teacher does not know, and it is sure of some of them too: the bar cannot tell these
    apart, so what pseudo-labels do must be measured each time.

    Args:
        pool: photos; labels they may have are not looked at.
        teacher: a model folder.
        dataset: scanned; its classes must be the teacher's.
        divided: which of them train; the teacher must have held out the same photos.
        recipe: of the coming training.
        cache: of decoded photos.
        progress: told about photos.

    Raises:
        SourceError: the teacher has other classes, or may have learned from photos that validate here.
        BundleError: the teacher's folder is damaged.
    """
    predictor = load(teacher)
    _must_fit(predictor, teacher, dataset, divided)
    scores = predictor.scores(pool, tta=TTA, cache=cache, progress=progress)
    shares = softmax(scores.logits)
    named = {
        photo_id: dataset.classes[int(best)]
        for photo_id, best, share in zip(scores.ids, shares.argmax(1), shares.max(1), strict=True)
        if share >= recipe.pseudo_bar
    }
    photos = tuple(replace(photo, label=named[photo.id]) for photo in pool.photos if photo.id in named)
    return replace(
        pool,
        photos=photos,
        classes=dataset.classes,
        codes=dataset.codes,
        rejected=scores.rejected,
        origin=f"{pool.origin}, labelled by {predictor.card.name} where it gives {recipe.pseudo_bar:.2f} or more "
        f"({len(photos)} of {len(pool.photos)} photos, {np.mean(shares.max(1)) if len(shares) else 0:.2f} on average)",
    )


def _must_fit(predictor: Predictor, teacher: Path, dataset: Dataset, divided: Split) -> None:
    card = predictor.card
    if card.classes != dataset.classes:
        raise SourceError(
            f"{teacher} knows {len(card.classes)} classes ({', '.join(card.classes[:3])}, …) and {dataset.origin} has "
            f"{len(dataset.classes)} ({', '.join(dataset.classes[:3])}, …); a teacher needs the same"
        )
    ours = validation_hash(dataset, divided)
    if ours is None:
        return  # nothing validates, so nothing could be known beforehand
    if card.members > 1:
        raise SourceError(f"{teacher} holds the networks of every fold, so each photo that validates here trained it")
    # The photos, not the settings: near copies may be grouped in another way since, and then divided in another way.
    if card.dataset != dataset.fingerprint or _held_out_by(teacher, card.provenance.run_id) != ours:
        raise SourceError(
            f"{teacher} was trained on other data or another split, so it may have learned from photos that validate "
            "here; train the teacher on the same source with the same split"
        )


def _held_out_by(teacher: Path, run_id: str) -> str | None:
    """The hash of the photos that the teacher's training held out, as its run has it.

    Raises:
        SourceError: that run is not at hand.
    """
    try:
        return open_store().get(run_id).validation
    except TrackingError as fault:
        raise SourceError(
            f"{teacher} may have learned from photos that validate here: its run cannot be asked ({fault}); name the "
            "store that has it with CARSPOTTER_RUNS, bring it with `carspotter runs import`, or train the teacher anew"
        ) from None
