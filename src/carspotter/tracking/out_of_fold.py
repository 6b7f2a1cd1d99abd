"""What the networks of a joined model answered, each on the photos that it did not train on."""

from __future__ import annotations

import numpy as np

from carspotter.errors import TrackingError
from carspotter.records import BundleCard, HeldOut
from carspotter.tracking.held_out import groups_of
from carspotter.tracking.runs import RunStore


def out_of_fold(store: RunStore, card: BundleCard) -> HeldOut:
    """The answers of all folds together.

    Args:
        store: that holds the runs.
        card: of a joined model.

    Raises:
        TrackingError: a run is not at hand, kept no answers or damaged ones, or does not belong to the model.
    """
    ids = (card.provenance.run_id, *card.provenance.also)
    runs = store.each(ids)
    if strange := [run.id for run in runs if (run.dataset, run.classes) != (card.dataset, card.classes)]:
        raise TrackingError(f"run {strange[0][:8]} was trained on other photos or classes than the model says")
    answers = [store.answers(run) for run in ids]
    photos = tuple(photo for one in answers for photo in one.ids)
    try:
        return HeldOut(
            photos,
            np.concatenate([one.logits for one in answers]),
            np.concatenate([one.labels for one in answers]),
            groups_of(photos, answers),
        )
    except ValueError:
        raise TrackingError("its runs answered the same photos, so they are no folds of one set") from None
