"""From a dataset and a recipe to a run and a bundle, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.scan import Scan
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.bundle import check_target
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Dataset, EpochRecord, Run
from carspotter.tracking.machine import this_machine
from carspotter.tracking.runs import RunStore, RunWriter, open_store
from carspotter.training.allocator import release_memory
from carspotter.training.backbones import find_backbone
from carspotter.training.beginning import Beginning, begin, born_from
from carspotter.training.build import build
from carspotter.training.checkpointer import Checkpointer
from carspotter.training.classifier import Classifier
from carspotter.training.devices import Device
from carspotter.training.finder import finder_for
from carspotter.training.frozen import state_hash
from carspotter.training.gather import Gathered, gather
from carspotter.training.job import USUAL, Job, Watch
from carspotter.training.loop import memory_named
from carspotter.training.null_writer import NullWriter, Writer
from carspotter.training.seen import seen_by
from carspotter.training.ship import Origin, score, ship
from carspotter.training.stages import TrainingPlan
from carspotter.training.workplace import workplace

MODELS = Path("models")
"""Where bundles go when nobody says."""


def train(
    source: Dataset | Scan | Gathered,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    job: Job = USUAL,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Run:
    """Train a classifier and leave a bundle that has been validated through the shipped predictor.

    Args:
        source: labelled photos from `read_source`, what `look` made of them, or `gather` with the same recipe and job.
        recipe: everything that decides the training; its last stage that trains gives the bundle its photo size.
        out: folder of the bundle; by default `models/RECIPE-RUN`.
        job: outside photos, device, a run to go on with.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        progress: told about photos looked at, epochs, features, checkpoints.

    Returns:
        The finished run.

    Raises:
        SourceError: no labels, too few photos, or (a strict job) photos that cannot be used.
        TrackingError: the store cannot be used, or the run to resume cannot go on; each difference is named.
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
        BundleError: the model folder cannot be written.
        TrainingError: a loss became not-a-number, memory ran out, a photo vanished, or the export answers otherwise.
    """
    started = time.perf_counter()
    if job.deliver:
        check_target(out or MODELS / f"{recipe.name}-RUN")
    with workplace(recipe, job.device) as (resolved, device):
        # 1. Every photo is read and decoded once before anything is trusted, and divided before anything is trained.
        cache = cache or PhotoCache(default_cache_folder())
        finder = finder_for(resolved)
        photos = source
        if not isinstance(photos, Gathered):
            photos = gather(photos, resolved, job.outside, strict=job.strict, cache=cache, progress=progress)
        cache = cache.with_finder(finder)
        scanned = time.perf_counter() - started
        card = find_backbone(resolved.backbone, resolved.weights)
        beginning = _beginning(resolved, photos, card, job, out, device)
        store = store or open_store()
        with begin(store, beginning, job.resume, device.peers) as run:
            if store.is_shared:
                progress("run", 0, 0, f"{run.id[:8]}, its files in {run.folder}")
            run.split(photos.split)

            # 2. The network, as it begins or as a checkpoint left it, then stage by stage.
            plan = _plan(resolved, photos, run, cache=cache, device=device, watch=job.watch, progress=progress)
            classifier, card = build(card, plan)
            classifier.to(device.where)
            checkpointer = Checkpointer(
                classifier, run, progress, keep=job.deliver, peers=device.peers, command=job.command
            )
            if job.resume is not None:
                checkpointer.take_up()
            run.timing("scan", scanned)
            with checkpointer.named():
                _fit_stages(classifier, plan, checkpointer)

                # 3. What came out, judged on photos that trained nothing.
                if isinstance(run, NullWriter):
                    return store.get(run.id)
                classifier.cpu()
                if not job.deliver:
                    return _judge(run, classifier, plan)
                folder = Path(out) if out else MODELS / f"{recipe.name}-{run.id[:8]}"
                return _deliver(run, classifier, card, plan, folder, _origin(run, beginning, scanned))


def _beginning(
    recipe: Recipe, photos: Gathered, card: BackboneCard, job: Job, out: str | Path | None, device: Device
) -> Beginning:
    """Everything that decides this training, and what must be told of it."""
    dataset = photos.looked.dataset
    place = None if out is None else str(Path(out).absolute())
    asked = {"output": place, "delivers": job.deliver, "backbone": job.backbone, "note": job.note}
    return Beginning(
        recipe=recipe,
        dataset=dataset,
        split=photos.split,
        machine=this_machine(threads=recipe.threads, device=device.name),
        birth=born_from(dataset, job.outside, photos, card).model_copy(update=asked),
        told=(*photos.outside.sentences, *seen_by(card, photos.held_out_facts)),
    )


def _plan(
    recipe: Recipe,
    photos: Gathered,
    run: Writer,
    *,
    cache: PhotoCache,
    device: Device,
    watch: Watch | None,
    progress: Progress,
) -> TrainingPlan:
    def report(record: EpochRecord, epochs: int) -> None:
        run.epoch(record)
        progress(f"stage {record.stage}", record.epoch + 1, epochs, _epoch_line(record))
        if watch is not None:
            watch(record)

    return TrainingPlan(
        recipe=recipe,
        train=photos.train,
        held_out=photos.held_out,
        weights=photos.weights,
        wanted=photos.wanted,
        groups=photos.held_out_groups,
        cache=cache,
        started=run.freezing,
        report=report,
        progress=progress,
        device=device,
    )


def _fit_stages(classifier: Classifier, plan: TrainingPlan, checkpointer: Checkpointer) -> None:
    """Every stage in order, or what a checkpoint leaves of them."""
    for number, stage in plan.stages:
        with checkpointer.stage(number, stage) as to_do, memory_named(stage):
            plan.device.peers.same(lambda: state_hash(classifier.state_dict()), "weights")
            if to_do:
                plan.fit(classifier, number, stage, checkpointer)
                release_memory()


def _judge(run: RunWriter, classifier: Classifier, plan: TrainingPlan) -> Run:
    """End a run that ships nothing with the figures of the net itself."""
    held_out = plan.held_out
    if not held_out.photos:
        return run.finish()
    scores = score(classifier, plan)
    run.answers(scores, held_out.labels, plan.groups)
    return run.finish(evaluate(scores, held_out.labels, held_out.classes, plan.groups))


def _deliver(
    run: RunWriter, classifier: Classifier, card: BackboneCard, plan: TrainingPlan, folder: Path, origin: Origin
) -> Run:
    """End a run with a bundle that was validated through the shipped predictor."""
    with _timed(run, "export"):
        bundle, scores, evaluation = ship(classifier, card, plan, folder, origin)
    if evaluation is not None:
        run.answers(scores, plan.held_out.labels, plan.groups)
    return run.finish(evaluation, folder, bundle.hash)


def _origin(run: RunWriter, beginning: Beginning, scanned: float) -> Origin:
    """What the card says of where the bundle comes from; a resumed run's earlier sittings count as well."""
    dataset = beginning.dataset
    began = time.perf_counter() - run.seconds - scanned
    return Origin(run.id, dataset.fingerprint, dataset.codes, beginning.told, began)


@contextmanager
def _timed(run: RunWriter, phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    run.timing(phase, time.perf_counter() - started)


def _epoch_line(record: EpochRecord) -> str:
    line = f"loss {record.train_loss:.3f}, accuracy {record.train_accuracy:.3f}"
    if record.val_loss is not None:
        line += f"; held out: loss {record.val_loss:.3f}, accuracy {record.val_accuracy:.3f}"
    return f"{line}; {record.seconds:.1f} s"
