"""Labels that may be wrong and classes that overlap, judged by what never saw the label in question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from carspotter.data.split import TRAINS, most_folds, split, together
from carspotter.data.wording import count
from carspotter.errors import SourceError
from carspotter.evaluation.label_faults import LabelFaults, blend, label_faults, log_loss, out_of_fold, overlaps, vote
from carspotter.evaluation.near import Floats, Index, Near
from carspotter.records import Dataset, Finding, Kind
from carspotter.training.embeddings import Embedded

FOLDS = 5
"""Fewer where a set has fewer photos that are no copies of each other and of other ads."""

Findings = tuple[list[Finding], tuple[str, ...]]
"""What was found, and notes on it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """What the net that knows the classes best says of photos of which it was not shown the label.

    Attributes:
        net: its name.
        photos: (H,) positions; those that always fit are not judged.
        said: (H, K) probabilities.
        blocks: (H,) equal for what no fold parts: copies, and photos of one ad.
        folds: in which the set was divided.
    """

    net: str
    photos: Index
    said: Floats
    blocks: Index
    folds: int


def label_findings(
    dataset: Dataset,
    embedded: Sequence[Embedded],
    nears: Sequence[Near],
    groups: Index,
    spoiled: Mapping[str, str],
) -> Findings:
    """Judge every label, and every pair of classes.

    Args:
        dataset: as scanned.
        embedded: its photos, as each net sees them.
        nears: their neighbours, as each net sees them.
        groups: (N,) copy group of each photo.
        spoiled: id → what is wrong with a photo, so that nobody can read its label off it.
    """
    if len(dataset.classes) < 2 or (dataset.labels < 0).any():
        return [], ("labels were not judged: every photo must have one, and there must be two classes",)
    try:
        verdict = _judge(dataset, embedded, nears, groups)
    except SourceError as fault:
        return [], (f"labels were not judged: {fault.problems[0]}",)
    labels = dataset.labels[verdict.photos]
    illegible = np.array([dataset.photos[at].id in spoiled for at in verdict.photos.tolist()], np.bool_)
    faults = label_faults(verdict.said, labels, illegible)
    right = float((verdict.said.argmax(axis=1) == labels).mean())
    note = (
        f"labels were judged by {verdict.net}: linear heads fitted on other photos and the labels of the nearest ones, "
        f"taken together, name {right:.0%} of the photos as they are labelled"
    )
    note += f"; {_how_many(faults)}"
    if verdict.folds < FOLDS:
        note += f"; in {verdict.folds} folds, as so few photos can be held out: take it for a hint"
    return [*_faults(dataset, verdict, faults, spoiled), *_overlaps(dataset, verdict, labels)], (note,)


def _how_many(faults: LabelFaults) -> str:
    number, chance = int(faults.is_issue.sum()), faults.right_after_all
    if not number:
        return "no label looks wrong"
    looks = "looks" if number == 1 else "look"
    return f"{count(number, 'label')} {looks} wrong, and chance alone would make {chance:.{int(chance < 1)}f} look so"


def _judge(dataset: Dataset, embedded: Sequence[Embedded], nears: Sequence[Near], groups: Index) -> _Verdict:
    """Raises SourceError where the set cannot be divided."""
    labels, classes = dataset.labels, len(dataset.classes)
    number = max(2, min(FOLDS, most_folds(dataset, groups)))
    parts = split(dataset, groups, method="folds", folds=number, seed=0).folds
    folds = np.array([parts[photo.id] for photo in dataset.photos])
    held = np.flatnonzero(folds != TRAINS)
    blocks, verdicts = together(dataset.photos, groups), []
    for one, near in zip(embedded, nears, strict=True):
        said = blend(out_of_fold(one.views, labels, folds, classes), vote(near, labels, blocks, classes))
        verdicts.append(_Verdict(one.net, held, said[held], blocks[held], number))
    return min(verdicts, key=lambda verdict: log_loss(verdict.said, labels[held]))


def _faults(dataset: Dataset, verdict: _Verdict, faults: LabelFaults, spoiled: Mapping[str, str]) -> list[Finding]:
    found = []
    for row, at in enumerate(verdict.photos.tolist()):
        photo, guess = dataset.photos[at], int(faults.guess[row])
        why = f"other photos, by heads and as neighbours, say {dataset.classes[guess]} {faults.likely[row]:.2f}, "
        why += f"{photo.label} {faults.given[row]:.2f}"
        why += f"; the photo is {spoiled[photo.id]}, so this says little" if photo.id in spoiled else ""
        issue, score = bool(faults.is_issue[row]), float(faults.score[row])
        found.append(Finding(photo.id, Kind.LABEL_ERROR, score, issue, why, dataset.classes[guess]))
    return found


def _overlaps(dataset: Dataset, verdict: _Verdict, labels: Index) -> list[Finding]:
    found = []
    for pair in overlaps(verdict.said, labels, verdict.blocks):
        why = f"{pair.mistaken} of the {pair.photos} photos of both are taken for the other"
        first, second = dataset.classes[pair.first], dataset.classes[pair.second]
        found.append(Finding(first, Kind.CLASS_OVERLAP, pair.score, pair.is_issue, why, second))
    return found
