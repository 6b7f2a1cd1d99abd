"""From a recipe's stages to what the loop takes: a learner, its optimiser, and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from carspotter.data.cache import PhotoCache
from carspotter.data.views import ViewRanges
from carspotter.progress import Progress
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, EpochRecord, FreezeSummary, Geometry
from carspotter.training.augment import Mixing, make_mixing, make_policy
from carspotter.training.backbones import resize_backbone
from carspotter.training.classifier import Classifier, Learner
from carspotter.training.devices import CPU, Device, check_batches
from carspotter.training.freezing import Freezing
from carspotter.training.frozen import MAX_BYTES, FrozenPart, Upper, Views, can_cut, enters_as_map
from carspotter.training.loop import Checkpointer, TrainUnit, fit_stage
from carspotter.training.schedule import make_optimizer, parameter_groups, without_decay
from carspotter.training.stage_data import Batch, BatchSampler, FeatureData, PhotoData, PhotoSet, StageData


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything the stages of one training share.

    Attributes:
        recipe: fully resolved.
        train: photos that fit the weights, those from outside last.
        held_out: photos that validate.
        weights: how much each of `train` counts in the loss.
        wanted: (N, K) what each of `train` is taught; None: its label.
        groups: (M,) group of each held-out photo: near copies, and photos of one ad.
        cache: decoded photos; its folder also keeps what frozen parts made.
        started: told what a stage trains and what it leaves alone.
        report: told about each epoch.
        progress: told about features.
        device: where it computes, and with which other processes.
    """

    recipe: Recipe
    train: Dataset
    held_out: Dataset
    weights: npt.NDArray[np.float32]
    wanted: npt.NDArray[np.float32] | None
    groups: npt.NDArray[np.int64]
    cache: PhotoCache
    started: Callable[[FreezeSummary], None]
    report: Callable[[EpochRecord, int], None]
    progress: Progress
    device: Device = CPU

    @property
    def stages(self) -> list[tuple[int, Stage]]:
        """The stages that train, with their numbers in the recipe."""
        return [(number, stage) for number, stage in enumerate(self.recipe.stage) if stage.epochs]

    @property
    def geometry(self) -> Geometry:
        """The size of the last stage, which the bundle will have."""
        return self.geometry_of(self.stages[-1][1])

    def geometry_of(self, stage: Stage) -> Geometry:
        """The size of one stage's photos."""
        shown = {"fit": self.recipe.fit, "frame": self.recipe.frame, "light": self.recipe.light}
        return Geometry(height=stage.height, width=stage.width, **shown)

    def fit(self, classifier: Classifier, number: int, stage: Stage, checkpointer: Checkpointer | None = None) -> None:
        """Train one stage, or what a checkpoint leaves of it."""
        unit, stage_data = self.prepare(classifier, number, stage)
        fit_stage(unit, stage_data, stage, report=self.report, checkpointer=checkpointer)

    def prepare(self, classifier: Classifier, number: int, stage: Stage) -> tuple[TrainUnit, StageData]:
        """What a stage trains, and what it is fed with; frozen parts are run here."""
        resize_backbone(classifier.backbone, stage.height, stage.width)
        freezing = Freezing(classifier, stage.trains, freeze_batchnorm=stage.freeze_batchnorm)
        self.started(freezing.summary(stage.name))
        with self.device.peers.one_by_one():
            body, stage_data = self._stage_data(classifier, freezing, number, stage)
        head = self.recipe.head
        unit = TrainUnit(
            learner=Learner(body, classifier.head),
            train_mode=freezing.train_mode,
            optimizer=make_optimizer(stage.optimizer, self._groups(classifier, freezing, stage), stage.lr),
            shards=self.recipe.shards,
            threads=self.recipe.threads,
            device=self.device,
            scaler=self.device.scaler(),
            penalty=(lambda: classifier.head.penalty(head.l1, head.l2)) if head.l1 or head.l2 else None,
            offset=self._offset(),
        )
        return unit, stage_data

    def _offset(self) -> torch.Tensor | None:
        if not self.recipe.logit_adjustment:
            return None
        seen = np.bincount(self.train.labels, self.weights, len(self.train.classes)).astype(np.float64)
        return logit_offsets(seen, self.recipe.logit_adjustment).to(self.device.where)

    def _groups(self, classifier: Classifier, freezing: Freezing, stage: Stage) -> list[dict[str, Any]]:
        return parameter_groups(
            classifier.head,
            freezing.trained,
            lr=stage.lr,
            backbone_lr=stage.backbone_lr or stage.lr,
            layer_decay=stage.layer_decay,
            weight_decay=stage.weight_decay,
            spared=without_decay(classifier.backbone),
        )

    def _stage_data(
        self, classifier: Classifier, freezing: Freezing, number: int, stage: Stage
    ) -> tuple[torch.nn.Module, StageData]:
        """What trains below the head, and what it is fed with."""
        train, held_out = self._set(self.train, stage), self._set(self.held_out, stage)
        peers = self.device.peers
        sampler = BatchSampler(
            stage.batch, self.recipe.shards, (self.recipe.seed, number), peers.share(self.recipe.shards)
        )
        check_batches(stage, min(map(len, sampler.steps(len(train)))), self.recipe.shards, peers.count)
        mixing = None if freezing.head_only else make_mixing(stage.mixup, stage.cutmix)
        if stage.views and (freezing.head_only or (freezing.frozen and self._pays(classifier, train, stage))):
            body = torch.nn.Identity() if freezing.head_only else Upper(classifier.body, stage.trains)
            return body, self._frozen(classifier, stage, train, held_out, sampler, mixing)
        return classifier.body, PhotoData(
            train,
            held_out,
            len(self.train.classes),
            classifier.prepare,
            sampler,
            ranges_of(stage),
            make_policy(stage.augment.policy, stage.augment.erase),
            mixing,
        )

    def _pays(self, classifier: Classifier, train: PhotoSet, stage: Stage) -> bool:
        """Whether the frozen part is run once; where it is not, why not is said."""
        why = self._whole(classifier, train, stage)
        if why:
            self.progress("features", 0, 0, f"{stage.name}: the frozen part runs in every epoch: {why}")
        return not why

    def _whole(self, classifier: Classifier, train: PhotoSet, stage: Stage) -> str:
        """Why the network must run whole; empty: it can be cut, what is mixed can be, and the disk bound holds."""
        body, prepared = classifier.body, classifier.prepare(train.pixels(np.arange(1), None, ()))
        if not can_cut(body, stage.trains, prepared):
            return f"{self.recipe.backbone} cannot be cut at {stage.trains}"
        if stage.cutmix and not enters_as_map(body, stage.trains, prepared):
            return f"cutmix cuts rectangles, and what enters {stage.trains} is no map; mixup alone would do"
        needed = stage.views * FrozenPart(classifier, stage.trains, None).bytes_per_view(train)
        if needed > MAX_BYTES:
            kept = f"{MAX_BYTES / 2**30:.0f} GiB are kept at most"
            return f"its {stage.views} views would take {needed / 2**30:.1f} GiB, {kept}"
        return ""

    def _frozen(
        self,
        classifier: Classifier,
        stage: Stage,
        train: PhotoSet,
        held_out: PhotoSet,
        sampler: BatchSampler,
        mixing: Mixing | None,
    ) -> FeatureData:
        folder = self.cache.folder and self.cache.folder / "features"
        part = FrozenPart(classifier, stage.trains, folder, self.progress)
        plain = part.views(held_out, Views())[0] if len(held_out) else torch.zeros(0, 1)
        classes = len(self.train.classes)
        return FeatureData(
            part.views(train, _views(stage, self.recipe.seed)),
            train.targets(classes),
            torch.from_numpy(train.labels),
            Batch(plain, held_out.targets(classes), torch.from_numpy(held_out.labels)),
            sampler,
            mixing,
        )

    def _set(self, photos: Dataset, stage: Stage) -> PhotoSet:
        taught = (self.weights, self.wanted) if photos is self.train else (None, None)
        return PhotoSet(photos.photos, photos.labels, self.cache, self.geometry_of(stage), *taught)


def logit_offsets(seen: npt.NDArray[np.float64], tau: float) -> torch.Tensor:
    """What logits are given in training, so that without it rare classes are named as readily as frequent ones.

    Source: A. Menon et al., "Long-tail learning via logit adjustment", ICLR 2021: tau times the log of each class's
    share.

    Args:
        seen: (K,) photos of each class that train, by their weights.
        tau: how strongly.

    Returns:
        (K,) f32; 0 for a class without a photo, whose log would make every loss not-a-number.
    """
    logs = np.log(seen / seen.sum(), out=np.zeros(len(seen)), where=seen > 0)
    return tau * torch.from_numpy(logs.astype(np.float32))


def ranges_of(stage: Stage) -> ViewRanges:
    """The views of a stage as plain values."""
    a = stage.augment
    return ViewRanges(a.rotation, a.shift_x, a.shift_y, a.zoom, a.brightness, a.flip)


def _views(stage: Stage, seed: int) -> Views:
    ranges, augment = ranges_of(stage), stage.augment
    policy = make_policy(augment.policy, augment.erase)
    if ranges == ViewRanges() and policy is None:
        return Views()
    return Views(stage.views, ranges, policy, f"{augment.policy} {augment.erase}", seed)
