"""What a card says of its net, said anew of one that takes its place: an export answers a little differently."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import scan
from carspotter.evaluation.calibration import calibrate, parts_of
from carspotter.evaluation.metrics import evaluate
from carspotter.evaluation.unknown import SHIPPED, strangeness_bound
from carspotter.inference.reference import Reference
from carspotter.inference.strangers import Strangers
from carspotter.records import BundleCard, Calibration, Dataset, Scores
from carspotter.training.memory import REFUSED


def restate(card: BundleCard, reference: Reference | None, scores: Scores, held_out: Dataset) -> BundleCard:
    """The card with the figures, the temperature and the bounds of another net on the photos that the first held out.

    Args:
        card: of the first net.
        reference: that the bundle keeps; the other net's photos are compared with it.
        scores: of the other net, of one photo or more.
        held_out: holds these photos, with labels that the card knows.
    """
    labels = _labels(card, scores, held_out)
    calibration = calibrate(scores.logits, labels, parts_of(_groups(scores, held_out)), wrong=card.recipe.wrong_cost)
    if calibration is not None and reference is not None:
        calibration = _bounded(calibration, card.calibration, reference, scores)
    return card.model_copy(
        update={
            "evaluation": evaluate(scores, labels, card.classes),
            "calibration": calibration,
            "provenance": card.provenance.model_copy(update={"parity": None}),  # it was another net's
        }
    )


def _labels(card: BundleCard, scores: Scores, held_out: Dataset) -> npt.NDArray[np.int64]:
    label = {photo.id: card.classes.index(str(photo.label)) for photo in held_out.photos}
    return np.array([label[photo] for photo in scores.ids], np.int64)


def _groups(scores: Scores, held_out: Dataset) -> npt.NDArray[np.int64]:
    """(N,) near-copy group of each scored photo: a temperature is not judged on copies of what fitted it."""
    facts = scan(held_out).facts
    group = dict(zip((one.id for one in facts), near_duplicates(facts).tolist(), strict=True))
    return np.array([group[photo] for photo in scores.ids], np.int64)


def _bounded(fresh: Calibration, before: Calibration | None, reference: Reference, scores: Scores) -> Calibration:
    """With a bound for strangers, where the first net had one; whether a vehicle is seen is another net's matter."""
    if before is None or before.strange_at is None:
        return fresh
    strange_at = strangeness_bound(Strangers(reference).strangeness(scores), REFUSED)
    if not np.isfinite(strange_at):
        return fresh
    return fresh.model_copy(
        update={"detector": SHIPPED, "strange_at": strange_at, "refused": REFUSED, "no_car_at": before.no_car_at}
    )
