"""Each photo's bytes are read and decoded once before anything is trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from carspotter.data.alike import THUMB
from carspotter.data.photo import decode, read_bytes
from carspotter.errors import MissingExtra, PhotoRefused
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Photo, Rejected
from carspotter.workers import in_order, usable_cores

AT_LEAST = (64, 64)
"""Height and width of the decode that hash and thumb are taken from; they work on 32 and 48 pixels. Measured: hashes
from a draft of this size find the same copies as those from the whole photo, 2.6 times as fast."""
WAITING_PER_WORKER = 4
"""Photos handed out ahead of the slowest one, so that a large set is never in memory (assumption)."""


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What one look at a photo tells.

    Attributes:
        id: the photo's id.
        digest: sha256 of its bytes, hex.
        height: rows of the upright original, pixels.
        width: columns of the upright original, pixels.
        format: as the decoder names it: "JPEG", "PNG", …
        hash: 64-bit perceptual hash; few bits differ between near copies.
        mirror_hash: the same of the photo's mirror image.
        thumb: the photo as a grey square, THUMB × THUMB bytes, for the comparison in detail.
        notes: the decoder's.
    """

    id: str
    digest: str
    height: int
    width: int
    format: str
    hash: int
    mirror_hash: int
    thumb: bytes = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """A set that was looked at.

    Attributes:
        dataset: digests filled in; refused photos moved to `dataset.rejected`.
        facts: one per photo of `dataset.photos`, same order.
    """

    dataset: Dataset
    facts: tuple[PhotoFacts, ...]


def scan(dataset: Dataset, *, workers: int = 0, progress: Progress = silent) -> Scan:
    """Read and decode every photo.

    Args:
        dataset: from any source.
        workers: threads; 0: one per core that this process may use (decoding lets other threads run).
        progress: called with ("photos", done, total).

    Raises:
        MissingExtra: the hashes need `carspotter[train]`.
    """
    look = _looker()
    threads = workers or usable_cores()
    found: list[PhotoFacts | Rejected] = []
    with closing(in_order(look, dataset.photos, threads=threads, ahead=threads * WAITING_PER_WORKER)) as results:
        for result in results:
            found.append(result)
            progress("photos", len(found), len(dataset.photos))
    facts = tuple(result for result in found if isinstance(result, PhotoFacts))
    refused = tuple(result for result in found if isinstance(result, Rejected))
    kept = tuple(
        replace(photo, digest=result.digest)
        for photo, result in zip(dataset.photos, found, strict=True)
        if isinstance(result, PhotoFacts)
    )
    return Scan(replace(dataset, photos=kept, rejected=(*dataset.rejected, *refused)), facts)


def _looker() -> Callable[[Photo], PhotoFacts | Rejected]:
    try:
        import imagehash
    except ImportError:
        raise MissingExtra("looking for near copies", "train") from None

    def phash(image: Image.Image) -> int:
        return bits_to_int(imagehash.phash(image).hash)

    def look(photo: Photo) -> PhotoFacts | Rejected:
        try:
            data = read_bytes(photo.where)
            seen = decode(data, at_least=AT_LEAST)
        except PhotoRefused as fault:
            return Rejected(photo.id, fault.reason, fault.sentence)
        image = Image.fromarray(seen.pixels).convert("L")
        mirror = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return PhotoFacts(
            id=photo.id,
            digest=hashlib.sha256(data).hexdigest(),
            height=seen.height,
            width=seen.width,
            format=seen.format,
            hash=phash(image),
            mirror_hash=phash(mirror),
            thumb=image.resize((THUMB, THUMB), Image.Resampling.BOX).tobytes(),
            notes=seen.notes,
        )

    return look


def bits_to_int(bits: Any) -> int:
    """64 booleans as one number, the first being the highest bit."""
    return int.from_bytes(np.packbits(np.asarray(bits, dtype=bool).reshape(-1)).tobytes(), "big")
