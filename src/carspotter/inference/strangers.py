"""Which photos show no model that a net was taught: measured against the photos that it was taught with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carspotter.errors import BundleError
from carspotter.evaluation.sphere import unit
from carspotter.evaluation.unknown import Floats, neighbour_distances
from carspotter.inference.reference import REFERENCE, Reference
from carspotter.records import Scores

Embeddings = npt.NDArray[np.float32]


class Strangers:
    """How strange photos are to a net, by the distance to what it remembers (`evaluation.unknown.knn`).

    Of several networks side by side each measures in its own part of an embedding, and the mean is taken.

    Args:
        reference: of the bundle.
        members: networks side by side.

    Raises:
        BundleError: the reference is empty, or its embeddings are not of so many networks.
    """

    def __init__(self, reference: Reference, members: int = 1) -> None:
        photos, dimensions = reference.embeddings.shape
        if not photos:
            raise BundleError(f"{REFERENCE}: the model remembers no photo that trained it; train again")
        if dimensions % members:
            raise BundleError(f"{REFERENCE}: {dimensions} numbers a photo are not of {members} networks; train again")
        self._known = [unit(part) for part in _parts(reference.embeddings.astype(np.float32), members)]

    def strangeness(self, scores: Scores) -> Floats:
        """(N,) how strange each photo is; higher is stranger."""
        parts = _parts(scores.embeddings, len(self._known))
        far = [neighbour_distances(known, unit(part)) for known, part in zip(self._known, parts, strict=True)]
        return np.asarray(np.mean(far, axis=0), np.float64)


def _parts(embeddings: Embeddings, members: int) -> list[Embeddings]:
    """(N, D) → one (N, D / members) each."""
    return [np.ascontiguousarray(part) for part in np.split(embeddings, members, axis=1)]
