"""Every fold of a recipe trained, and their networks joined into one model.

Bagging over folds: each photo trains all networks but one, which judges it. So almost every labelled photo has an
answer by a network that never saw it (not those of a class with a single photo, which always train): figures and
calibration rest on all of these, not on a small part. The mean of several networks' logits usually errs less than one.
Repeated with other divisions, as many networks as there are repeats never saw a photo, and their mean judges it.
Source: L. Breiman, "Bagging predictors", Machine Learning 24 (1996); over folds as in N. Erickson et al.,
"AutoGluon-Tabular", 2020. Joined as a soup they are one network with the mean of all weights, which answers as fast as
one: M. Wortsman et al., "Model soups", 2022; its BatchNorm statistics are counted anew, as for P. Izmailov et al.,
"Averaging weights leads to wider optima and better generalization", 2018.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import carspotter
from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.scan import Scan
from carspotter.data.wording import some
from carspotter.errors import BundleError, RecipeError, SourceError, TrackingError
from carspotter.evaluation.calibration import calibrate
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.bundle import FINDER, Bundle, check_target, read_bundle, write_bundle
from carspotter.inference.predictor import load
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe
from carspotter.records import (
    MOST_MEMBERS,
    Birth,
    BundleCard,
    Calibration,
    HeldOut,
    Join,
    Provenance,
    Run,
    hash_json,
)
from carspotter.tracking.out_of_fold import mean_answers
from carspotter.tracking.runs import RunStore, open_store
from carspotter.tracking.sides import division
from carspotter.training.backbones import find_backbone, weights_hash
from carspotter.training.beginning import bundle_place, code_hash
from carspotter.training.classifier import Body, Classifier, Head, Joint
from carspotter.training.explain import load_classifier, rows_of
from carspotter.training.finder import finder_for
from carspotter.training.job import USUAL, Job
from carspotter.training.memory import add_reference, remember
from carspotter.training.ship import BATCH, hash_files, pack
from carspotter.training.stage_data import PhotoSet, even_batches
from carspotter.training.train import MODELS, train
from carspotter.workers import processes


@dataclass(frozen=True, slots=True)
class Joined:
    """A model of several networks, and the trainings they come from.

    Attributes:
        bundle: as written.
        runs: one per fold of each division.
        trained: how many of them were trained now; the others had been finished before.
    """

    bundle: Bundle
    runs: tuple[Run, ...]
    trained: int


def train_folds(
    source: Scan,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    job: Job = USUAL,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Joined:
    """Train a recipe once per fold, then join the networks. Folds that finished before are not trained again.

    Args:
        source: what `look` made of labelled photos.
        recipe: its number of folds counts; which one validates does not.
        out: folder of the joined model; by default `models/RECIPE-folds`. Each fold's own model lies beside it, as
            `OUT-fold0`, and those of later divisions as `OUT-repeat2-fold0`.
        job: outside photos, device, how often it is repeated, and how the networks become one.
        store: of runs; by default the working folder's.
        cache: of decoded photos; by default the user's.
        progress: told about all of it.

    Raises:
        RecipeError: the heads are not linear, so that their networks cannot stand side by side, or these are too many.
        SourceError, TrackingError, BackboneError, BundleError, TrainingError: as `train`.
    """
    if job.outside.teacher is not None:
        raise SourceError(
            "a teacher has held out the photos of one fold and would teach the others what they are judged on; train "
            "fold by fold, each with a teacher of its own"
        )
    if processes() > 1:
        raise RecipeError(f"every fold trains in one process, not in {processes()}; start it without a launcher")
    if job.join == "mean":
        _must_be_linear(recipe)
    if not 1 <= (number := job.repeats * recipe.split.folds) <= MOST_MEMBERS:
        raise RecipeError(
            f"{job.repeats} times {recipe.split.folds} folds are {number} networks, not 1 to {MOST_MEMBERS}; set other "
            "folds (split.folds) or repeats"
        )
    folder = Path(out) if out is not None else MODELS / f"{recipe.name}-folds"
    plans = {}
    for repeat, fold in product(range(job.repeats), range(recipe.split.folds)):
        again = f"-repeat{repeat + 1}" if repeat else ""
        plans[folder.parent / f"{folder.name}{again}-fold{fold}"] = of_fold(recipe, fold, repeat, job.join)
    for place in (folder, *plans):
        check_target(place)
    store = store or open_store()
    cache = cache or PhotoCache(default_cache_folder())
    runs, trained = [], 0
    for place, one in plans.items():
        run = _finished(store, one, source.dataset.fingerprint, job)
        if run is None:
            run = train(source, one, out=place, job=job, store=store, cache=cache, progress=progress)
            trained += 1
        runs.append(run)
        progress("folds", len(runs), len(plans), f"run {run.id[:8]}, accuracy {run.accuracy}")
    return Joined(join(source, runs, folder, how=job.join, store=store, cache=cache), tuple(runs), trained)


def of_fold(recipe: Recipe, fold: int, repeat: int = 0, how: Join = "mean") -> Recipe:
    """The recipe with this fold held out, divided by a seed of its own so that all folds are of one division.

    Each repeat has the next seed of the division. It has the next one of the training too, but for a soup, whose
    networks must begin alike.

    Raises:
        RecipeError: there is no next seed.
    """
    split = recipe.split.model_copy(update={"method": "folds", "fold": fold, "seed": recipe.split_seed + repeat})
    seed = recipe.seed + (repeat if how == "mean" else 0)
    try:
        return Recipe.model_validate(recipe.model_dump() | {"split": split.model_dump(), "seed": seed})
    except ValidationError as fault:
        raise RecipeError(f"fold {fold} of repeat {repeat + 1}: {fault.errors()[0]['msg']}") from None


def _must_be_linear(recipe: Recipe) -> None:
    if recipe.head.hidden or recipe.head.pooling == "own":
        raise RecipeError(
            "networks stand side by side by their heads' rows, so the head must be linear and its pooling avg, max or "
            "avgmax; set head.hidden = 0, or join them as a soup"
        )


def _finished(store: RunStore, recipe: Recipe, dataset: str, job: Job) -> Run | None:
    """The last finished training of exactly this, with its model still there.

    Where photos from outside train, it is not looked for: which of them did is known only after they were read.
    """
    if job.outside != USUAL.outside:
        return None
    weights = weights_hash(find_backbone(recipe.backbone, recipe.weights))
    for run in reversed(store.list()):
        birth = run.birth or Birth()
        same = run.recipe.model_copy(update={"threads": recipe.threads}) == recipe and run.dataset == dataset
        same = same and (birth.code, birth.weights) == (code_hash(), weights)
        same = same and not birth.had_help
        if same and run.status == "finished" and _is_whole(run):
            return run
    return None


def _is_whole(run: Run) -> bool:
    """Whether a run's model is still there and its own."""
    try:
        _bundle_of(run)
    except BundleError:
        return False
    return True


