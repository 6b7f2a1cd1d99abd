"""Labels that are likely wrong, and classes that overlap. Arrays in, arrays out.

Labels are judged by answers that never saw them: linear heads fitted on the other folds (`out_of_fold`), and the labels
of the nearest photos (`vote`). Every score is in [0, 1], 0 is surely bad. Heads are fitted on at most MAX_FITTED
photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from carspotter.errors import MissingExtra
from carspotter.evaluation.calibration import fit_temperature
from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.near import Floats, Index, Near, Vectors
from carspotter.evaluation.shares import share, wilson

MAX_FITTED = 20_000
"""Rows that fit one head, a seeded draw (assumption: a linear head on 1,280 dimensions gains little beyond)."""
FEWEST_FITTED = 50
"""Photos that such a draw leaves each class at least, or all it has (assumption: a head knows a class from ten)."""
STRENGTH = 12.8
"""scikit-learn's C times the dimensions, on standardised embeddings, so that logits may vary as much in 3 dimensions as
in 1,280. Measured there on 488 ads with a frozen car net: log loss 1.45; 1.57 with a tenth of it."""
ITERATIONS, TOLERANCE = 200, 1e-3
VOTE = 0.3
"""Weight of the neighbours beside the head. Measured on the same: right .58 and .57 of the time, together .60."""
SHARPNESS = 10.0
"""A neighbour's vote is exp(SHARPNESS · cosine): at .1 less likeness it counts a third (assumption)."""
LABEL_BOUND = 0.1
"""Support of the label, beside that of the best other, below which it may be an issue (assumption: nine to one)."""
RIGHT_AFTER_ALL = 0.5
"""Share of the accused labels that may be right (assumption: a person who looks at two finds one that is wrong)."""
SURELY = 0.1
"""The same while the temperature is fitted. Of .1, .2 and .3 the one that accused the fewest falsely on made photos and
found all where the judge is good (docs/log.md, 2026-11-27)."""
ROUNDS = 10
"""Fits at most; the last one then counts as it is (assumption: made photos took one to six)."""
ROWS = 65_536
"""Photos whose every class is looked at at once: 100 MB each with 200 classes (assumption)."""
SURE = 0.5
"""Support at which another class is confident whatever its own photos reach: likelier than all others together."""
OVERLAP_CHANCE = 3.0
"""Classes overlap where they are mistaken for each other surely more often than that many times the usual
(assumption)."""
LEAST = 1e-6
"""Probability that every answer has at least: a judge of some hundred photos cannot know more (assumption)."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class LabelFaults:
    """How well each label is supported.

    Attributes:
        given: (N,) probability of the label, as sure as the judge is right.
        likely: (N,) of the best other class.
        guess: (N,) that class.
        score: (N,) support of the label against that of this class; 0 is surely wrong.
        is_issue: (N,).
        right_after_all: how many of the issues are to be expected if every label is right.
    """

    given: Floats
    likely: Floats
    guess: Index
    score: Floats
    is_issue: Flags
    right_after_all: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two classes that are mistaken for each other.

    Attributes:
        first: class index.
        second: class index.
        mistaken: photos of either that are taken for the other.
        photos: of both.
        score: 1 less the share of them.
        is_issue: surely more than the usual pair.
    """

    first: int
    second: int
    mistaken: int
    photos: int
    score: float
    is_issue: bool


