"""From a dataset and a recipe to a run and a bundle; the only place that takes a recipe apart."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch

import carspotter
from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.disk import hash_file
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import Scan, scan
from carspotter.data.split import split
from carspotter.data.views import ViewRanges
from carspotter.errors import SourceError, TrainingError
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.bundle import MODEL, WEIGHTS, Bundle, check_target, write_bundle
from carspotter.inference.predictor import load
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe, Stage
from carspotter.records import (
    BackboneCard,
    BundleCard,
    Dataset,
    EpochRecord,
    Evaluation,
    Geometry,
    Provenance,
    Run,
    Split,
)
from carspotter.tracking.machine import this_machine
from carspotter.tracking.runs import RunStore, RunWriter, open_store
from carspotter.training.allocator import keep_memory
from carspotter.training.augment import make_mixing, make_policy
from carspotter.training.backbones import find_backbone, load_backbone, resize_backbone
from carspotter.training.classifier import Classifier, Head
from carspotter.training.export import export_onnx, parity, save_weights
from carspotter.training.feature_cache import pooled_features
from carspotter.training.freezing import Freezing
from carspotter.training.loop import Trainee, fit_stage, memory_named
from carspotter.training.material import FeatureMaterial, Material, PhotoMaterial, PhotoSet
from carspotter.training.schedule import make_optimizer, parameter_groups
from carspotter.training.units import find_freeze_point
from carspotter.workers import usable_cores

PARITY_PHOTOS = 16
"""Photos on which torch and the exported net are compared. Assumption: a wrong operator shows on any one."""
PARITY_LIMIT = 1e-3
"""Largest |difference| of a logit that is rounding: Lite0 and timm's small nets differ by 1e-6 to 1e-5 here."""
NAMED = 20
"""Photos left out that are named one by one. Assumption: nobody reads more; `check` lists all."""


def train(
    dataset: Dataset,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Run:
    """Train a classifier and leave a bundle that has been validated through the shipped predictor.

    Args:
        dataset: labelled photos, from `read_source`.
        recipe: everything that decides the training; its last stage that trains gives the bundle its photo size.
        out: folder of the bundle; by default `models/RECIPE-RUN`.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        strict: refuse a source with unreadable photos instead of leaving them out.
        progress: told about photos looked at, epochs, features.

    Returns:
        The finished run.

    Raises:
        SourceError: no labels, too few photos, or (strict) photos that cannot be used.
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
        BundleError: the model folder cannot be written.
        TrainingError: a loss became not-a-number, memory ran out, a photo vanished, or the export answers otherwise.
    """
    started = time.perf_counter()
    check_target(out or Path("models") / f"{recipe.name}-RUN")
    with _threads(recipe.threads) as threads:
        looked = _look(dataset, strict, progress)
        scanned = time.perf_counter() - started
        recipe = recipe.model_copy(update={"threads": threads})
        cache = cache or PhotoCache(default_cache_folder())
        card = find_backbone(recipe.backbone, recipe.weights)
        with (store or open_store()).start(recipe, looked.dataset, this_machine(threads=threads)) as run:
            run.timing("scan", scanned)
            job = _Job(recipe, looked.dataset, _divide(looked, recipe), cache, run, progress, started)
            run.split(job.split)
            classifier, card = job.build(card)
            for number, stage in job.stages:
                with job.timed(f"stage {stage.name}"), memory_named(stage):
                    job.fit(classifier, number, stage)
            folder = Path(out) if out else Path("models") / f"{recipe.name}-{run.id[:8]}"
            with job.timed("export"):
                bundle, evaluation = job.ship(classifier, card, folder)
            return run.finish(evaluation, folder, bundle.hash)


@contextmanager
def _threads(wanted: int) -> Iterator[int]:
    """A fixed number of CPU threads and deterministic kernels, put back afterwards: both are part of the result.

    What the C library was told about memory stays told: there is no way back, and no result depends on it.
    """
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    threads = wanted or usable_cores()
    keep_memory()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)


