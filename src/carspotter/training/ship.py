"""The end of a training: export, proof, and figures through the shipped predictor."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import carspotter
from carspotter.data.cache import PhotoCache
from carspotter.data.disk import hash_file
from carspotter.errors import TrainingError
from carspotter.evaluation.calibration import calibrate, parts_of
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.bundle import FINDER, MODEL, WEIGHTS, Bundle, write_bundle
from carspotter.inference.finder import NetFinder
from carspotter.inference.predictor import load
from carspotter.records import BackboneCard, BundleCard, Evaluation, Geometry, Photo, Provenance, Scores
from carspotter.tracking.machine import this_machine
from carspotter.training.classifier import Classifier
from carspotter.training.explain import rows_of
from carspotter.training.export import export_onnx, parity, save_weights
from carspotter.training.loop import evaluating
from carspotter.training.memory import add_finder, add_reference, know_strangers, remember
from carspotter.training.stage_data import PhotoSet, ahead, even_batches
from carspotter.training.stages import TrainingPlan

PARITY_PHOTOS = 16
"""Photos on which torch and the exported net are compared. Assumption: a wrong operator shows on any one."""
PARITY_LIMIT = 1e-3
"""Largest |difference| of a logit that is rounding: Lite0 and timm's small nets differ by 1e-6 to 1e-5 here."""
BATCH = 32
"""Photos scored at once by torch. Assumption: a training's step of half that size has fitted before."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the card says of where a bundle comes from.

    Attributes:
        run_id: of the training.
        dataset: fingerprint of the source.
        codes: how the training table writes each class.
        outside: sentences about photos from other sources; empty for the source alone.
        started: `time.perf_counter` at its beginning.
    """

    run_id: str
    dataset: str
    codes: tuple[str, ...]
    outside: tuple[str, ...]
    started: float


def score(classifier: Classifier, plan: TrainingPlan) -> Scores:
    """What the trained net itself says of the held-out photos, of which there are some; without export."""
    photos = PhotoSet(plan.held_out.photos, plan.held_out.labels, plan.cache, plan.geometry)
    logits, embeddings = [], []
    chunks = even_batches(np.arange(len(photos)), BATCH)
    with evaluating(classifier), closing(ahead(lambda index: photos.pixels(index, None, ()), chunks)) as batches:
        for pixels in batches:
            embedding = classifier.head.embed(classifier.body(classifier.prepare(pixels)))
            embeddings.append(embedding.numpy())
            logits.append(classifier.head.linear(embedding).numpy())
    ids = tuple(photo.id for photo in plan.held_out.photos)
    return Scores(ids, np.concatenate(logits), np.concatenate(embeddings))


def ship(
    classifier: Classifier, card: BackboneCard, plan: TrainingPlan, folder: Path, origin: Origin
) -> tuple[Bundle, Scores, Evaluation | None]:
    """Export, compare with torch, validate through the predictor, write.

    Where nothing is held out, nothing is validated, and the card has no figures.

    Raises:
        TrainingError: the export answers otherwise than the net.
        BundleError: the folder cannot be written.
    """
    held_out = plan.held_out
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        photos = held_out.photos or plan.train.photos
        files, difference = pack(classifier, photos, plan.cache, plan.geometry, Path(place))
        draft = _card(folder.name, card, plan, origin, files, difference)
        trial = write_bundle(Path(place) / "trial", draft, files)
        predictor = load(trial.folder, threads=plan.recipe.threads)
        scores = predictor.scores(held_out, cache=plan.cache)
        evaluation = evaluate(scores, held_out.labels, held_out.classes, plan.groups) if held_out.photos else None
        reference = remember(predictor, plan.train, rows_of(classifier), plan.cache, plan.progress)
        calibration = calibrate(scores.logits, held_out.labels, parts_of(plan.groups), wrong=plan.recipe.wrong_cost)
        if calibration is not None and reference is not None:
            calibration, seer = know_strangers(calibration, reference, scores, held_out, plan.progress)
            add_finder(files, seer, Path(place))
        add_reference(files, reference, Path(place))
        provenance = draft.provenance.model_copy(update={"seconds": time.perf_counter() - origin.started})
        final = draft.model_copy(
            update={
                "evaluation": evaluation,
                "calibration": calibration,
                "files": hash_files(files),
                "provenance": provenance,
            }
        )
        return write_bundle(folder, final, files), scores, evaluation


def pack(
    classifier: Classifier, photos: Sequence[Photo], cache: PhotoCache, geometry: Geometry, place: Path
) -> tuple[dict[str, Path], float]:
    """The files of a bundle, and proof that its net answers as the trained one.

    Args:
        classifier: trained.
        photos: real ones, of which the first are compared.
        cache: with the finder that the geometry asks for.
        geometry: of the bundle.
        place: folder for the files.

    Returns:
        File name → path, and the largest |difference| of a logit.

    Raises:
        TrainingError: the export answers otherwise than the net.
    """
    files = {MODEL: place / MODEL, WEIGHTS: place / WEIGHTS}
    export_onnx(classifier, geometry, files[MODEL])
    save_weights(classifier, files[WEIGHTS])
    if isinstance(finder := cache.finder, NetFinder):
        files[FINDER] = place / FINDER
        files[FINDER].write_bytes(finder.model)
    difference = parity(classifier, files[MODEL], [cache.pixels(photo, geometry) for photo in photos[:PARITY_PHOTOS]])
    if not difference <= PARITY_LIMIT:
        raise TrainingError(
            f"the exported net answers otherwise than the trained one: logits differ by {difference:.2g}, "
            f"{PARITY_LIMIT} is allowed; train another backbone and report this one"
        )
    return files, difference


def hash_files(files: Mapping[str, Path]) -> dict[str, str]:
    """File name → sha256, as a card has them."""
    return {name: hash_file(path) for name, path in files.items()}


def _card(
    name: str, backbone: BackboneCard, plan: TrainingPlan, origin: Origin, files: dict[str, Path], difference: float
) -> BundleCard:
    machine = this_machine(threads=plan.recipe.threads)
    return BundleCard(
        name=name,
        classes=plan.train.classes,
        codes=origin.codes,
        parents=dict(plan.train.parents),
        geometry=plan.geometry,
        backbone=backbone,
        recipe=plan.recipe,
        dataset=origin.dataset,
        outside=origin.outside,
        evaluation=None,
        files=hash_files(files),
        carspotter=carspotter.__version__,
        provenance=Provenance(
            run_id=origin.run_id,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.perf_counter() - origin.started,
            machine=f"{machine.processor}, {machine.threads} threads",
            parity=difference,
        ),
    )
