"""From a dataset and a recipe to a run and a bundle, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import Scan, scan
from carspotter.data.split import split
from carspotter.errors import SourceError
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.bundle import check_target
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Dataset, EpochRecord, Run, Split
from carspotter.tracking.machine import this_machine
from carspotter.tracking.runs import RunStore, RunWriter, open_store
from carspotter.training.allocator import keep_memory
from carspotter.training.backbones import find_backbone, load_backbone
from carspotter.training.beginning import Beginning, begin, born_from
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.devices import Device, DeviceName, device_for
from carspotter.training.frozen import state_hash
from carspotter.training.keeper import Keeper
from carspotter.training.loop import memory_named
from carspotter.training.onlooker import Onlooker, Writer
from carspotter.training.outside import ALONE, Outside, Sources, join, seen_by
from carspotter.training.ship import Origin, score, ship
from carspotter.training.stages import Course
from carspotter.training.units import find_freeze_point
from carspotter.workers import usable_cores

NAMED = 20
"""Photos left out that are named one by one. Assumption: nobody reads more; `check` lists all."""

Watch = Callable[[EpochRecord], None]


def train(  # noqa: PLR0913 - keywords, each a wish of its own
    source: Dataset | Scan,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    outside: Sources = ALONE,
    deliver: bool = True,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
    resume: str | None = None,
    device: DeviceName = "auto",
) -> Run:
    """Train a classifier and leave a bundle that has been validated through the shipped predictor.

    Args:
        source: labelled photos from `read_source`, or what `look` made of them.
        recipe: everything that decides the training; its last stage that trains gives the bundle its photo size.
        out: folder of the bundle; by default `models/RECIPE-RUN`.
        outside: photos of other sources; they train, weighed by the recipe, and never validate.
        deliver: export and validate a bundle; without it the run ends with the figures of the net itself.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        watch: called with each finished epoch; what it raises ends the training.
        progress: told about photos looked at, epochs, features, checkpoints.
        device: `auto` takes CUDA where there is one. Of several processes (`accelerate launch`) the first writes; the
            others return its run as far as it is.
        resume: id of an interrupted or failed run that this goes on with, in everything else as it began.

    Returns:
        The finished run.

    Raises:
        SourceError: no labels, or too few photos.
        TrackingError: the store cannot be used, or the run to resume cannot go on; each difference is named.
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
        BundleError: the model folder cannot be written.
        TrainingError: a loss became not-a-number, memory ran out, a photo vanished, or the export answers otherwise.
    """
    started = time.perf_counter()
    if deliver:
        check_target(out or Path("models") / f"{recipe.name}-RUN")
    with fixed_threads(recipe.threads) as threads, device_for(device, recipe) as here:
        # 1. Every photo is read and decoded once before anything is trusted, and divided before anything is trained.
        recipe = recipe.model_copy(update={"threads": threads})
        looked = source if isinstance(source, Scan) else look(source, progress=progress)
        divided = divide(looked, recipe)
        cache = cache or PhotoCache(default_cache_folder())
        joined = join(outside, looked, divided, recipe, cache=cache, progress=progress)
        scanned = time.perf_counter() - started
        card = find_backbone(recipe.backbone, recipe.weights)
        told = (*joined.sentences, *seen_by(card, _some(looked.dataset, divided.validation).photos))
        machine = this_machine(threads=threads, device=here.name)
        birth = born_from(looked.dataset, outside, joined).model_copy(
            update={"output": None if out is None else str(Path(out).absolute()), "delivers": deliver}
        )
        beginning = Beginning(recipe, looked.dataset, divided, machine, birth, told)
        store = store or open_store()
        with begin(store, beginning, resume, here.peers) as run:
            run.split(divided)
            course = _course(
                recipe,
                looked.dataset,
                divided,
                outside=joined,
                cache=cache,
                run=run,
                watch=watch,
                progress=progress,
                device=here,
            )

            # 2. The network, as it begins or as a checkpoint left it, then stage by stage.
            classifier, card = build(card, course)
            classifier.to(here.where)
            keeper = Keeper(classifier, run, progress, keep=deliver, peers=here.peers)
            if resume is not None:
                keeper.take_up()
            run.timing("scan", scanned)
            with keeper.named():
                for number, stage in course.stages:
                    with keeper.stage(number, stage) as to_do, memory_named(stage):
                        here.peers.same(lambda: state_hash(classifier.state_dict()), "weights")
                        if to_do:
                            course.fit(classifier, number, stage, keeper)

                # 3. What came out, judged on photos that trained nothing.
                if isinstance(run, Onlooker):
                    return store.get(run.id)
                classifier.cpu()
                if not deliver:
                    scores = score(classifier, course)
                    run.answers(scores, course.held_out.labels)
                    return run.finish(evaluate(scores, course.held_out.labels, course.held_out.classes))
                folder = Path(out) if out else Path("models") / f"{recipe.name}-{run.id[:8]}"
                began = time.perf_counter() - run.seconds - scanned
                origin = Origin(run.id, looked.dataset.fingerprint, looked.dataset.codes, told, began)
                with _timed(run, "export"):
                    bundle, scores, evaluation = ship(classifier, card, course, folder, origin)
                run.answers(scores, course.held_out.labels)
                return run.finish(evaluation, folder, bundle.hash)


def look(dataset: Dataset, *, strict: bool = False, progress: Progress = silent) -> Scan:
    """Read and decode every photo once; what cannot be used is named and left out.

    Raises:
        SourceError: no labels, no photo that can be used, or (strict) one that cannot.
    """
    if not dataset.classes:
        raise SourceError(
            f"{dataset.origin} has no labels, so there is nothing to learn; give a table or class folders"
        )
    keep_memory()  # before there are threads with arenas of their own
    looked = scan(dataset, progress=progress)
    refused = looked.dataset.rejected
    for row in refused[:NAMED]:
        progress("photos", len(dataset.photos), len(dataset.photos), f"left out {row.id}: {row.reason}: {row.sentence}")
    if strict and refused:
        raise SourceError([f"{r.id}: {r.reason}: {r.sentence}" for r in refused])
    if not looked.dataset.photos:
        raise SourceError(f"{dataset.origin}: none of its {len(refused)} photos can be used")
    return looked


def build(card: BackboneCard, course: Course) -> tuple[Classifier, BackboneCard]:
    """The network with fresh head weights, drawn from the recipe's seed.

    Raises:
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
    """
    recipe = course.recipe
    torch.manual_seed(recipe.seed)
    (_, first), head = course.stages[0], recipe.head
    backbone, card = load_backbone(card, height=first.height, width=first.width)
    for _, stage in course.stages:
        find_freeze_point(backbone, stage.trains)  # a wrong name is said now, not after an hour
    torch.manual_seed(recipe.seed)  # again: the first use of packaged weights draws numbers, later ones do not
    layers = Head(
        cast("int", backbone.num_features),
        len(course.train.classes),
        hidden=head.hidden,
        hidden_bias=head.hidden_bias,
        batchnorm=head.batchnorm,
        activation=head.activation,
        dropout=head.dropout,
        bias=head.bias,
    )
    classifier = Classifier(Body(backbone, head.pooling), layers, mean=card.mean, std=card.std)
    return classifier.to(memory_format=torch.channels_last), card


@contextmanager
def fixed_threads(wanted: int) -> Iterator[int]:
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


@contextmanager
def _timed(run: RunWriter, phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    run.timing(phase, time.perf_counter() - started)


def divide(looked: Scan, recipe: Recipe) -> Split:
    """Which photos train and which validate; near copies and groups stay on one side."""
    how = recipe.split
    groups = near_duplicates(looked.facts)
    return split(
        looked.dataset,
        groups,
        method=how.method,
        share=how.share,
        folds=how.folds,
        fold=how.fold,
        seed=recipe.split_seed,
    )


def _course(  # noqa: PLR0913 - what a training is made of
    recipe: Recipe,
    dataset: Dataset,
    divided: Split,
    *,
    outside: Outside,
    cache: PhotoCache,
    run: Writer,
    watch: Watch | None,
    progress: Progress,
    device: Device,
) -> Course:
    inside = _some(dataset, divided.train)

    def report(record: EpochRecord, epochs: int) -> None:
        run.epoch(record)
        progress(f"stage {record.stage}", record.epoch + 1, epochs, _epoch_line(record))
        if watch is not None:
            watch(record)

    return Course(
        recipe=recipe,
        train=replace(inside, photos=(*inside.photos, *outside.photos)),
        held_out=_some(dataset, divided.validation),
        weights=np.array([1.0] * len(inside.photos) + list(outside.weights), np.float32),
        cache=cache,
        started=run.freezing,
        report=report,
        progress=progress,
        device=device,
    )


def _some(dataset: Dataset, ids: Sequence[str]) -> Dataset:
    at = {photo.id: i for i, photo in enumerate(dataset.photos)}
    return dataset.subset([at[i] for i in ids])


def _epoch_line(record: EpochRecord) -> str:
    line = f"loss {record.train_loss:.3f}, accuracy {record.train_accuracy:.3f}"
    if record.val_loss is not None:
        line += f"; held out: loss {record.val_loss:.3f}, accuracy {record.val_accuracy:.3f}"
    return f"{line}; {record.seconds:.1f} s"
