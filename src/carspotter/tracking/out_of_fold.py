"""What the networks of a joined model answered, each on the photos that it did not train on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
    ids = tuple(dict.fromkeys((card.provenance.run_id, *card.provenance.also)))
    runs = store.each(ids)
    if strange := [run.id for run in runs if (run.dataset, run.classes) != (card.dataset, card.classes)]:
        raise TrackingError(f"run {strange[0][:8]} was trained on other photos or classes than the model says")
    if len(runs) != card.members:
        raise TrackingError(f"the model has {card.members} networks and names the runs of {len(runs)}; train it again")
    return mean_answers([store.answers(run) for run in ids])[0]


def mean_answers(answers: Sequence[HeldOut]) -> tuple[HeldOut, npt.NDArray[np.int64]]:
    """What networks said together of the photos that they did not train on: one per photo, or one of each division.

    Args:
        answers: of each fold, all of one division before those of the next. A photo whose copies have other labels may
            be held out in one division and always train in another; it is answered by fewer.

    Returns:
        The mean logits of every photo, and (N,) the first of `answers` that it is in: its fold.

    Raises:
        TrackingError: they know other labels of the same photo.
    """
    photos = tuple(dict.fromkeys(photo for one in answers for photo in one.ids))
    at = {photo: row for row, photo in enumerate(photos)}
    rows = np.array([at[photo] for one in answers for photo in one.ids], dtype=np.int64)
    labels = np.concatenate([one.labels for one in answers])
    logits = np.concatenate([one.logits for one in answers])
    first = np.unique(rows, return_index=True)[1]
    if (labels != labels[first][rows]).any():
        raise TrackingError("the runs know other labels of the same photos, so they are no folds of one set")
    total = np.zeros((len(photos), logits.shape[1]))
    np.add.at(total, rows, logits)
    parts = np.repeat(np.arange(len(answers), dtype=np.int64), [len(one.ids) for one in answers])
    mean = (total / np.bincount(rows)[:, None]).astype(np.float32)
    return HeldOut(photos, mean, labels[first], groups_of(photos, answers)), parts[first]
