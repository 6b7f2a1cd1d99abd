"""Which photos show no model that a net was taught: measured against the photos that it was taught with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carspotter.data.wording import brief
from carspotter.errors import BundleError
from carspotter.evaluation.sphere import unit
from carspotter.evaluation.unknown import DETECTORS, Floats, Known
from carspotter.inference.reference import Reference
from carspotter.records import BundleCard, Scores


class Strangers:
    """How strange photos are to a net, by the detector that its card names.

    Args:
        reference: of the bundle.
        card: of the bundle.

    Raises:
        BundleError: the card names a detector that this version does not know, or the reference is empty.
    """

    def __init__(self, reference: Reference, card: BundleCard, detector: str) -> None:
        if detector not in DETECTORS:
            raise BundleError(f"the card names the detector {brief(detector)}, which this version lacks; train again")
        if not len(reference.labels):
            raise BundleError("the model remembers no photo that trained it; train again")
        self._measure = DETECTORS[detector]
        self._members = card.members if card.join == "mean" else 1
        self._known = Known(self._even(reference.embeddings), reference.labels.astype(np.int64))

    def strangeness(self, scores: Scores) -> Floats:
        """(N,) how strange each photo is; higher is stranger."""
        return self._measure(self._known, self._even(scores.embeddings), np.asarray(scores.logits, np.float64))

    def _even(self, embeddings: npt.NDArray[np.floating]) -> Floats:
        """(N, D) in which each of several networks side by side has the same say."""
        wide = np.asarray(embeddings, np.float64)
        if self._members == 1:
            return wide
        parts = np.split(wide, self._members, axis=1)
        return np.asarray(np.concatenate([unit(part) for part in parts], axis=1))
