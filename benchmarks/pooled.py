"""Held-out answers of several folds and seeds taken together: figures with intervals, and two sides photo by photo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import best_first, log_losses
from carspotter.evaluation.paired import Paired, bootstrap_mean, mean_difference, pair
from carspotter.evaluation.shares import between, bootstrap, share
from carspotter.records import Figure, HeldOut
from carspotter.tracking.held_out import groups_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Every answer of one side.

    Attributes:
        photos: (N,) id of each answer's photo; a photo comes once per seed.
        right: (N,) whether the first answer is right.
        losses: (N,) -log of the probability given to the truth.
        kept: where they come from; tells which photos are no separate witnesses.
    """

    photos: npt.NDArray[np.str_]
    right: npt.NDArray[np.bool_]
    losses: Floats
    kept: tuple[HeldOut, ...]

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        return np.unique(self.photos)

    def on(self, ids: npt.NDArray[np.str_]) -> Pool:
        """The answers on these photos alone."""
        keep = np.isin(self.photos, ids)
        return Pool(self.photos[keep], self.right[keep], self.losses[keep], self.kept)

    def per_photo(self, values: npt.NDArray[np.generic]) -> Floats:
        """The mean of a photo's answers, photos in the order of `ids`."""
        sums: dict[str, list[float]] = defaultdict(list)
        for photo, value in zip(self.photos.tolist(), values.tolist(), strict=True):
            sums[photo].append(float(value))
        return np.array([np.mean(sums[photo]) for photo in sorted(sums)])

    @property
    def wrong(self) -> Floats:
        """Share of wrong answers of each photo."""
        return self.per_photo(~self.right)

    @property
    def accuracy(self) -> Figure:
        """Wilson's interval for one answer per photo; with several, photos are drawn again."""
        shares, groups = self.per_photo(self.right), together(self.ids, self)
        if len(self.photos) == len(shares):
            return share(shares, groups)
        low, high = bootstrap_mean(shares, groups)
        return Figure(value=float(shares.mean()), low=low, high=high, n=len(shares))

    @property
    def log_loss(self) -> Figure:
        losses = self.per_photo(self.losses)
        low, high = bootstrap_mean(losses, together(self.ids, self))
        return Figure(value=float(losses.mean()), low=low, high=high, n=len(losses))


def pool(answers: Sequence[HeldOut]) -> Pool:
    """Answers of all runs of one side."""
    photos = [photo for kept in answers for photo in kept.ids]
    right = [best_first(kept.logits, 1)[:, 0] == kept.labels for kept in answers]
    losses = [log_losses(kept.logits, kept.labels) for kept in answers]
    return Pool(np.array(photos), np.concatenate(right), np.concatenate(losses), tuple(answers))


def together(ids: npt.NDArray[np.str_], *pools: Pool) -> npt.NDArray[np.int64]:
    """(N,) equal for photos of which any of the pools knows that they belong together."""
    return groups_of(ids.tolist(), [kept for one in pools for kept in one.kept])


def common(a: Pool, b: Pool) -> tuple[Pool, Pool]:
    """Both sides on the photos that both answered.

    Raises:
        ValueError: there is none.
    """
    ids = np.intersect1d(a.ids, b.ids)
    if not len(ids):
        raise ValueError("no photo was answered by both sides")
    return a.on(ids), b.on(ids)


def paired_accuracy(a: Pool, b: Pool) -> Paired:
    """B beside A, photo by photo, see `evaluation/paired.py`."""
    every = np.union1d(a.ids, b.ids)
    number = {photo: at for at, photo in enumerate(every.tolist())}
    of_a, of_b = ([number[photo] for photo in side.photos.tolist()] for side in (a, b))
    return pair(of_a, a.right, of_b, b.right, together(every, a, b))


def loss_difference(a: Pool, b: Pool) -> tuple[Figure, float]:
    """Log loss of B minus that of A on common photos: below 0, B is better; and p."""
    a, b = common(a, b)
    return mean_difference(b.per_photo(b.losses) - a.per_photo(a.losses), together(a.ids, a, b))


def error_ratio(a: Pool, b: Pool) -> tuple[float, float, float]:
    """Errors of B over errors of A on common photos, and its 95 % bootstrap interval over photos."""
    a, b = common(a, b)
    wrong = np.stack([a.wrong, b.wrong])

    def ratio(at: npt.NDArray[np.int64]) -> Floats:
        ours, theirs = wrong[:, at].sum(1)
        return np.array(theirs / ours if ours else np.inf)

    value = float(ratio(np.arange(wrong.shape[1])))
    low, high = between(value, bootstrap(ratio, wrong.shape[1], together(a.ids, a, b)))
    return value, low, high
