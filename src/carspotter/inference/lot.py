"""A table of ads checked at once: each ad's photos found, every photo answered once, the ads judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from carspotter.data.labels import PhotoIndex
from carspotter.data.listing import Listing
from carspotter.data.wording import some
from carspotter.errors import Reason
from carspotter.evaluation.listing import check_listing
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Listed, Photo, Rejected, Scores, Verdict

MAX_PHOTOS = 50
"""Photos of one ad that are looked at. Assumption: sites allow 30 to 50, and more tell no more."""
MAX_NAMES = 200
"""Names in one cell that are looked for (assumption)."""
MAX_DEPTH = 16
"""Folders below one another whose names are known. Assumption: people nest less; a hostile zip nests thousands."""
_BETWEEN = re.compile(r"[;|\n]+")


@dataclass(frozen=True, slots=True)
class Ad:
    """One row of a lot.

    Attributes:
        declared: the model as the ad says.
        photos: those that were found.
        missing: what its row names and the place lacks, or what is left out as too much.
    """

    declared: str
    photos: tuple[Photo, ...]
    missing: tuple[Rejected, ...] = ()


def find_ads(declared: Sequence[str], named: Sequence[str], listing: Listing) -> tuple[Ad, ...]:
    """Rows with their photos.

    Args:
        declared: the model of each row.
        named: what each row says of its photos: names or folders, several parted by `;`, `|` or a line break.
        listing: the place of the photos.
    """
    index, folders = PhotoIndex(listing.photos), _by_folder(listing)
    return tuple(_ad(model, cell, index, folders) for model, cell in zip(declared, named, strict=True))


def check_lot(predictor: Predictor, ads: Sequence[Ad], *, progress: Progress = silent) -> tuple[Listed, ...]:
    """Judge every ad; a photo that several ads share is answered once.

    Raises:
        BundleError: the network itself fails.
    """
    photos = {photo.id: photo for ad in ads for photo in ad.photos}
    dataset = Dataset(tuple(photos.values()))
    scores = predictor.scores(dataset, progress=progress)
    strangers = predictor.strangers(dataset, scores)
    answered = _Answered(scores, strangers)
    card = predictor.card
    return tuple(check_listing(ad.declared, answered.of(ad), card.classes, card.calibration, strangers) for ad in ads)


class _Answered:
    """What was said of all photos, by ad."""

    def __init__(self, scores: Scores, strangers: Mapping[str, Verdict]) -> None:
        self._scores = scores
        self._strangers = strangers
        self._rows = {photo: at for at, photo in enumerate(scores.ids)}
        self._refused = {one.id: one for one in scores.rejected}

    def of(self, ad: Ad) -> Scores:
        rows = [self._rows[photo.id] for photo in ad.photos if photo.id in self._rows]
        refused = tuple(self._refused[photo.id] for photo in ad.photos if photo.id in self._refused)
        at, s = np.array(rows, dtype=np.int64), self._scores
        return Scores(tuple(s.ids[i] for i in rows), s.logits[at], s.embeddings[at], (*refused, *ad.missing))


def _by_folder(listing: Listing) -> dict[str, list[Photo]]:
    """Folder → all photos below it; a folder is found by its path or by any end of it that no other folder has."""
    whole: dict[str, list[Photo]] = {}
    for photo in listing.photos:
        parts = photo.id.split("/")[:-1]
        if len(parts) > MAX_DEPTH:
            continue
        for depth in range(len(parts)):
            whole.setdefault("/".join(parts[: depth + 1]), []).append(photo)
    ends: dict[str, list[str]] = {}
    for folder in whole:
        parts = folder.split("/")
        for start in range(1, len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(folder)
    return {end: whole[folders[0]] for end, folders in ends.items() if len(folders) == 1} | whole


def _ad(declared: str, cell: str, index: PhotoIndex, folders: Mapping[str, Sequence[Photo]]) -> Ad:
    found: dict[str, Photo] = {}
    missing: list[Rejected] = []
    names = dict.fromkeys(part.strip() for part in _BETWEEN.split(cell) if part.strip())
    for name in islice(names, MAX_NAMES):
        folder = folders.get(name.replace("\\", "/").strip("/"))
        photos = folder or index.find(name)
        if not photos:
            missing.append(Rejected(name, Reason.MISSING, "is not among the photos; add it"))
        elif folder is None and len(photos) > 1:
            told = some([photo.id for photo in photos])
            missing.append(Rejected(name, Reason.MISSING, f"names several photos ({told}); give the path of one"))
        else:
            found |= {photo.id: photo for photo in photos[: MAX_PHOTOS + 1]}  # one more tells that there are more
    kept = tuple(found.values())[:MAX_PHOTOS]
    missing += _left_out("name", len(names), MAX_NAMES) + _left_out("photo", len(found), MAX_PHOTOS)
    return Ad(declared, tuple(replace(photo, label=None) for photo in kept), tuple(missing))


def _left_out(what: str, there: int, most: int) -> list[Rejected]:
    sentence = f"more than {most} {what}s, the first {most} of which were looked at"
    return [Rejected(what, Reason.TOO_MANY, sentence)] if there > most else []