def _look(dataset: Dataset, strict: bool, progress: Progress) -> Scan:
    """Every photo is read and decoded once before anything is trusted."""
    if not dataset.classes:
        raise SourceError(
            f"{dataset.origin} has no labels, so there is nothing to learn; give a table or class folders"
        )
    looked = scan(dataset, progress=progress)
    refused = looked.dataset.rejected
    for row in refused[:NAMED]:
        progress("photos", len(dataset.photos), len(dataset.photos), f"left out {row.id}: {row.reason}: {row.sentence}")
    if strict and refused:
        raise SourceError([f"{r.id}: {r.reason}: {r.sentence}" for r in refused])
    if not looked.dataset.photos:
        raise SourceError(f"{dataset.origin}: none of its {len(refused)} photos can be used")
    return looked


def _divide(looked: Scan, recipe: Recipe) -> Split:
    how = recipe.split
    groups = near_duplicates(looked.facts)
    return split(
        looked.dataset,
        groups,
        method=how.method,
        share=how.share,
        folds=how.folds,
        fold=how.fold,
        seed=recipe.seed,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """One training: its settings, its data, and where it reports to."""

    recipe: Recipe
    dataset: Dataset
    split: Split
    cache: PhotoCache
    run: RunWriter
    progress: Progress
    started: float

    @property
    def stages(self) -> list[tuple[int, Stage]]:
        """The stages that train, with their numbers in the recipe."""
        return [(number, stage) for number, stage in enumerate(self.recipe.stage) if stage.epochs]

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.run.timing(phase, time.perf_counter() - started)

    def build(self, card: BackboneCard) -> tuple[Classifier, BackboneCard]:
        """The network with fresh head weights, drawn from the recipe's seed."""
        torch.manual_seed(self.recipe.seed)
        (_, first), head = self.stages[0], self.recipe.head
        backbone, card = load_backbone(card, height=first.height, width=first.width)
        for _, stage in self.stages:
            find_freeze_point(backbone, stage.trains)  # a wrong name is said now, not after an hour
        torch.manual_seed(self.recipe.seed)  # again: the first use of packaged weights draws numbers, later ones do not
        layers = Head(
            cast("int", backbone.num_features),
            len(self.dataset.classes),
            hidden=head.hidden,
            hidden_bias=head.hidden_bias,
            batchnorm=head.batchnorm,
            activation=head.activation,
            dropout=head.dropout,
            bias=head.bias,
        )
        classifier = Classifier(backbone, layers, pooling=head.pooling, mean=card.mean, std=card.std)
        return classifier.to(memory_format=torch.channels_last), card

    def fit(self, classifier: Classifier, number: int, stage: Stage) -> None:
        """One stage."""
        resize_backbone(classifier.backbone, stage.height, stage.width)
        freezing = Freezing(classifier, stage.trains, freeze_batchnorm=stage.freeze_batchnorm)
        self.run.freezing(freezing.summary(stage.name))
        groups = parameter_groups(
            classifier.head,
            freezing.trained,
            lr=stage.lr,
            backbone_lr=stage.backbone_lr or stage.lr,
            layer_decay=stage.layer_decay,
            weight_decay=stage.weight_decay,
        )
        head = self.recipe.head
        trainee = Trainee(
            module=classifier.head if freezing.head_only else classifier,
            train_mode=freezing.train_mode,
            optimizer=make_optimizer(stage.optimizer, groups, stage.lr),
            penalty=(lambda: classifier.head.penalty(head.l1, head.l2)) if head.l1 or head.l2 else None,
            mixing=None if freezing.head_only else make_mixing(len(self.dataset.classes), stage.mixup, stage.cutmix),
        )
        feed = self._features if freezing.head_only else self._photos
        material = feed(classifier, number, stage)

        def report(record: EpochRecord, epochs: int) -> None:
            self.run.epoch(record)
            self.progress(f"stage {stage.name}", record.epoch + 1, epochs, _epoch_line(record))

        fit_stage(trainee, material, stage, seed=self.recipe.seed * 1_000 + number, report=report)

    def _photos(self, classifier: Classifier, number: int, stage: Stage) -> Material:
        return PhotoMaterial(
            self._set(self.split.train, stage),
            self._set(self.split.validation, stage),
            classifier.prepare,
            batch=stage.batch,
            ranges=_ranges(stage),
            policy=make_policy(stage.augment.policy, stage.augment.erase),
            seed=(self.recipe.seed, number),
        )

    def _features(self, classifier: Classifier, number: int, stage: Stage) -> Material:
        """A frozen backbone is run once per photo and view, not once per epoch."""
        train, held_out = self._set(self.split.train, stage), self._set(self.split.validation, stage)
        ranges = _ranges(stage)
        folder = self.cache.folder and self.cache.folder / "features"
        views = stage.views if ranges != ViewRanges() else 1
        seen, plain = (
            pooled_features(
                classifier,
                photos,
                ranges=r,
                views=views,
                seed=self.recipe.seed,
                folder=folder,
                progress=self.progress,
            )
            for photos, r in ((train, ranges), (held_out, None))
        )
        seed = (self.recipe.seed, number)
        return FeatureMaterial(seen, train.labels, plain[0], held_out.labels, batch=stage.batch, seed=seed)

    def _set(self, ids: tuple[str, ...], stage: Stage) -> PhotoSet:
        some = self._some(ids)
        return PhotoSet(some.photos, some.labels, self.cache, self._geometry(stage))

    def _some(self, ids: tuple[str, ...]) -> Dataset:
        at = {photo.id: i for i, photo in enumerate(self.dataset.photos)}
        return self.dataset.subset([at[i] for i in ids])

    def _geometry(self, stage: Stage) -> Geometry:
        return Geometry(height=stage.height, width=stage.width, fit=self.recipe.fit)

    def ship(self, classifier: Classifier, card: BackboneCard, folder: Path) -> tuple[Bundle, Evaluation]:
        """Export, compare with torch, validate through the predictor, write."""
        geometry = self._geometry(self.stages[-1][1])
        held_out = self._some(self.split.validation)
        with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
            files = {MODEL: Path(place) / MODEL, WEIGHTS: Path(place) / WEIGHTS}
            export_onnx(classifier, geometry, files[MODEL])
            save_weights(classifier, files[WEIGHTS])
            some = [self.cache.pixels(photo, geometry) for photo in held_out.photos[:PARITY_PHOTOS]]
            difference = parity(classifier, files[MODEL], some)
            if not difference <= PARITY_LIMIT:
                raise TrainingError(
                    f"the exported net answers otherwise than the trained one: logits differ by {difference:.2g}, "
                    f"{PARITY_LIMIT} is allowed; train another backbone and report this one"
                )
            draft = self._card(folder.name, card, geometry, files, difference)
            trial = write_bundle(Path(place) / "trial", draft, files)
            scores = load(trial.folder, threads=self.recipe.threads).scores(held_out, cache=self.cache)
            evaluation = evaluate(scores, held_out.labels, self.dataset.classes)
            final = draft.model_copy(update={"evaluation": evaluation})
            return write_bundle(folder, final, files), evaluation

    def _card(
        self, name: str, backbone: BackboneCard, geometry: Geometry, files: dict[str, Path], difference: float
    ) -> BundleCard:
        machine = this_machine(threads=self.recipe.threads)
        return BundleCard(
            name=name,
            classes=self.dataset.classes,
            codes=self.dataset.codes,
            geometry=geometry,
            backbone=backbone,
            recipe=self.recipe,
            dataset=self.dataset.fingerprint,
            evaluation=None,
            files={file: hash_file(path) for file, path in files.items()},
            carspotter=carspotter.__version__,
            provenance=Provenance(
                run_id=self.run.id,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=time.perf_counter() - self.started,
                machine=f"{machine.processor}, {machine.threads} threads",
                parity=difference,
            ),
        )


def _epoch_line(record: EpochRecord) -> str:
    line = f"loss {record.train_loss:.3f}, accuracy {record.train_accuracy:.3f}"
    if record.val_loss is not None:
        line += f"; held out: loss {record.val_loss:.3f}, accuracy {record.val_accuracy:.3f}"
    return f"{line}; {record.seconds:.1f} s"


def _ranges(stage: Stage) -> ViewRanges:
    a = stage.augment
    return ViewRanges(a.rotation, a.shift_x, a.shift_y, a.zoom, a.brightness, a.flip)
