"""A trained model that helps to train another: it labels photos, or says how alike the classes are in each.

Pseudo-labels: D.-H. Lee, "Pseudo-label", 2013. Distillation: G. Hinton et al., "Distilling the knowledge in a neural
network", 2015; what the teacher says is asked once, of the plain photo, and mixed into the target (as H. Bagherinezhad
et al., "Label refinery", 2018, mix it anew for each view).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.errors import SourceError, TrackingError
from carspotter.evaluation.calibration import FEWEST
from carspotter.evaluation.metrics import softmax
from carspotter.inference.predictor import load
from carspotter.progress import Progress, silent
from carspotter.records import BundleCard, Dataset, Scores, Split, Verdict
from carspotter.tracking.held_out import validation_hash
from carspotter.tracking.runs import open_store
from carspotter.training.survey import TTA, Survey


class Teacher:
    """A model that has the classes of the coming training, and held out the same photos.

    Args:
        folder: of the model.
        dataset: scanned, of the coming training.
        divided: which of its photos train.
        survey: what the model says of the one pool that is to be labelled; None: it is loaded, and asked here.
        cache: of decoded photos.
        progress: told about photos.

    Raises:
        SourceError: the model has other classes, or may have learned from photos that validate here.
        BundleError: the folder is damaged.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Dataset,
        divided: Split,
        *,
        survey: Survey | None = None,
        cache: PhotoCache | None = None,
        progress: Progress = silent,
    ) -> None:
        self._predictor = load(folder) if survey is None else survey.predictor
        self._survey = survey
        self._classes, self._codes = dataset.classes, dataset.codes
        self._cache, self._progress = cache, progress
        _must_fit(self.card, folder, dataset, divided)

    @property
    def card(self) -> BundleCard:
        """Of the model."""
        return self._predictor.card

    @property
    def title(self) -> str:
        """Its name, which model that was, and photos that taught it from outside."""
        outside = f", itself trained with {'; '.join(self.card.outside)}" if self.card.outside else ""
        return f"{self.card.name} ({self.card.hash[:12]}{outside})"

    def labels(self, pool: Dataset, bar: float) -> Dataset:
        """The photos of a pool that the teacher names with at least the probability `bar`, labelled as it says.

        A pool holds models that it does not know, and it is sure of some of them too: those that are strangers to it
        are left out, others slip through, so what pseudo-labels do must be measured each time. Labels that the photos
        have are not looked at.

        Raises:
            SourceError: the teacher is not calibrated, so that a bar on what it gives would say nothing.
        """
        if self.card.calibration is None:
            raise SourceError(
                f"{self.title} is not calibrated: fewer than {FEWEST} photos were held out when it was trained, so "
                "that no bar can be set; train it with more photos, or hold more of them out (--set split.share=0.3)"
            )
        scores, strangers = self._heard(pool)
        shares = shares_of(scores, self.card)
        named = {
            photo_id: self._classes[int(best)]
            for photo_id, best, share in zip(scores.ids, shares.argmax(1), shares.max(1), strict=True)
            if share >= bar and photo_id not in strangers
        }
        photos = tuple(replace(photo, label=named[photo.id]) for photo in pool.photos if photo.id in named)
        return replace(
            pool,
            photos=photos,
            classes=self._classes,
            codes=self._codes,
            rejected=scores.rejected,
            origin=f"{pool.origin}, labelled by {self.title} where it gives {bar:.2f} or more ({len(photos)} of "
            f"{len(pool.photos)} photos, {np.mean(shares.max(1)) if len(shares) else 0:.2f} on average; "
            f"{len(strangers)} show nothing that it knows)",
        )

    def says(self, photos: Dataset, temperature: float) -> npt.NDArray[np.float32]:
        """What it thinks of each photo: (N, K) probabilities of the classes.

        Args:
            photos: in any order.
            temperature: logits are divided by it; above 1, more is told of the classes that a photo does not show.

        Raises:
            SourceError: a photo can no longer be read.
        """
        scores = self._scores(replace(photos, rejected=()))
        if scores.rejected:
            raise SourceError(f"the teacher cannot read {scores.rejected[0].id}: {scores.rejected[0].sentence}")
        return softmax(scores.logits / temperature).astype(np.float32)

    def _heard(self, pool: Dataset) -> tuple[Scores, Mapping[str, Verdict]]:
        """What it says of a pool, and which photos show nothing that it knows."""
        if self._survey is not None:
            return self._survey.scores, self._survey.strangers
        scores = self._scores(pool)
        return scores, self._predictor.strangers(pool, scores)

    def _scores(self, photos: Dataset) -> Scores:
        return self._predictor.scores(photos, tta=TTA, cache=self._cache, progress=self._progress)


def shares_of(scores: Scores, card: BundleCard) -> npt.NDArray[np.float64]:
    """(N, K) probabilities, calibrated where the model is."""
    temperature = 1.0 if card.calibration is None else card.calibration.temperature
    return softmax(np.asarray(scores.logits, np.float64) / temperature)


def _must_fit(card: BundleCard, teacher: Path, dataset: Dataset, divided: Split) -> None:
    if card.classes != dataset.classes:
        raise SourceError(
            f"{teacher} knows {len(card.classes)} classes ({', '.join(card.classes[:3])}, …) and {dataset.origin} has "
            f"{len(dataset.classes)} ({', '.join(dataset.classes[:3])}, …); a teacher needs the same"
        )
    ours = validation_hash(dataset, divided)
    if ours is None:
        return  # nothing validates, so nothing could be known beforehand
    if card.members > 1:
        raise SourceError(
            f"{teacher} holds what the networks of every fold learned, so each photo that validates here trained it"
        )
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
