"""The training photos that a net finds nearest to one, with their pictures, and those that it has seen before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.errors import PhotoRefused
from carspotter.evaluation.sphere import distances, squared_distances, unit
from carspotter.evaluation.unknown import CHUNK
from carspotter.inference.predictor import Predictor
from carspotter.inference.reference import Neighbour, Reference, nearest
from carspotter.records import Photo, Pixels

SAME_PHOTO = 0.1
"""Largest distance between what the net makes of a training photo and what the reference remembers that is rounding.
Half precision makes it 0.001; other processors and decoders more (assumption). Measured on the contest: the nearest two
different photos lie 0.35 apart."""
ROUNDING = 0.002
"""Twice what half precision makes it at most."""
LOOKED_AT = 500
"""Remembered photos that tell how near different ones are to a net; their median is then known within a few percent."""

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A neighbour with its picture.

    Attributes:
        neighbour: which photo, how near.
        pixels: (H, W, 3); None where there is no picture.
        why: why there is none; empty where there is one.
    """

    neighbour: Neighbour
    pixels: Pixels | None
    why: str = ""


def find_neighbours(
    predictor: Predictor,
    reference: Reference,
    photos: Mapping[str, Photo],
    embedding: Embeddings,
    label: int,
    k: int,
) -> tuple[Shown, ...]:
    """The training photos of one class that are nearest to a photo, nearest first.

    A picture is shown only if the net makes of it what the reference remembers: a name like `1.jpg` is in many folders.

    Args:
        predictor: the net.
        reference: of its bundle.
        photos: by id, where training photos may be found; empty shows none.
        embedding: (D,) of the photo in question.
        label: class index.
        k: how many at most.

    Raises:
        BundleError: the network itself fails.
    """
    return tuple(_show(predictor, reference, photos, one) for one in nearest(reference, embedding, label, k))


def recall(predictor: Predictor, reference: Reference, photo: Photo) -> Pixels | None:
    """The pixels of a training photo; None where the net makes something else of them than the reference remembers.

    Args:
        predictor: the net.
        reference: of its bundle; it holds the photo's id.
        photo: under that id.

    Raises:
        PhotoRefused: it cannot be read or decoded.
        BundleError: the network itself fails.
    """
    pixels = predictor.decoded(photo)
    remembered = reference.embeddings[reference.ids.index(photo.id)].astype(np.float32)
    seen = predictor.outputs(predictor.view(pixels)).embeddings
    return pixels if distances(seen, remembered)[0] <= SAME_PHOTO else None


def taught_with(reference: Reference, embeddings: Embeddings) -> npt.NDArray[np.bool_]:
    """(N,) whether a model was taught with each photo, whatever the photo is called.

    Args:
        reference: of the model.
        embeddings: (N, D) of plain photos through the same net.
    """
    known = unit(reference.embeddings.astype(np.float32))
    return _nearest(unit(embeddings), known) <= _same_photo(known)


def _same_photo(known: Embeddings) -> float:
    """`SAME_PHOTO`, or less for a net that hardly tells photos apart: half the way between different ones."""
    some = np.sort(np.random.default_rng(0).permutation(len(known))[:LOOKED_AT])
    apart = _nearest(known[some], known, but=some)
    return float(np.clip(np.median(apart) / 2, ROUNDING, SAME_PHOTO)) if len(known) > 1 else SAME_PHOTO


def _nearest(
    rows: Embeddings, known: Embeddings, *, but: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """(N,) distance of each row to the nearest known one, which is not the one at `but`; all of length 1."""
    found, step = np.empty(len(rows), np.float32), max(1, CHUNK // max(1, len(known)))
    for at in range(0, len(rows), step):
        squares = squared_distances(rows[at : at + step], known)
        if but is not None:
            squares[np.arange(len(squares)), but[at : at + step]] = np.inf
        found[at : at + step] = np.sqrt(squares.min(1, initial=np.inf))
    return found


def _show(predictor: Predictor, reference: Reference, photos: Mapping[str, Photo], one: Neighbour) -> Shown:
    if one.id not in photos:
        return Shown(one, None, "not among --photos" if photos else "")
    try:
        pixels = recall(predictor, reference, photos[one.id])
    except PhotoRefused as refused:
        return Shown(one, None, str(refused.reason))
    return Shown(one, pixels, "another photo has its name" if pixels is None else "")
