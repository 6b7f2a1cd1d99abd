"""What an epoch is fed with: photos through views, or features computed once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from carspotter.data.cache import PhotoCache
from carspotter.data.views import ViewRanges, apply_view, draw_view
from carspotter.errors import PhotoRefused, TrainingError
from carspotter.records import Geometry, Photo
from carspotter.training.augment import BatchTransform
from carspotter.workers import in_order

Batch = tuple[Tensor, Tensor]
"""(inputs as the trained module takes them, (N,) class indices)."""

LOOKAHEAD = 3
"""Batches prepared while the net computes. Assumption: preparing is steadier than three steps of the net."""


class Material(Protocol):
    """The photos of one stage in the form its trained module takes."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""

    def training(self, epoch: int) -> Iterator[Batch]:
        """The shuffled, augmented batches of an epoch; a pure function of the seed and the epoch."""

    def validation(self) -> Iterator[Batch]:
        """The held-out photos in order, never augmented; empty when nothing is held out."""


class PhotoSet:
    """Photos with their labels, read through the cache at one size.

    Args:
        photos: all of them decode; a scan has thrown out the others.
        labels: (N,) class indices.
        cache: decoded photos.
        geometry: size of every photo.
    """

    def __init__(
        self, photos: Sequence[Photo], labels: npt.NDArray[np.int64], cache: PhotoCache, geometry: Geometry
    ) -> None:
        self.photos = photos
        self.labels = labels
        self.geometry = geometry
        self._cache = cache

    def __len__(self) -> int:
        return len(self.photos)

    def batch(self, index: npt.NDArray[np.int64], ranges: ViewRanges | None, seed: Sequence[int]) -> Batch:
        """Photos at these positions as (N, H, W, 3) uint8, seen through views drawn from (seed, position)."""
        pixels = [self._pixels(int(i), ranges, seed) for i in index]
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.labels[index])

    def _pixels(self, i: int, ranges: ViewRanges | None, seed: Sequence[int]) -> npt.NDArray[np.uint8]:
        photo = self.photos[i]
        try:
            pixels = self._cache.pixels(photo, self.geometry)
        except PhotoRefused as refused:
            raise TrainingError(
                f"{photo.id} could be read when the training began and cannot be now ({refused.sentence}); "
                "leave the photos in place and train again"
            ) from None
        if ranges is None:
            return pixels
        return apply_view(pixels, draw_view(ranges, np.random.default_rng([*seed, i])))


class PhotoMaterial:
    """Photos for a stage that trains the backbone.

    Args:
        train: photos that fit the weights.
        held_out: photos that validate.
        prepare: uint8 batch → the network's input, on its device.
        batch: photos per step.
        ranges: of the random views.
        policy: a stronger policy on the batch, or None.
        seed: of order and views.
    """

    def __init__(
        self,
        train: PhotoSet,
        held_out: PhotoSet,
        prepare: Callable[[Tensor], Tensor],
        *,
        batch: int,
        ranges: ViewRanges,
        policy: BatchTransform | None,
        seed: Sequence[int],
    ) -> None:
        self._train, self._held_out = train, held_out
        self._prepare = prepare
        self._size = batch
        self._ranges = ranges
        self._policy = policy
        self._seed = seed

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(even_batches(np.arange(len(self._train)), self._size))

    def training(self, epoch: int) -> Iterator[Batch]:
        """Shuffled views; photos are prepared while the net computes."""
        seed = (*self._seed, epoch)
        order = np.random.default_rng(seed).permutation(len(self._train))
        chunks = even_batches(order, self._size)
        for photos, labels in ahead(lambda index: self._train.batch(index, self._ranges, seed), chunks):
            seen = photos if self._policy is None else self._policy(photos)
            yield self._prepare(seen), labels

    def validation(self) -> Iterator[Batch]:
        """Plain photos in order."""
        for photos, labels in plain_batches(self._held_out, self._size):
            yield self._prepare(photos), labels


class FeatureMaterial:
    """Pooled features for a stage that trains the head only.

    Args:
        features: (V, N, C): V views of each training photo; epoch e sees view e mod V of each.
        labels: (N,) of the training photos.
        held_out: (M, C) of the validation photos, one plain view.
        held_out_labels: (M,).
        batch: photos per step.
        seed: of the order.
    """

    def __init__(
        self,
        features: Tensor,
        labels: npt.NDArray[np.int64],
        held_out: Tensor,
        held_out_labels: npt.NDArray[np.int64],
        *,
        batch: int,
        seed: Sequence[int],
    ) -> None:
        self._features, self._labels = features, torch.from_numpy(labels)
        self._held_out, self._held_out_labels = held_out, torch.from_numpy(held_out_labels)
        self._size = batch
        self._seed = seed

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(even_batches(np.arange(len(self._labels)), self._size))

    def training(self, epoch: int) -> Iterator[Batch]:
        """Shuffled features."""
        order = np.random.default_rng((*self._seed, epoch)).permutation(len(self._labels))
        view = self._features[epoch % len(self._features)]
        for index in even_batches(order, self._size):
            yield view[index], self._labels[index]

    def validation(self) -> Iterator[Batch]:
        """All held-out features at once."""
        if len(self._held_out):
            yield self._held_out, self._held_out_labels


def plain_batches(photos: PhotoSet, size: int) -> Iterator[Batch]:
    """Unaugmented (N, H, W, 3) uint8 batches in order."""
    return ahead(lambda index: photos.batch(index, None, ()), even_batches(np.arange(len(photos)), size))


def even_batches(order: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    """Cut an order into batches of at most `size`, all about equal: a last batch of one would break BatchNorm."""
    return np.array_split(order, -(-len(order) // size)) if len(order) else []


def ahead(make: Callable[[npt.NDArray[np.int64]], Batch], chunks: Sequence[npt.NDArray[np.int64]]) -> Generator[Batch]:
    """Batches in order, prepared by two threads while the net computes."""
    return in_order(make, chunks, threads=2, ahead=LOOKAHEAD)
