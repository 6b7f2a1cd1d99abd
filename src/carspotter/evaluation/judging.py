"""Everything that a model's answers on labelled photos tell about it: figures, calibration, refusals, confusions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.answer import NOBODY, UNTOLD, answer
from carspotter.evaluation.by_value import Masks
from carspotter.evaluation.metrics import evaluate, log_losses, softmax
from carspotter.evaluation.reliability import (
    Bin,
    calibration_error,
    calibration_p,
    errors_removed,
    reliability,
    risk_coverage,
)
from carspotter.evaluation.shares import between, bootstrap, share
from carspotter.records import Answer, Calibration, Evaluation, Figure, Rejected, Scores, Verdict

REFUSED = 0.2
"""Share of photos, the least sure ones, whose refusal is looked at: what a dealer can still look at by hand."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Photos of one class that were taken for another.

    Attributes:
        truth: what they are.
        answered: what was said.
        photos: their positions, the surest mistakes first.
        of: how many photos the true class has.
    """

    truth: str
    answered: str
    photos: tuple[int, ...]
    of: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Photos of one kind.

    Attributes:
        name: the kind.
        accuracy: on them.
        rest: accuracy on all others, None where there are none.
    """

    name: str
    accuracy: Figure
    rest: Figure | None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A model on N labelled photos.

    Attributes:
        ids: N photo ids.
        classes: K names.
        truth: (N,) class indices.
        answers: one per photo, as `predict` gives them.
        probabilities: (N, K) calibrated where the model is.
        evaluation: accuracy, top-3, per class, confusion table; its log loss is of the plain softmax.
        log_loss: of `probabilities`, as `Evaluation` has it.
        macro: precision, recall and F1, each the mean over the classes.
        bins: calibration curve.
        error: calibration error, 0 is best.
        error_p: how often perfect calibration would look as bad.
        coverage: (N,) share of photos answered, the surest first.
        risk: (N,) share of wrong answers among them.
        removed: share of all errors among the least sure `REFUSED` of the photos.
        groups: (N,) equal for photos that belong together, which every interval takes as one.
        confusions: pairs of classes, the most frequent first.
        slices: kinds of photos.
        rejected: photos that could not be used.
        columns: name of a column of the photos' table → photos by its values.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: Ints
    answers: tuple[Answer, ...]
    probabilities: Floats
    evaluation: Evaluation
    log_loss: float
    macro: Mapping[str, Figure]
    bins: tuple[Bin, ...]
    error: Figure
    error_p: float
    coverage: Floats
    risk: Floats
    removed: Figure
    groups: Ints
    confusions: tuple[Confusion, ...]
    slices: tuple[Slice, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    columns: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)

    @property
    def wrong(self) -> tuple[int, ...]:
        """Positions of the wrong answers, the surest first."""
        guess = self.probabilities.argmax(1)
        at = np.flatnonzero(guess != self.truth)
        return tuple(int(i) for i in at[np.argsort(-self.probabilities.max(1)[at], kind="stable")])

    @property
    def witnesses(self) -> int:
        """How many groups the photos are in; one on its own is a group."""
        return len(np.unique(self.groups))

    @property
    def verdicts(self) -> dict[Verdict, tuple[int, Figure | None]]:
        """How many photos got each verdict, and how often what it claims holds the truth; None where it claims none."""
        found: dict[Verdict, tuple[int, Figure | None]] = {}
        for verdict in Verdict:
            some = [i for i, one in enumerate(self.answers) if one.verdict is verdict]
            held = [self.classes[self.truth[i]] in self.answers[i].claim for i in some if self.answers[i].claim]
            if some:
                whose = self.groups[[i for i in some if self.answers[i].claim]]
                found[verdict] = len(some), share(held, whose) if held else None
        return found


def judge(
    scores: Scores,
    truth: Ints,
    classes: Sequence[str],
    calibration: Calibration | None,
    strangers: Mapping[str, Verdict] = NOBODY,
    parents: Mapping[str, str] = UNTOLD,
    groups: Ints | None = None,
) -> Judged:
    """Judge a model by its answers.

    Args:
        scores: N rows of at least two photos.
        truth: (N,) class index of each row.
        classes: the K class names in index order.
        calibration: the model's own; None judges the plain softmax.
        strangers: photos that the model says show none of its classes.
        parents: class or family → the family above it; empty: the names tell.
        groups: (N,) equal for photos that belong together, near copies or of one ad; None: none do.

    Raises:
        ValueError: fewer than two rows, shapes that do not fit, logits that are not finite, a truth outside 0..K-1.
    """
    whose = np.arange(len(truth)) if groups is None else groups
    evaluation = evaluate(scores, truth, classes, whose)
    temperature = 1.0 if calibration is None else calibration.temperature
    logits = np.asarray(scores.logits, np.float64) / temperature
    probabilities = softmax(logits)
    confidence, guess = probabilities.max(1), probabilities.argmax(1)
    right = guess == truth
    coverage, risk = risk_coverage(confidence, right)
    return Judged(
        ids=scores.ids,
        classes=tuple(classes),
        truth=truth,
        answers=answer(scores, classes, calibration, scores.ids, strangers, parents),
        probabilities=probabilities,
        evaluation=evaluation,
        log_loss=float(log_losses(logits, truth).mean()),
        macro=macro_figures(truth, guess, len(classes), whose),
        bins=reliability(confidence, right, groups=whose),
        error=calibration_error(confidence, right, groups=whose),
        error_p=calibration_p(confidence, right, groups=whose),
        coverage=coverage,
        risk=risk,
        removed=errors_removed(confidence, right, REFUSED, whose),
        groups=whose,
        confusions=_confusions(truth, guess, confidence, classes),
        rejected=scores.rejected,
    )


