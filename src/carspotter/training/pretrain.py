"""In-domain pretraining: a network that knows pictures becomes one that knows cars, once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from carspotter.data.cache import PhotoCache
from carspotter.inference.bundle import read_bundle
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Dataset, Run
from carspotter.tracking.runs import RunStore
from carspotter.training.backbones import find_backbone
from carspotter.training.kept import check_name, keep_backbone, seen_photos
from carspotter.training.train import look, train


def pretrain(
    dataset: Dataset,
    recipe: Recipe,
    name: str,
    *,
    note: str = "",
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> tuple[Run, BackboneCard]:
    """Train on many cars and keep the backbone under a name that other recipes can use.

    Args:
        dataset: labelled photos of many models.
        recipe: as for `train`; `car-net` is made for this.
        name: for `backbone = NAME` in other recipes.
        note: for the card: where the photos come from and what may be done with them.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        progress: as for `train`.

    Raises:
        BackboneError: the name is taken, or the folder cannot be written.
        SourceError, TrainingError: as for `train`.
    """
    check_name(name)
    parent = find_backbone(recipe.backbone, recipe.weights)
    looked = look(dataset, progress=progress)
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        run = train(looked, recipe, out=Path(place) / name, store=store, cache=cache, progress=progress)
        photos, classes = looked.dataset.photos, looked.dataset.classes
        minutes = f"{(run.seconds or 0) / 60:.0f} minutes on {run.machine.threads} threads"
        accuracy = f"accuracy {run.evaluation.accuracy}" if run.evaluation else "not judged"
        told = (
            f"{len(photos):,} photos of {len(classes)} classes from {Path(dataset.origin).name} ({minutes}, {accuracy})"
        )
        card = keep_backbone(
            read_bundle(Path(place) / name),
            name,
            trained_on=f"{told}{f'; {note}' if note else ''}",
            seen={photo.digest or "" for photo in photos} | (seen_photos(parent) if parent.source == "own" else set()),
        )
    return run, card
