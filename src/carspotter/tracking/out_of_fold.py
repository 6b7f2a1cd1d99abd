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
        raise TrackingError(f"the model names {len(runs)} runs and has {card.members} networks")
    try:
        return pooled([store.answers(run) for run in ids])[0]
    except ValueError as fault:
        raise TrackingError(f"its runs are not the folds of one set: {fault}") from None


def pooled(answers: Sequence[HeldOut]) -> tuple[HeldOut, npt.NDArray[np.int64]]:
    """The answers of all folds as those of one model. Of several divisions, each photo's are averaged.

    Args:
        answers: of each fold, all of one division before those of the next.

    Returns:
        The mean logits of every photo, and (N,) its fold in the first division.

    Raises:
        ValueError: some photos were answered more often than others, or with other labels.
    """
    photos = tuple(dict.fromkeys(photo for one in answers for photo in one.ids))
    at = {photo: row for row, photo in enumerate(photos)}
    rows = np.array([at[photo] for one in answers for photo in one.ids], dtype=np.int64)
    labels = np.concatenate([one.labels for one in answers])
    logits = np.concatenate([one.logits for one in answers]).astype(np.float64)
    times = np.bincount(rows)
    if np.ptp(times):
        raise ValueError(f"some photos have {times.min()} answers and others {times.max()}")
    first = np.unique(rows, return_index=True)[1]
    if (labels != labels[first][rows]).any():
        raise ValueError("they know other labels of the same photos")
    total = np.zeros((len(photos), logits.shape[1]))
    np.add.at(total, rows, logits)
    parts = np.repeat(np.arange(len(answers), dtype=np.int64), [len(one.ids) for one in answers])
    mean = (total / times[:, None]).astype(np.float32)
    return HeldOut(photos, mean, labels[first], groups_of(photos, answers)), parts[first]
