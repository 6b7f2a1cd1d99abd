"""In-domain pretraining: a network that knows pictures becomes one that knows cars, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carspotter.data.cache import PhotoCache
from carspotter.data.scan import Scan
from carspotter.errors import BackboneError, RecipeError, TrackingError
from carspotter.inference.bundle import Bundle, read_bundle
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Dataset, Run
from carspotter.tracking.runs import RunStore, open_store
from carspotter.training.backbones import find_backbone
from carspotter.training.beginning import bundle_place
from carspotter.training.job import USUAL, Job
from carspotter.training.kept import check_name, keep_backbone
from carspotter.training.look import look
from carspotter.training.outside import ALONE
from carspotter.training.seen import Seen, seen_photos, write_seen
from carspotter.training.train import train
from carspotter.workers import processes

UNSTATED = "origin and terms of the photos not stated"
"""Stands on the card in place of a note: whoever starts from the backbone shall see that nobody said."""


def pretrain(
    source: Dataset | Scan,
    recipe: Recipe,
    name: str,
    *,
    job: Job = USUAL,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> tuple[Run, BackboneCard]:
    """Train on many cars, leave a bundle as `train` does, and keep its backbone under a name for other recipes.

    Args:
        source: labelled photos of many models, or what `look` made of them.
        recipe: as for `train`; `car-net` is made for this.
        name: for `backbone = NAME` in other recipes.
        job: its note goes on the card (where the photos come from and what may be done with them); without one the card
            says that nobody said. What it resumes may also have finished without its backbone being kept: then nothing
            is trained.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        progress: as for `train`.

    Raises:
        BackboneError: the name is taken, or the backbone cannot be written; its bundle is then whole, and named.
        SourceError, TrackingError, TrainingError: as for `train`.
    """
    if processes() > 1:
        raise RecipeError(f"pretrain works in one process, not in {processes()}; start it without a launcher")
    if job.outside != ALONE:
        raise RecipeError("pretrain learns from one source; photos from others would train it and be named nowhere")
    check_name(name)
    parent = find_backbone(recipe.backbone, recipe.weights)
    before = seen_photos(parent) if parent.source == "own" else Seen()  # unreadable: said now, not after an hour
    looked = source if isinstance(source, Scan) else look(source, progress=progress)
    store = store or open_store()
    run = None if job.resume is None else _finished(store, job.resume, looked)
    if run is None:
        place = None if job.resume is None else bundle_place(store.get(job.resume))
        asked = replace(job, deliver=True, backbone=name)
        run = train(looked, recipe, out=place, job=asked, store=store, cache=cache, progress=progress)
    return run, _keep(run, name, job.note, looked, before)


def _finished(store: RunStore, run_id: str, looked: Scan) -> Run | None:
    """The pretraining with this id if nothing of it is left to train.

    Raises:
        TrackingError: its photos are not these.
    """
    run = store.get(run_id)
    if run.status != "finished" or run.birth is None or not run.birth.backbone:
        return None
    if run.dataset != looked.dataset.fingerprint:
        raise TrackingError(
            f"run {run.id[:8]} was trained on other photos or labels (fingerprint {run.dataset[:12]}, here "
            f"{looked.dataset.fingerprint[:12]}); name those, or the card would tell an untruth"
        )
    return run


def _keep(run: Run, name: str, note: str, looked: Scan, before: Seen) -> BackboneCard:
    """Raises BackboneError where it cannot be kept; what was trained stays."""
    seen, bundle = Seen.of(looked.facts).and_also(before), _bundle(run)
    try:
        told = _told(run, looked.dataset, note)
        return keep_backbone(bundle, name, trained_on=told, tell=lambda path: write_seen(path, seen))
    except BackboneError as fault:
        raise BackboneError(
            f"{fault}; the trained net is whole in {bundle.folder}, and `carspotter pretrain --resume {run.id[:8]}` "
            "keeps its backbone once that is mended"
        ) from None


def _bundle(run: Run) -> Bundle:
    """The bundle that a run left, and no other.

    Raises:
        BundleError: gone or damaged.
        BackboneError: another training's lies in its place.
    """
    bundle = read_bundle(bundle_place(run))
    if bundle.hash != run.bundle_hash:
        raise BackboneError(f"{bundle.folder} holds another net than run {run.id[:8]} left")
    return bundle


def _told(run: Run, dataset: Dataset, note: str) -> str:
    """What the card says of the training."""
    minutes = f"{(run.seconds or 0) / 60:.0f} minutes on {run.machine.threads} threads"
    accuracy = f"accuracy {run.evaluation.accuracy}" if run.evaluation else "not judged"
    photos = f"{len(dataset.photos):,} photos of {len(dataset.classes)} classes"
    told = f"{photos} from {Path(dataset.origin).name} ({minutes}, {accuracy})"
    return f"{told}; {note or UNSTATED}"
