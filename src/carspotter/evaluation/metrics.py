"""How good the answers are: pure functions of arrays.

One order rules everywhere: classes by falling logit, and the lower index first where two are equal. Answers, accuracy
and top-3 therefore never disagree about a tie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.shares import share
from carspotter.records import ClassFigures, Evaluation, Scores


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities from logits, without overflow.

    Args:
        logits: (N, K), finite; higher is likelier.

    Returns:
        (N, K) in [0, 1]; every row sums to 1.
    """
    return np.exp(log_softmax(logits))


def log_softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, K) natural logarithms of `softmax`, exact where the probability itself would round to 0."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def log_losses(logits: npt.ArrayLike, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(N,) minus the logarithm of each truth's probability, natural; the log loss is their mean.

    Args:
        logits: (N, K), finite.
        truth: (N,) class indices.
    """
    return -log_softmax(logits)[np.arange(len(truth)), truth]


def best_first(logits: npt.ArrayLike, k: int) -> npt.NDArray[np.int64]:
    """(N, min(k, K)) class indices, likeliest first; equal logits keep the order of the classes."""
    order = np.argsort(-np.asarray(logits, dtype=np.float64), axis=1, kind="stable")
    return order[:, :k].astype(np.int64)


def evaluate(
    scores: Scores, truth: npt.ArrayLike, classes: Sequence[str], groups: npt.ArrayLike | None = None
) -> Evaluation:
    """Accuracy, top-3, macro recall, log loss, figures per class and the confusion table.

    Args:
        scores: N rows of logits.
        truth: (N,) class index of each row of `scores`.
        classes: the K class names in index order.
        groups: (N,) equal for photos that belong together, which an interval takes as one; None: none do.

    Raises:
        ValueError: no rows, shapes that do not fit, logits that are not finite, or a truth outside 0..K-1.
    """
    labels = np.asarray(truth, dtype=np.int64)
    _check(scores, labels, classes)
    top = best_first(scores.logits, 3)
    hits = top == labels[:, None]
    confusion = _confusion(labels, top[:, 0], len(classes))
    figures = _per_class(confusion, classes)
    return Evaluation(
        accuracy=share(hits[:, 0], groups),
        top3_accuracy=share(hits.any(axis=1), groups),
        macro_recall=float(np.mean([f.recall for f in figures if f.recall is not None])),
        log_loss=float(log_losses(scores.logits, labels).mean()),
        per_class=figures,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def check_logits(logits: npt.NDArray[np.float32], ids: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse logits that no honest figure or answer can come from.

    Raises:
        ValueError: not (N, K) for these ids and classes, or a value that is not finite (the photo is named).
    """
    if logits.shape != (len(ids), len(classes)):
        raise ValueError(f"logits are {logits.shape}; {len(ids)} photos and {len(classes)} classes need another shape")
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise ValueError(f"the logits of {len(broken)} photos are not finite numbers, first of {ids[int(broken[0])]!r}")


def _check(scores: Scores, truth: npt.NDArray[np.int64], classes: Sequence[str]) -> None:
    check_logits(scores.logits, scores.ids, classes)
    if truth.shape != (len(scores.ids),):
        raise ValueError(f"truth is {truth.shape}; expected the class of each of {len(scores.ids)} photos")
    outside = np.flatnonzero((truth < 0) | (truth >= len(classes)))
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"{len(outside)} truths are outside 0..{len(classes) - 1}, first {truth[first]} of {scores.ids[first]!r}; "
            "evaluate labelled photos of known classes only"
        )


def _confusion(truth: npt.NDArray[np.int64], answers: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    table = np.zeros((k, k), dtype=np.int64)
    np.add.at(table, (truth, answers), 1)
    return table


def _per_class(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> tuple[ClassFigures, ...]:
    right, photos, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassFigures(
            label=name,
            photos=int(photos[i]),
            precision=float(right[i] / answered[i]) if answered[i] else None,
            recall=float(right[i] / photos[i]) if photos[i] else None,
        )
        for i, name in enumerate(classes)
    )
