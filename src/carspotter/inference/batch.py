"""One chunk of a manifest answered: what every engine of a batch does, whichever process it is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from carspotter.data.manifest import Manifest
from carspotter.data.photo import read_bytes
from carspotter.data.remote import PASSING
from carspotter.errors import BatchError, PhotoRefused
from carspotter.evaluation.parts import Counts, Parts
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress, silent
from carspotter.records import Answer, Dataset, Photo, Rejected, Remote
from carspotter.workers import in_order

FETCHERS = 16
"""Photos fetched from stores at once. Assumption: at 50 ms each they feed eight cores of 40 photos a second."""
FETCHED = 32
"""Photos answered at a time while as many are fetched. Assumption: two cores then idle for 3 % of the time at the ends;
photos of 300 KB take 20 MB, the largest that are read 4 GB."""


def make_part(
    predictor: Predictor, manifest: Manifest, parts: Parts, chunk: int, progress: Progress = silent
) -> Counts:
    """Answer a chunk and put its part on disk.

    Raises:
        SourceError: the manifest cannot be read, or the part not be written.
        BundleError: the network itself fails.
        BatchError: every photo of the chunk is out of reach: the network is gone, not the photos.
    """
    photos = manifest.read(chunk)
    answers = answer_photos(predictor, photos, tta=parts.batch.tta, progress=progress)
    _refuse_cut_off(photos, answers)
    return parts.write(chunk, answers)


def answer_photos(
    predictor: Predictor, photos: Sequence[Photo], *, tta: int = 1, progress: Progress = silent
) -> list[Answer]:
    """One answer per photo, in their order; photos in stores are fetched while others are answered.

    Args:
        predictor: the model.
        photos: with unique ids.
        tta: views per photo.
        progress: told after every photo.
    """
    if not any(isinstance(photo.where, Remote) for photo in photos):
        return list(predictor.identify(Dataset(tuple(photos)), tta=tta, progress=progress))
    answers: list[Answer] = []
    with closing(in_order(_fetch, photos, threads=FETCHERS, ahead=FETCHED)) as fetched:
        while some := list(islice(fetched, FETCHED)):
            answers += _answered(predictor, some, tta)
            progress("photos", len(answers), len(photos))
    return answers


def _fetch(photo: Photo) -> Photo | Rejected:
    """The photo with its bytes, when a store has them; one on a disk as it is."""
    if not isinstance(photo.where, Remote):
        return photo
    try:
        return replace(photo, where=read_bytes(photo.where))
    except PhotoRefused as refused:
        return Rejected(photo.id, refused.reason, refused.sentence)


def _answered(predictor: Predictor, some: Sequence[Photo | Rejected], tta: int) -> Iterator[Answer]:
    photos = tuple(one for one in some if isinstance(one, Photo))
    rejected = tuple(one for one in some if isinstance(one, Rejected))
    answers = {answer.id: answer for answer in predictor.identify(Dataset(photos, rejected=rejected), tta=tta)}
    return (answers[one.id] for one in some)


def _refuse_cut_off(photos: Sequence[Photo], answers: Sequence[Answer]) -> None:
    """Rather stop than write a part in which nothing but the network's absence stands."""
    asked = [answer for photo, answer in zip(photos, answers, strict=True) if isinstance(photo.where, Remote)]
    if len(asked) == len(photos) and all(answer.code in PASSING for answer in asked):
        first = next(iter(asked))
        raise BatchError(
            f"none of {len(asked):,} photos from {first.id!r} on can be reached: {first.reason}; what is answered "
            "stays, the same command goes on"
        )
