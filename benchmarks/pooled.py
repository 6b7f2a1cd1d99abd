"""Held-out answers of several folds and seeds taken together: figures with intervals, and two sides photo by photo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import best_first, log_losses, wilson
from carspotter.evaluation.paired import RESAMPLES, Paired, bootstrap_mean, mean_difference, pair
from carspotter.records import Figure, HeldOut

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Every answer of one side.

    Attributes:
        photos: (N,) id of each answer's photo; a photo comes once per seed.
        right: (N,) whether the first answer is right.
        losses: (N,) -log of the probability given to the truth.
    """

    photos: npt.NDArray[np.str_]
    right: npt.NDArray[np.bool_]
    losses: Floats

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        return np.unique(self.photos)

    def on(self, ids: npt.NDArray[np.str_]) -> Pool:
        """The answers on these photos alone."""
        keep = np.isin(self.photos, ids)
        return Pool(self.photos[keep], self.right[keep], self.losses[keep])

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
        n = len(self.ids)
        if len(self.photos) == n:
            return wilson(int(self.right.sum()), n)
        shares = self.per_photo(self.right)
        low, high = bootstrap_mean(shares)
        return Figure(value=float(shares.mean()), low=low, high=high, n=n)

    @property
    def log_loss(self) -> Figure:
        losses = self.per_photo(self.losses)
        low, high = bootstrap_mean(losses)
        return Figure(value=float(losses.mean()), low=low, high=high, n=len(losses))


def pool(answers: Sequence[HeldOut]) -> Pool:
    """Answers of all runs of one side."""
    photos = [photo for kept in answers for photo in kept.ids]
    right = [best_first(kept.logits, 1)[:, 0] == kept.labels for kept in answers]
    losses = [log_losses(kept.logits, kept.labels) for kept in answers]
    return Pool(np.array(photos), np.concatenate(right), np.concatenate(losses))


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
    number = {photo: at for at, photo in enumerate(np.union1d(a.ids, b.ids).tolist())}
    return pair([number[p] for p in a.photos.tolist()], a.right, [number[p] for p in b.photos.tolist()], b.right)


def loss_difference(a: Pool, b: Pool) -> tuple[Figure, float]:
    """Log loss of B minus that of A on common photos: below 0, B is better; and p."""
    a, b = common(a, b)
    return mean_difference(b.per_photo(b.losses) - a.per_photo(a.losses))


def error_ratio(a: Pool, b: Pool) -> tuple[float, float, float]:
    """Errors of B over errors of A on common photos, and its 95 % bootstrap interval over photos."""
    a, b = common(a, b)
    rng, wrong = np.random.default_rng(0), np.stack([a.wrong, b.wrong])
    drawn = [wrong[:, rng.integers(0, wrong.shape[1], wrong.shape[1])].sum(1) for _ in range(RESAMPLES)]
    ratios = [theirs / ours if ours else np.inf for ours, theirs in drawn]
    low, high = np.quantile(ratios, (0.025, 0.975))
    ours, theirs = wrong.sum(1)
    return float(theirs / ours if ours else np.inf), float(low), float(high)
