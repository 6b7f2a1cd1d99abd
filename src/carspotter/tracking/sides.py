"""What is compared: one run, or the several runs of one recipe taken together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from carspotter.errors import TrackingError
from carspotter.evaluation.metrics import best_first
from carspotter.evaluation.paired import Paired, pair
from carspotter.records import HeldOut, Run
from carspotter.tracking.held_out import groups_of

if TYPE_CHECKING:
    from carspotter.tracking.runs import RunStore

FOLD = re.compile(r"^fold \d+ of (\d+)")
"""How the sentence of a split into folds begins."""
SHORT = 8  # characters of an id or hash: enough among thousands of runs


@dataclass(frozen=True, slots=True)
class Side:
    """One run, or folds and seeds of one recipe.

    Attributes:
        runs: at least one.
        answers: held-out answers of each run, same order; empty where a run has none.
    """

    runs: tuple[Run, ...]
    answers: tuple[HeldOut, ...] = ()

    @property
    def title(self) -> str:
        """Recipe, first id, and how many more runs: `fast 1a2b3c4d +2`."""
        more = f" +{len(self.runs) - 1}" if len(self.runs) > 1 else ""
        return f"{self.runs[0].name} {self.runs[0].id[:SHORT]}{more}"

    @property
    def validations(self) -> frozenset[str | None]:
        """The validation sets its figures come from."""
        return frozenset(run.validation for run in self.runs)

    @property
    def repeated(self) -> bool:
        """Whether some of its runs validated on the same photos, so that they show how far seeds move a figure."""
        return len(self.validations) < len(self.runs)

    @property
    def folds(self) -> bool:
        """Whether its runs validated on parts of one set, no photo twice."""
        if len(self.runs) < 2:
            return False
        if self.answers:
            ids = [photo for kept in self.answers for photo in kept.ids]
            return len(set(ids)) == len(ids)
        return len(self.validations) == len(self.runs) and len({division(run) for run in self.runs}) == 1


def division(run: Run) -> tuple[object, ...]:
    """What runs have in common whose validation photos are folds of one division; every other run has its own.

    The last part is the stored split's own sentence without the fold: near copies that were grouped in another way make
    another division of the same settings.
    """
    split = run.recipe.split
    if split.method != "folds" or run.imported is not None:
        return (run.id,)
    return (run.dataset, split.folds, run.recipe.split_seed, FOLD.sub(r"\1 folds", run.split))


@dataclass(frozen=True, slots=True)
class Match:
    """Two sides on the photos that both answered.

    Attributes:
        paired: what those photos say; None where there is no such photo.
        remark: empty, or how the photos were matched where that is not plain.
    """

    paired: Paired | None
    remark: str = ""


def read_sides(store: RunStore, words: Sequence[str]) -> tuple[tuple[Side, ...], tuple[str, ...]]:
    """Sides from the command line: ids, several of one side joined by commas.

    Returns:
        The sides, and a sentence for each damaged file of answers.

    Raises:
        TrackingError: a run does not exist, or a word is empty between its commas.
    """
    wanted = [word.split(",") for word in words]
    if any(not part for parts in wanted for part in parts):
        raise TrackingError(f"an id is missing beside a comma in {list(words)}; write a1,a2 without spaces")
    named = iter(store.each(part for parts in wanted for part in parts))
    runs = [tuple(islice(named, len(parts))) for parts in wanted]
    answers, damaged = store.kept_answers([run for side in runs for run in side])
    return tuple(make_side(side, answers) for side in runs), damaged


def make_side(runs: Sequence[Run], answers: Mapping[str, HeldOut]) -> Side:
    """A side of these runs; it has answers only where every run has."""
    whole = all(run.id in answers for run in runs)
    return Side(tuple(runs), tuple(answers[run.id] for run in runs) if whole else ())


def match(a: Side, b: Side) -> Match:
    """Pair two sides, photo by photo; both must have answers.

    A photo counts where both sides answered it and every answer was judged by the same label.
    """
    truth_a, truth_b = _truth(a), _truth(b)
    common = sorted(photo for photo, label in truth_a.items() if label is not None and truth_b.get(photo) == label)
    if not common:
        return Match(None, "no photo was answered by both")
    number = {photo: i for i, photo in enumerate(common)}
    paired = pair(*_right(a, number), *_right(b, number), groups_of(common, (*a.answers, *b.answers)))
    return Match(paired, _remark(a, b, (len(common), len(truth_a), len(truth_b))))


def _truth(side: Side) -> dict[str, str | None]:
    """Class name of each photo; None where the runs of a side were judged by different labels."""
    found: dict[str, str | None] = {}
    for run, kept in zip(side.runs, side.answers, strict=True):
        for photo, label in zip(kept.ids, kept.labels, strict=True):
            name = run.classes[int(label)]
            found[photo] = name if found.get(photo, name) == name else None
    return found


def _right(side: Side, number: dict[str, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Photo number and rightness of every answer to one of these photos."""
    photos, right = [], []
    for kept in side.answers:
        hits = best_first(kept.logits, 1)[:, 0] == kept.labels
        photos += [number[photo] for photo in kept.ids if photo in number]
        right += [bool(hit) for photo, hit in zip(kept.ids, hits, strict=True) if photo in number]
    return np.array(photos, dtype=np.int64), np.array(right, dtype=np.bool_)


def _remark(a: Side, b: Side, photos: tuple[int, int, int]) -> str:
    common, of_a, of_b = photos
    if a.validations == b.validations:
        return ""
    remark = f"Not the same validation photos: of {of_a} and {of_b}, the {common} that both answered count"
    if {run.dataset for run in a.runs} != {run.dataset for run in b.runs}:
        remark += ", matched by id and label, because the data are not the same"
    return f"{remark}."
