"""What an epoch is fed with: photos through views, or what a frozen part made of them once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's own name

from carspotter.data.cache import PhotoCache
from carspotter.data.views import ViewRanges, apply_view, draw_view
from carspotter.errors import PhotoRefused, TrainingError
from carspotter.records import Geometry, Photo
from carspotter.training.augment import BatchTransform, Mixing
from carspotter.workers import in_order

Index = npt.NDArray[np.int64]

LOOKAHEAD = 3
"""Batches prepared while the net computes. Assumption: preparing is steadier than three steps of the net."""
JUDGED = 64
"""Stored photos that are judged at once, or a whole batch of training where that is more (assumption: without gradients
they take less room than a step did)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos of one step, or one shard of them.

    Attributes:
        inputs: (N, …) as the trained body takes them.
        targets: (N, K) f32; a row is the wanted distribution times the photo's weight.
        labels: (N,) class indices before any mixing.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.labels.to(device))


class StageData(Protocol):
    """The photos of one stage in the form its trained body takes."""

    @property
    def steps(self) -> int:
        """Steps per epoch."""

    def training(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """The shards of every step from `first` on.

        Each shard is a pure function of seed, epoch, step and its number, so that a resumed training and one on
        several processes see the same.
        """

    def validation(self) -> Iterator[Batch]:
        """The held-out photos in order, never augmented; empty when nothing is held out."""


class PhotoSet:
    """Photos with their labels, read through the cache at one size.

    Args:
        photos: all of them decode; a scan has thrown out the others.
        labels: (N,) class indices.
        cache: decoded photos.
        geometry: size of every photo.
        weights: (N,) how much each counts in the loss; None: all 1.
        wanted: (N, K) the distribution that each is taught; None: its label.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        labels: Index,
        cache: PhotoCache,
        geometry: Geometry,
        weights: npt.NDArray[np.float32] | None = None,
        wanted: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self.photos = photos
        self.labels = labels
        self.geometry = geometry
        self.weights = np.ones(len(photos), np.float32) if weights is None else weights
        self.wanted = wanted
        self._cache = cache

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def finder(self) -> str:
        """The name of whoever finds the car; empty where photos are shown whole."""
        finder = self._cache.finder
        return "" if finder is None else finder.name

    def targets(self, classes: int) -> Tensor:
        """(N, K) f32: what each photo is taught, usually one-hot, times its weight."""
        labels = F.one_hot(torch.from_numpy(self.labels), classes)
        wanted = labels if self.wanted is None else torch.from_numpy(self.wanted)
        return wanted * torch.from_numpy(self.weights)[:, None]

    def pixels(self, index: Index, ranges: ViewRanges | None, seed: Sequence[int]) -> Tensor:
        """Photos at these positions as (N, H, W, 3) uint8, seen through views drawn from (seed, position)."""
        return torch.from_numpy(np.stack([self._one(int(i), ranges, seed) for i in index]))

    def _one(self, i: int, ranges: ViewRanges | None, seed: Sequence[int]) -> npt.NDArray[np.uint8]:
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


class Part(NamedTuple):
    """One shard of one step: which photos it holds."""

    step: int
    shard: int
    photos: Index


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """How photos become steps.

    Attributes:
        batch: photos per step.
        shards: parts of a step, each with statistics and mixing of its own.
        seed: of order, views and mixing within the stage.
        mine: the shards this process computes; all where it is alone.
    """

    batch: int
    shards: int
    seed: tuple[int, ...]
    mine: tuple[int, ...] | None = None

    def steps(self, photos: int) -> list[Index]:
        """An unshuffled epoch, for counting."""
        return even_batches(np.arange(photos), self.batch)

    def epoch(self, photos: int, epoch: int, first: int) -> list[Part]:
        """The parts of an epoch from step `first` on, shuffled by seed and epoch."""
        order = np.random.default_rng((*self.seed, epoch)).permutation(photos)
        return [
            Part(step, shard, some)
            for step, batch in enumerate(even_batches(order, self.batch))
            for shard, some in enumerate(even_shards(batch, self.shards))
            if step >= first and (self.mine is None or shard in self.mine)
        ]


@dataclass(frozen=True, slots=True)
class PhotoData:
    """Photos for a stage that runs the whole backbone.

    Attributes:
        train: photos that fit the weights.
        held_out: photos that validate.
        classes: K.
        prepare: uint8 batch → the network's input, on its device.
        sampler: batches, shards, seed.
        ranges: of the random views.
        policy: a stronger policy on the pixels, or None.
        mixing: mixes inputs and targets, or None.
    """

    train: PhotoSet
    held_out: PhotoSet
    classes: int
    prepare: Callable[[Tensor], Tensor]
    sampler: BatchSampler
    ranges: ViewRanges
    policy: BatchTransform | None = None
    mixing: Mixing | None = None

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return len(self.sampler.steps(len(self.train)))

    def training(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Shuffled views; photos are prepared while the net computes."""
        targets, labels = self.train.targets(self.classes), torch.from_numpy(self.train.labels)
        seed = (*self.sampler.seed, epoch)
        plan = self.sampler.epoch(len(self.train), epoch, first)
        with closing(ahead(lambda i: self.train.pixels(i, self.ranges, seed), [p.photos for p in plan])) as pixels:
            for step, parts in groupby(zip(plan, pixels, strict=True), key=lambda pair: pair[0].step):
                shards = [self._shard(epoch, part, photos, targets, labels) for part, photos in parts]
                draw((*seed, step, self.sampler.shards))  # for the head, which sees them all
                yield shards

    def _shard(self, epoch: int, part: Part, photos: Tensor, targets: Tensor, labels: Tensor) -> Batch:
        draw((*self.sampler.seed, epoch, part.step, part.shard))
        inputs = self.prepare(photos if self.policy is None else self.policy(photos))
        return _mixed(Batch(inputs, targets[part.photos], labels[part.photos]), self.mixing)

    def validation(self) -> Iterator[Batch]:
        """Plain photos in order."""
        targets, labels = self.held_out.targets(self.classes), torch.from_numpy(self.held_out.labels)
        chunks = even_batches(np.arange(len(self.held_out)), self.sampler.batch)
        with closing(ahead(lambda i: self.held_out.pixels(i, None, ()), chunks)) as pixels:
            for part, photos in zip(chunks, pixels, strict=True):
                yield Batch(self.prepare(photos), targets[part], labels[part])


@dataclass(frozen=True, slots=True)
class FeatureData:
    """What a frozen part made of the photos, for a stage that trains what is above it.

    Attributes:
        views: V tensors (N, …), one per view of each training photo; epoch e sees view e mod V.
        targets: (N, K), see `Batch`.
        labels: (N,) of the training photos.
        held_out: the plain view of the validation photos.
        sampler: batches, shards, seed.
        mixing: mixes activations and targets (manifold mixup, Verma et al. 2019), or None.
    """

    views: Sequence[Tensor]
    targets: Tensor
    labels: Tensor
    held_out: Batch
    sampler: BatchSampler
    mixing: Mixing | None = None

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return len(self.sampler.steps(len(self.labels)))

    def training(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Shuffled activations."""
        view = self.views[epoch % len(self.views)]
        plan = self.sampler.epoch(len(self.labels), epoch, first)
        for step, parts in groupby(plan, key=lambda part: part.step):
            shards = [self._shard(epoch, part, view) for part in parts]
            draw((*self.sampler.seed, epoch, step, self.sampler.shards))  # for the head, which sees them all
            yield shards

    def _shard(self, epoch: int, part: Part, view: Tensor) -> Batch:
        draw((*self.sampler.seed, epoch, part.step, part.shard))
        batch = Batch(_full(view[part.photos]), self.targets[part.photos], self.labels[part.photos])
        return _mixed(batch, self.mixing)

    def validation(self) -> Iterator[Batch]:
        """The held-out photos in order."""
        for part in even_batches(np.arange(len(self.held_out)), max(self.sampler.batch, JUDGED)):
            here = torch.from_numpy(part)
            yield Batch(_full(self.held_out.inputs[here]), self.held_out.targets[here], self.held_out.labels[here])


def _full(stored: Tensor) -> Tensor:
    """In single precision, a map in the layout in which convolutions are fastest."""
    full = stored.float()
    return full.contiguous(memory_format=torch.channels_last) if full.ndim == 4 else full


def draw(seed: Sequence[int]) -> None:
    """Start torch's generator anew, from which policies, mixing and dropout draw."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def _mixed(batch: Batch, mixing: Mixing | None) -> Batch:
    if mixing is None:
        return batch
    inputs, targets = mixing(batch.inputs, batch.targets)
    return Batch(inputs, targets, batch.labels)


def even_batches(order: Index, size: int) -> list[Index]:
    """Cut an order into batches of at most `size`, all about equal: a last batch of one would break BatchNorm."""
    return np.array_split(order, -(-len(order) // size)) if len(order) else []


def even_shards(batch: Index, shards: int) -> list[Index]:
    """Cut a batch into shards of at least two photos, all about equal."""
    return np.array_split(batch, max(1, min(shards, len(batch) // 2)))


def ahead(make: Callable[[Index], Tensor], chunks: Sequence[Index]) -> Generator[Tensor]:
    """Batches in order, prepared by two threads while the net computes."""
    return in_order(make, chunks, threads=2, ahead=LOOKAHEAD)