def sort_by(
    judged: Judged, kinds: Mapping[str, npt.NDArray[np.bool_]], columns: Mapping[str, Masks] = MappingProxyType({})
) -> Judged:
    """The same, its photos also by their kinds and by the values of columns.

    Args:
        judged: the figures of all N photos.
        kinds: name → (N,) whether a photo is of that kind; nothing is said of a kind without photos.
        columns: name → photos of each value.
    """
    right = judged.probabilities.argmax(1) == judged.truth

    def cut(masks: Iterable[tuple[str, npt.NDArray[np.bool_]]]) -> tuple[Slice, ...]:
        return tuple(_slice(name, right, mask, judged.groups) for name, mask in masks if mask.any())

    return replace(judged, slices=cut(kinds.items()), columns={name: cut(masks) for name, masks in columns.items()})


def macro_figures(truth: Ints, guess: Ints, classes: int, groups: Ints | None = None) -> dict[str, Figure]:
    """Mean precision, recall and F1 over the classes, with 95 % bootstrap intervals over photos.

    A class that was never answered has precision 0; one without photos counts in none of the three.

    Args:
        truth: (N,) class indices.
        guess: (N,) of the answers.
        classes: K.
        groups: (N,) equal for photos that belong together; None: none do.
    """
    cells = truth * classes + guess

    def macro(at: Ints) -> Floats:
        return _macro(np.bincount(cells[at], minlength=classes**2).reshape(classes, classes))

    values, drawn = macro(np.arange(len(cells))), bootstrap(macro, len(cells), groups)
    found = {}
    for name, value, others in zip(("precision", "recall", "f1"), values.tolist(), drawn.T, strict=True):
        low, high = between(value, others)
        found[name] = Figure(value=value, low=low, high=high, n=len(cells))
    return found


def flat(judged: Judged) -> dict[str, float | int]:
    """The figures of `metrics.json`: flat names, each figure with `_low` and `_high` where it has an interval."""
    shares = {
        "accuracy": judged.evaluation.accuracy,
        "top3_accuracy": judged.evaluation.top3_accuracy,
        **{f"macro_{name}": figure for name, figure in judged.macro.items()},
        "calibration_error": judged.error,
        f"errors_removed_by_refusing_{REFUSED * 100:.0f}_percent": judged.removed,
    }
    found: dict[str, float | int] = {"n": len(judged.ids), "groups": judged.witnesses, "rejected": len(judged.rejected)}
    for name, figure in shares.items():
        found |= figure.flat(name)
    found |= {
        "log_loss": judged.log_loss,
        "log_loss_uncalibrated": judged.evaluation.log_loss,
        "calibration_p": judged.error_p,
        "risk_coverage_area": float(judged.risk.mean()),
    }
    for verdict, (photos, held) in judged.verdicts.items():
        found[f"verdict_{verdict}_n"] = photos
        found |= {} if held is None else held.flat(f"verdict_{verdict}_true")
    for one in judged.slices:
        name = one.name.replace(" ", "_")
        found |= {f"slice_{name}_n": one.accuracy.n} | one.accuracy.flat(f"slice_{name}_accuracy")
    return found


def _macro(table: Ints) -> Floats:
    """(K, K) confusion table → (3,) mean precision, recall and F1 over the classes that have photos."""
    right, photos, answered = np.diag(table).astype(np.float64), table.sum(1), table.sum(0)
    shares = np.stack([right, right, 2 * right]) / np.maximum([answered, photos, photos + answered], 1)
    return np.asarray(shares[:, photos > 0].mean(1))


def _confusions(truth: Ints, guess: Ints, confidence: Floats, classes: Sequence[str]) -> tuple[Confusion, ...]:
    found: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-confidence, kind="stable"):
        if truth[i] != guess[i]:
            found.setdefault((int(truth[i]), int(guess[i])), []).append(int(i))
    counts = np.bincount(truth, minlength=len(classes))
    pairs = [Confusion(classes[a], classes[b], tuple(some), int(counts[a])) for (a, b), some in found.items()]
    return tuple(sorted(pairs, key=lambda pair: (-len(pair.photos), pair.truth, pair.answered)))


def _slice(name: str, right: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_], groups: Ints) -> Slice:
    others = right[~mask]
    rest = share(others, groups[~mask]) if len(others) else None
    return Slice(name, share(right[mask], groups[mask]), rest)