def out_of_fold(views: Sequence[Vectors], labels: Index, folds: Index, classes: int) -> Floats:
    """What linear heads say of photos that did not fit them.

    Args:
        views: each (N, D): the photos, and perhaps their mirror images; all views fit, and their answers are averaged.
        labels: (N,) class indices.
        folds: (N,) fold of each photo, -1: always fits; near copies share theirs.
        classes: K.

    Returns:
        (N, K) probabilities. Photos that always fit are answered by a head that knows their labels: leave these rows
        out of any judgement.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    probabilities = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        held = np.flatnonzero(folds == fold)
        fit = np.flatnonzero(folds != fold) if fold >= 0 else np.arange(len(labels))
        probabilities[held] = _answers(views, labels, fit, held, classes)
    return probabilities


def _answers(views: Sequence[Vectors], labels: Index, fit: Index, held: Index, classes: int) -> Floats:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("judging labels", "audit") from None
    made = np.zeros((len(held), classes))
    known = np.unique(labels[fit])
    if len(known) < 2:
        made[:, known] = 1.0
        return made
    some = fit[_draw(labels[fit], MAX_FITTED // len(views))]
    rows = np.concatenate([view[some] for view in views])
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    head = LogisticRegression(C=STRENGTH / rows.shape[1], max_iter=ITERATIONS, tol=TOLERANCE)
    head.fit((rows - mean) / spread, np.tile(labels[some], len(views)))
    for view in views:
        made[:, head.classes_] += head.predict_proba((view[held] - mean) / spread) / len(views)
    return made


def _draw(labels: Index, most: int) -> Index:
    """Positions of all rows, or of about `most`, each class in its share but never below FEWEST_FITTED, nor its all.

    Where there are so many classes that their fewest come to more, each has `most // classes`: never over twice `most`.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(0).permutation(len(labels))
    counts = np.bincount(labels)
    fewest = min(FEWEST_FITTED, max(1, most // int((counts > 0).sum())))
    quota = np.maximum(counts * most // len(labels), fewest)
    by_class = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_class[rank < quota[labels[by_class]]]


def vote(near: Near, labels: Index, blocks: Index, classes: int) -> Floats:
    """(N, K) shares of the neighbours' labels, the nearer the weightier; who shares a photo's block has no vote on it.

    Args:
        near: of N photos.
        labels: (N,) class indices.
        blocks: (N,) number of what no fold parts: copies, and photos of one ad, which are mislabelled together.
        classes: K.
    """
    asked = (near.photos >= 0) & (blocks[near.photos] != blocks[:, None])
    weight = np.where(asked, np.exp(SHARPNESS * near.cosine), 0.0)
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[near.photos]), weight)
    total = votes.sum(axis=1, keepdims=True)
    return cast("Floats", np.where(total > 0, votes / np.maximum(total, 1e-12), 1 / classes))


def blend(heads: Floats, votes: Floats) -> Floats:
    """(N, K) what heads and neighbours say together."""
    return (1 - VOTE) * heads + VOTE * votes


def log_loss(probabilities: Floats, labels: Index) -> float:
    """Mean -log of the label's probability: the net that knows these classes best has the least."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST)).mean())


def label_faults(probabilities: Floats, labels: Index, spoiled: Flags | None = None) -> LabelFaults:
    """Which labels are likely wrong.

    An issue must be one by confident learning (another class is at least as likely as photos of that class are on
    average: C. Northcutt, L. Jiang, I. Chuang, "Confident learning", JAIR 70 (2021)), by LABEL_BOUND, and by the
    judge's own doubts. For those its probabilities must be as sure as they are right, so a temperature is fitted, again
    and again without the labels that are surely wrong: these would make a good judge doubt itself. Were every label
    right, so many would then look as bad by chance as the probabilities foretell, and these may be RIGHT_AFTER_ALL of
    the accused at most: a false discovery rate (B. Efron, "Large-scale inference", 2010) with the judge itself for the
    null, by which one that often wavers accuses little. One that is often surely wrong accuses much: from labels alone
    its blunders and wrong labels are the same thing.

    Args:
        probabilities: (N, K), each row by a judge that did not see the photo's label.
        labels: (N,) class indices.
        spoiled: (N,) photos off which nobody can read a label, so that theirs are not accused.
    """
    spoiled = np.zeros(len(labels), np.bool_) if spoiled is None else spoiled
    drawn = np.random.default_rng(0).permutation(len(labels))[:MAX_FITTED]
    temperature = _temperature(probabilities[drawn], labels[drawn], spoiled[drawn])
    return _accused(probabilities, labels, spoiled, temperature, RIGHT_AFTER_ALL)


def _temperature(probabilities: Floats, labels: Index, spoiled: Flags) -> float:
    """By which the judge is as sure of the labels that are not surely wrong as it names them.

    It begins without all that look wrong to the judge as it is; where that is unsure of itself, most come back.
    """
    logits = _logits(probabilities).astype(np.float32)
    kept = ~spoiled & ~_accused(probabilities, labels, spoiled, 1.0, np.inf).is_issue
    temperature = 1.0
    for _ in range(ROUNDS):
        if not kept.any():
            break
        temperature = fit_temperature(logits[kept], labels[kept])
        before, kept = kept, ~spoiled & ~_accused(probabilities, labels, spoiled, temperature, SURELY).is_issue
        if (kept == before).all():
            break
    return temperature


def _logits(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, LEAST))


def _accused(
    probabilities: Floats, labels: Index, spoiled: Flags, temperature: float, right_after_all: float
) -> LabelFaults:
    """The labels up to the highest score at which no more than this share of the accused is expected to be right."""
    parts = [slice(start, start + ROWS) for start in range(0, len(labels), ROWS)]
    given, likely, guess = np.zeros(len(labels)), np.zeros(len(labels)), labels.copy()
    for part in parts:
        said = softmax(_logits(probabilities[part]) / temperature)
        own = np.arange(len(said)), labels[part]
        given[part], said[own] = said[own], 0.0
        guess[part], likely[part] = said.argmax(axis=1), said.max(axis=1)
    score = given / (given + likely)
    classes = probabilities.shape[1]
    usual = np.bincount(labels, given, classes) / np.maximum(np.bincount(labels, minlength=classes), 1)
    bar = np.minimum(usual, SURE)
    accusable = (score < LABEL_BOUND) & (likely >= bar[guess]) & ~spoiled
    bounds = np.sort(score[accusable])
    foretold = np.zeros(len(bounds) + 1)
    for part in parts if len(bounds) else ():
        said = softmax(_logits(probabilities[part]) / temperature)
        support, accused = _support(said, bar)
        accused &= ~spoiled[part, None]
        first = np.searchsorted(bounds, support[accused], side="left")
        foretold += np.bincount(first, said[accused], len(foretold))
    expected = np.cumsum(foretold[:-1])
    lawful = np.flatnonzero(expected <= right_after_all * np.arange(1, len(bounds) + 1))
    if not len(lawful):
        return LabelFaults(given, likely, guess, score, np.zeros(len(labels), np.bool_), 0.0)
    last = lawful[-1]
    return LabelFaults(given, likely, guess, score, accusable & (score <= bounds[last]), float(expected[last]))


def _support(said: Floats, bar: Floats) -> tuple[Floats, Flags]:
    """(n, K) each class's support beside the best other, were it the label; (n, K) whether that other may accuse it."""
    first = said.argmax(axis=1)
    others = said.copy()
    others[np.arange(len(said)), first] = 0.0
    second = others.argmax(axis=1)
    rival = np.where(np.arange(said.shape[1]) == first[:, None], second[:, None], first[:, None])
    best = np.take_along_axis(said, rival, 1)
    return said / (said + best), best >= bar[rival]


def overlaps(probabilities: Floats, labels: Index, blocks: Index | None = None) -> tuple[Overlap, ...]:
    """Pairs of classes that are mistaken for each other, the worst first.

    A pair is an issue where the lower end of the interval of its share is above OVERLAP_CHANCE times the usual share.

    Args:
        probabilities: (N, K), each row by a judge that did not see the photo's label.
        labels: (N,) class indices.
        blocks: (N,) equal for copies and photos of one ad, which are mistaken together; None: none are.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    guess = probabilities.argmax(axis=1)
    table = np.bincount(labels * classes + guess, minlength=classes**2).reshape(classes, classes)
    both = table + table.T
    pairs = [(a, b) for a, b in zip(*np.triu_indices(classes, 1), strict=True) if both[a, b] and counts[a] + counts[b]]
    wrong = int(len(labels) - np.trace(table))
    usual = wrong / max(1, len(labels)) / max(1, classes - 1)  # were mistakes spread evenly over all pairs
    bound = OVERLAP_CHANCE * usual
    found = []
    for a, b in pairs:
        alone = wilson(int(both[a, b]), int(counts[a] + counts[b]))
        is_issue = classes > 2 and alone.low > bound
        if is_issue and blocks is not None:  # blocks only ever widen an interval: other pairs need no look at photos
            of = (labels == a) | (labels == b)
            mistaken = (labels != guess)[of] & ((guess == a) | (guess == b))[of]
            is_issue = share(mistaken, blocks[of]).low > bound
        found.append(Overlap(int(a), int(b), int(both[a, b]), alone.n, 1 - alone.value, is_issue))
    return tuple(sorted(found, key=lambda pair: pair.score))
