"""What a bundle remembers of the photos that trained it, and from when on a photo is a stranger to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from carspotter.data.cache import PhotoCache
from carspotter.errors import BackboneError
from carspotter.evaluation.explain import HeadRows
from carspotter.evaluation.unknown import SHIPPED, strangeness_bound
from carspotter.inference.bundle import FINDER
from carspotter.inference.finder import NetFinder, look_for_vehicles
from carspotter.inference.predictor import Predictor
from carspotter.inference.reference import HALF_MAX, MAX_ID, REFERENCE, Reference, make_reference, write_reference
from carspotter.inference.strangers import Strangers
from carspotter.progress import Progress, silent
from carspotter.records import Calibration, Dataset, Photo, Scores
from carspotter.training.finder import make_finder

REMEMBERED = 10_000
"""Photos that are asked about again after a training. Assumption: four minutes of two cores, and more tell no more."""
REFUSED = 0.05
"""Share of known photos that are called strangers at most: the counterpart of the 95 % intervals everywhere else."""
NO_CAR = 0.01
"""Share of known photos with less evidence of a vehicle than a stranger needs. Assumption: nearly all of them show a
car from outside, so that the least evident hundredth is a fault of the photo."""


def remember(
    predictor: Predictor, train: Dataset, rows: HeadRows | None, cache: PhotoCache, progress: Progress = silent
) -> Reference | None:
    """What the shipped net makes of the photos that trained it, or of an even draw of `REMEMBERED`.

    Args:
        predictor: of the bundle.
        train: photos that trained, those from outside too.
        rows: of its head, where that is linear.
        cache: of decoded photos.
        progress: told about photos.

    Returns:
        None where its numbers are too large for half precision: a strange net, and no reason to lose it.
    """
    kept = np.sort(np.random.default_rng(0).permutation(len(train.photos))[:REMEMBERED])
    some = replace(train.subset(kept.tolist()), rejected=())
    named = replace(some, photos=_told_apart(some.photos))
    scores = predictor.scores(named, cache=cache, progress=progress)
    if scores.rejected:
        progress("remembered", len(scores.ids), len(named.photos), "some photos that trained can no longer be read")
    if np.abs(scores.embeddings).max(initial=0.0) > HALF_MAX:
        progress("remembered", 0, len(named.photos), "nothing: what the net makes of photos is too large to be kept")
        return None
    label = dict(zip((photo.id for photo in named.photos), some.labels.tolist(), strict=True))
    return make_reference(scores, np.array([label[photo] for photo in scores.ids], np.int64), rows)


def know_strangers(
    calibration: Calibration, reference: Reference, scores: Scores, held_out: Dataset, progress: Progress = silent
) -> tuple[Calibration, NetFinder | None]:
    """From when on a photo is a stranger, as photos say that are none and trained nothing.

    Args:
        calibration: of the same photos.
        reference: of the training photos of one network.
        scores: of the held-out photos.
        held_out: these photos.
        progress: told what is missing.

    Returns:
        The calibration with its bounds, and the net that sees vehicles; None where its weights are not here.
    """
    strange_at = strangeness_bound(Strangers(reference).strangeness(scores), REFUSED)
    if not np.isfinite(strange_at):
        return calibration, None
    seer = _seer(progress)
    return calibration.model_copy(
        update={
            "detector": SHIPPED,
            "strange_at": strange_at,
            "refused": REFUSED,
            "no_car_at": None if seer is None else least_evidence(seer, held_out),
        }
    ), seer


def least_evidence(seer: NetFinder, known: Dataset) -> float | None:
    """The evidence of a vehicle that all but `NO_CAR` of the photos have; None where none can be read."""
    evidence = look_for_vehicles(known.photos, seer.evidence_in)
    return float(np.nanquantile(evidence, NO_CAR)) if np.isfinite(evidence).any() else None


def add_reference(files: dict[str, Path], reference: Reference | None, place: Path) -> None:
    """One more file of a bundle."""
    if reference is None:
        return
    files[REFERENCE] = place / REFERENCE
    write_reference(files[REFERENCE], reference)


def add_finder(files: dict[str, Path], finder: NetFinder | None, place: Path) -> None:
    """One more file of a bundle, unless it is there already, as where photos are cut to the car."""
    if finder is not None and FINDER not in files:
        files[FINDER] = place / FINDER
        files[FINDER].write_bytes(finder.model)


def _seer(progress: Progress) -> NetFinder | None:
    try:
        return make_finder()
    except BackboneError as fault:
        progress("strangers", 0, 0, f"none will be called not_a_car, but unknown, whatever they show: {fault}")
        return None


def _told_apart(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Photos from outside may have names of the source's own, and no name may be longer than a reference takes."""
    taken: set[str] = set()
    named = []
    for photo in photos:
        short = photo.id[: MAX_ID - len(" (10000)")]
        name, times = short, 1
        while name in taken:
            times += 1
            name = f"{short} ({times})"
        taken.add(name)
        named.append(replace(photo, id=name))
    return tuple(named)