def join(
    source: Scan,
    runs: Sequence[Run],
    folder: str | Path,
    *,
    how: Join = "mean",
    store: RunStore,
    cache: PhotoCache | None = None,
) -> Bundle:
    """One model of the networks of all folds, calibrated on answers that each gave to photos it had not seen.

    Args:
        source: the labelled photos that the runs were trained on.
        runs: one finished run per fold of one recipe, of one division after another.
        folder: of the model.
        how: networks side by side, or a soup of them.
        store: that holds the runs' answers.
        cache: of decoded photos.

    Raises:
        TrackingError: the runs do not belong together, or their answers are damaged.
        BundleError: a run's model is gone or altered, or the folder cannot be written.
        TrainingError: the export answers otherwise than the networks.
    """
    _must_belong(runs, source.dataset.fingerprint)
    folder = Path(folder)
    members = [_bundle_of(run) for run in runs]
    answers = [store.answers(run.id) for run in runs]
    first = members[0].card
    photos = (cache or PhotoCache(default_cache_folder())).with_finder(finder_for(first.recipe))
    nets = [load_classifier(bundle) for bundle in members]
    net = joint(nets) if how == "mean" else soup(nets, _batches(source, photos, first, nets[0]))
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        files, difference = pack(net, source.dataset.photos, photos, first.geometry, Path(place))
        _take_finder(files, members)
        draft = _card(folder.name, how, members, runs, answers, files, difference)
        draft = draft.model_copy(update={"parents": dict(source.dataset.parents)})  # folds may be older than the table
        trial = load(write_bundle(Path(place) / "trial", draft, files).folder)
        add_reference(files, remember(trial, source.dataset, rows_of(net), photos), Path(place))
        return write_bundle(folder, draft.model_copy(update={"files": hash_files(files)}), files)


