"""One chunk of a manifest answered: what every engine of a batch does, whichever process it is in.

One rule says what an answer is. What the bytes of a photo gave is final. A photo that could not be had (`NOT_HAD`:
missing, out of reach, not allowed, …) gets a row with the reason too, and is asked for again whenever its part is made
again; where nothing but such photos comes, the fault is not theirs, and the batch stops instead of writing a part.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice

from carspotter.data.manifest import Manifest
from carspotter.data.patient import PatientReader
from carspotter.data.wording import brief
from carspotter.errors import BatchError, PhotoRefused, Reason
from carspotter.evaluation.answer import answer_rows
from carspotter.evaluation.parts import Parts
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress, silent
from carspotter.records import Answer, Dataset, Photo, Rejected, Remote
from carspotter.workers import in_order

FETCHERS = 16
"""Photos read at once. Assumption: of stores, at 50 ms each, they feed eight cores of 40 photos a second; and of a disk
that hangs, so many are waited for side by side."""
FETCHED = 32
"""Photos of a store answered at a time, while as many are read; of disks as many for each thread. Assumption: two cores
then idle for 3 % of the time at the ends; photos of 300 KB take 20 MB, the largest that are read 4 GB."""
HELD_BYTES = 256 * 2**20
"""Fewer are answered at a time where they have more bytes than this. Assumption: no more than a model takes, and 50
phone photos of 5 MB."""
IN_A_ROW = 32
"""Photos one after another that cannot be had, which stop a batch. Assumption: no ad has as many, and a store that
hangs is noticed within the attempts of two rounds of `FETCHERS`, some three minutes, a disk within four."""

Ask = Callable[[Sequence[Photo]], Generator[Answer]]
"""One answer per photo, in their order."""


def make_part(ask: Ask, manifest: Manifest, parts: Parts, chunk: int, progress: Progress = silent) -> None:
    """Answer what a chunk has no final answers of, and put its part on disk.

    Args:
        ask: who answers.
        manifest: that was looked through.
        parts: where the answers go.
        chunk: its number.
        progress: told after every photo that was asked for.

    Raises:
        SourceError: the manifest cannot be read, the folder is not here, or the part cannot be written.
        BundleError: the network itself fails.
        BatchError: so many photos in a row cannot be had that the fault is not theirs.
    """
    parts.must_be_here()
    photos = manifest.read(chunk)
    rows = parts.final(chunk, [photo.id for photo in photos])
    asked = [photo for photo, row in zip(photos, rows, strict=True) if row is None]
    told: list[Answer] = []
    with closing(ask(asked)) as answers:
        # What is mended was let pass before: its photos do not stand in a row.
        for answer in answers if len(asked) < len(photos) else _some_had(answers, parts):
            told.append(answer)
            progress("photos", len(told), len(asked))
    fresh = iter(answer_rows(told)[1])
    parts.write(chunk, [next(fresh) if row is None else row for row in rows])


def answer_photos(
    predictor: Predictor, photos: Sequence[Photo], read: PatientReader, *, tta: int = 1, progress: Progress = silent
) -> Iterator[list[Answer]]:
    """One answer per photo, in their order, a few at a time; photos are read while others are answered.

    Args:
        predictor: the model.
        photos: with unique ids.
        read: gives their bytes, or up.
        tta: views per photo.
        progress: told whenever a photo is read or looked at, so that whoever waits knows that nothing hangs.
    """
    stored = any(isinstance(photo.where, Remote) for photo in photos)
    most = FETCHED if stored else FETCHED * predictor.threads
    with closing(in_order(partial(_fetch, read), photos, threads=FETCHERS, ahead=FETCHED)) as fetched:
        while some := _some(fetched, most, progress):
            yield list(_answered(predictor, some, tta, progress))


def _fetch(read: PatientReader, photo: Photo) -> Photo | Rejected:
    """The photo with its bytes."""
    try:
        return replace(photo, where=read(photo.where))
    except PhotoRefused as refused:
        return Rejected(photo.id, refused.reason, refused.sentence)


def _some(fetched: Iterator[Photo | Rejected], most: int, progress: Progress) -> list[Photo | Rejected]:
    """The next ones, as many as shall be in memory at once."""
    taken: list[Photo | Rejected] = []
    held = 0
    for one in islice(fetched, most):
        taken.append(one)
        progress("read", len(taken), most)
        held += len(one.where) if isinstance(one, Photo) and isinstance(one.where, bytes) else 0
        if held >= HELD_BYTES:
            break
    return taken


def _answered(predictor: Predictor, some: Sequence[Photo | Rejected], tta: int, progress: Progress) -> Iterator[Answer]:
    photos = tuple(one for one in some if isinstance(one, Photo))
    rejected = tuple(one for one in some if isinstance(one, Rejected))
    found = predictor.identify(Dataset(photos, rejected=rejected), tta=tta, progress=progress)
    answers = {answer.id: answer for answer in found}
    return (answers[one.id] for one in some)


def _some_had(answers: Iterable[Answer], parts: Parts) -> Iterator[Answer]:
    """The answers, or rather a stop than a part in which little stands but that a disk or a network is away."""
    most, row = min(IN_A_ROW, parts.batch.chunk_rows), 0
    for answer in answers:
        row = row + 1 if answer.code in parts.again else 0
        if row == most:
            cure = "; if they are gone for good, add --gone" if answer.code is Reason.MISSING else ""
            raise BatchError(
                f"{most} photos in a row up to {brief(answer.id)} could not be had ({answer.code}: {answer.reason}); "
                f"what is answered stays, the same command goes on{cure}"
            )
        yield answer
