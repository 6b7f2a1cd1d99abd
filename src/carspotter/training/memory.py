"""What a bundle remembers of the photos that trained it, and from when on a photo is a stranger to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from carspotter.data.cache import PhotoCache
from carspotter.data.photo import decode, read_bytes
from carspotter.errors import BackboneError, PhotoRefused
from carspotter.evaluation.explain import HeadRows
from carspotter.evaluation.unknown import SHIPPED, strangeness_bound
from carspotter.inference.bundle import FINDER
from carspotter.inference.finder import NetFinder
from carspotter.inference.predictor import Predictor
from carspotter.inference.reference import REFERENCE, Reference, make_reference, write_reference
from carspotter.inference.strangers import Strangers
from carspotter.records import BundleCard, Calibration, Dataset, Photo, Scores
from carspotter.training.finder import make_finder
from carspotter.workers import in_order, usable_cores

REMEMBERED = 10_000
"""Photos that are asked about again after a training. Assumption: four minutes of two cores, and more tell no more."""
REFUSED = 0.05
"""Share of known photos that are called strangers at most: the counterpart of the 95 % intervals everywhere else."""
NO_CAR = 0.01
"""Share of known photos with less evidence of a vehicle than a stranger needs. Assumption: nearly all of them show a
car from outside, so that the least evident hundredth is a fault of the photo."""


def remember(predictor: Predictor, train: Dataset, rows: HeadRows | None, cache: PhotoCache) -> Reference:
    """What the shipped net makes of the photos that trained it, or of an even draw of `REMEMBERED`.

    Args:
        predictor: of the bundle.
        train: photos that trained, those from outside too.
        rows: of its head, where that is linear.
        cache: of decoded photos.
    """
    kept = np.sort(np.random.default_rng(0).permutation(len(train.photos))[:REMEMBERED])
    some = replace(train.subset(kept.tolist()), rejected=())
    named = replace(some, photos=_told_apart(some.photos))
    scores = predictor.scores(named, cache=cache)
    label = dict(zip((photo.id for photo in named.photos), some.labels.tolist(), strict=True))
    return make_reference(scores, np.array([label[photo] for photo in scores.ids], np.int64), rows)


def know_strangers(
    calibration: Calibration, card: BundleCard, reference: Reference, scores: Scores, held_out: Dataset
) -> tuple[Calibration, NetFinder | None]:
    """From when on a photo is a stranger, as photos say that are none and trained nothing.

    Args:
        calibration: of the same photos.
        card: of the bundle.
        reference: of its training photos.
        scores: of the held-out photos.
        held_out: these photos.

    Returns:
        The calibration with its bounds, and the net that sees vehicles; None where its weights are not here.
    """
    strange_at = strangeness_bound(Strangers(reference, card, SHIPPED).strangeness(scores), REFUSED)
    if not np.isfinite(strange_at):
        return calibration, None
    seer = _seer()
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

    def evidence(photo: Photo) -> float | None:
        try:
            return seer.evidence(decode(read_bytes(photo.where)).pixels)
        except PhotoRefused:
            return None

    threads = usable_cores()
    found = [one for one in in_order(evidence, known.photos, threads=threads, ahead=2 * threads) if one is not None]
    return float(np.quantile(found, NO_CAR)) if found else None


def add_reference(files: dict[str, Path], reference: Reference, place: Path) -> None:
    """One more file of a bundle."""
    files[REFERENCE] = place / REFERENCE
    write_reference(files[REFERENCE], reference)


def add_finder(files: dict[str, Path], finder: NetFinder | None, place: Path) -> None:
    """One more file of a bundle, unless it is there already, as where photos are cut to the car."""
    if finder is not None and FINDER not in files:
        files[FINDER] = place / FINDER
        files[FINDER].write_bytes(finder.model)


def _seer() -> NetFinder | None:
    try:
        return make_finder()
    except BackboneError:  # without its weights a stranger is unknown, whatever it shows
        return None


def _told_apart(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Photos from outside may have names of the source's own."""
    seen: dict[str, int] = {}
    named = []
    for photo in photos:
        times = seen[photo.id] = seen.get(photo.id, 0) + 1
        named.append(photo if times == 1 else replace(photo, id=f"{photo.id} ({times})"))
    return tuple(named)