def joint(classifiers: Sequence[Classifier]) -> Classifier:
    """One classifier whose logits are the mean of several; their heads are linear.

    Raises:
        ValueError: a head is not linear.
    """
    rows = [rows_of(one) for one in classifiers]
    linear = [one for one in rows if one is not None]
    if len(linear) < len(rows):
        raise ValueError("a head is not linear")
    body = Body(Joint([one.backbone for one in classifiers]), classifiers[0].body.pooling)
    head = Head(sum(one.weight.shape[1] for one in linear), len(linear[0].bias))
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(np.concatenate([one.weight for one in linear], 1) / len(linear)))
        head.linear.bias.copy_(torch.from_numpy(np.mean([one.bias for one in linear], axis=0)))
    mean, std = ((buffer / 255).flatten().tolist() for buffer in (classifiers[0].mean, classifiers[0].std))
    return Classifier(body, head, mean=mean, std=std).eval()


def soup(classifiers: Sequence[Classifier], batches: Iterable[Tensor]) -> Classifier:
    """One network with the mean weights of several that began alike.

    Args:
        classifiers: at least one, of one kind.
        batches: prepared photos on which BatchNorm's statistics are counted anew.
    """
    states = [{key: value.clone() for key, value in one.state_dict().items()} for one in classifiers]
    net, first = classifiers[0].eval(), states[0]
    with torch.no_grad():
        means = {key: torch.stack([state[key].double() for state in states]).mean(0) for key in first}
        net.load_state_dict({key: mean.to(first[key].dtype) for key, mean in means.items()})
        moved = [part for name, part in net.named_modules() if _moves(part, name, states)]
        for part in moved:
            part.reset_running_stats()
            part.momentum = None  # the plain mean over batches
            part.train()
        for batch in batches:
            net(batch)
    return net.eval()


def _moves(part: nn.Module, name: str, states: Sequence[dict[str, Tensor]]) -> TypeGuard[_BatchNorm]:
    """Whether a part's statistics differ among the members; what none of them has moved stays as it is."""
    key = f"{name}.running_mean"
    return isinstance(part, _BatchNorm) and any(not torch.equal(states[0][key], other[key]) for other in states)


def _batches(source: Scan, cache: PhotoCache, card: BundleCard, net: Classifier) -> Iterable[Tensor]:
    """The source's photos, prepared and plain."""
    photos = PhotoSet(source.dataset.photos, source.dataset.labels, cache, card.geometry)
    return (net.prepare(photos.pixels(part, None, ())) for part in even_batches(np.arange(len(photos)), BATCH))


def _must_belong(runs: Sequence[Run], dataset: str) -> None:
    faults = [f"run {run.id[:8]} has no model" for run in runs if run.status != "finished" or not run.bundle]
    faults += [f"run {run.id[:8]} was trained on other photos" for run in runs if run.dataset != dataset]
    recipes = {_but_for_chance(run.recipe) for run in runs}
    divisions: dict[Any, list[int]] = {}
    for run in runs:
        divisions.setdefault((division(run), run.recipe.seed), []).append(run.recipe.split.fold)
    if len(recipes) > 1 or len({_started_with(run.birth or Birth()) for run in runs}) > 1:
        faults.append("they are of different recipes or outside photos")
    elif part := next((d for d in divisions.values() if sorted(d) != list(range(runs[0].recipe.split.folds))), None):
        held = some([str(fold) for fold in part])
        faults.append(f"of one division they hold out folds {held}; every fold once is needed")
    if faults:
        raise TrackingError([f"runs cannot be joined: {fault}" for fault in faults])


def _but_for_chance(recipe: Recipe) -> Recipe:
    """What all folds of all divisions have in common."""
    split = recipe.split.model_copy(update={"fold": 0, "seed": 0})
    return recipe.model_copy(update={"split": split, "seed": 0, "threads": 0})


def _started_with(birth: Birth) -> str:
    """What every fold must have begun with; which outside photos are copies of held-out ones differs by fold."""
    sources = [reading.model_dump() for reading in (*birth.extra, *birth.unlabelled)]
    return hash_json([birth.weights, birth.teacher, sources])


def _bundle_of(run: Run) -> Bundle:
    bundle = read_bundle(bundle_place(run))
    if bundle.hash != run.bundle_hash:
        raise BundleError(f"{bundle.folder} is no longer the model of run {run.id[:8]}; train that fold again")
    return bundle


def _card(
    name: str,
    how: Join,
    members: Sequence[Bundle],
    runs: Sequence[Run],
    answers: Sequence[HeldOut],
    files: dict[str, Path],
    difference: float,
) -> BundleCard:
    kept, parts = mean_answers(answers)
    first = members[0].card
    calibration = calibrate(kept.logits, kept.labels, parts, wrong=first.recipe.wrong_cost)
    if calibration is not None:
        if how == "mean" and not any((run.birth or Birth()).had_help for run in runs):
            calibration = calibration.model_copy(update=_bounds_of([one.card.calibration for one in members]))
        # Assumption: all joined are less sure than some and right more often, so the temperature of these is modest.
        method = f"{calibration.method}, each answered by those of {len(runs)} networks that it did not train"
        calibration = calibration.model_copy(update={"method": method})
    # A head with BatchNorm is folded into its rows where networks lie side by side, so that head has none.
    plain = first.recipe.head.model_copy(update={"batchnorm": False, "bias": True})
    return first.model_copy(
        update={
            "name": name,
            "members": len(runs),
            "join": how,
            "outside": tuple(dict.fromkeys(sentence for run in runs for sentence in run.extra)),
            "recipe": first.recipe.model_copy(update={"head": plain}) if how == "mean" else first.recipe,
            "evaluation": evaluate(kept.as_scores(), kept.labels, first.classes, kept.groups),
            "calibration": calibration,
            "files": hash_files(files),
            "carspotter": carspotter.__version__,
            "provenance": Provenance(
                run_id=runs[0].id,
                also=tuple(run.id for run in runs[1:]),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=sum(run.seconds or 0.0 for run in runs),
                machine=first.provenance.machine,
                parity=difference,
            ),
        }
    )


def _take_finder(files: dict[str, Path], members: Sequence[Bundle]) -> None:
    """The net that sees vehicles, from the first member that has it."""
    for one in members:
        if FINDER in one.card.files:
            files.setdefault(FINDER, one.folder / FINDER)


def _bounds_of(members: Sequence[Calibration | None]) -> dict[str, Any]:
    """From when on a photo is a stranger to networks side by side: the mean of the bounds that each has of its own.

    Each bound was found on photos that its network had not seen, and strangeness is the mean over the networks too
    (`inference/strangers.py`). Assumption: such a mean scatters less than one of them, so that no more known photos are
    called strangers than each bound says; it cannot be measured, since every labelled photo trained most of them. Not
    for a soup, whose embedding is none of theirs, nor where outside photos trained, which the reference lacks.
    """
    told = [one for one in members if one is not None and one.strange_at is not None]
    if not members or len(told) < len(members) or len({one.detector for one in told}) > 1:
        return {}
    no_car = [one.no_car_at for one in told if one.no_car_at is not None]
    return {
        "detector": told[0].detector,
        "strange_at": float(np.mean([one.strange_at for one in told])),
        "refused": told[0].refused,
        "no_car_at": float(np.mean(no_car)) if len(no_car) == len(told) else None,
    }
