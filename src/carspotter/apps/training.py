"""What every command that trains does: train with bars, name what was left out, say what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from carspotter.apps.console import note, notes, progress, say
from carspotter.data.cache import PhotoCache
from carspotter.data.wording import brief, count
from carspotter.errors import EXIT_SOME_REFUSED, TrackingError
from carspotter.progress import silent
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Birth, Dataset, Reading, Run
from carspotter.workers import is_first

if TYPE_CHECKING:
    from carspotter.data.scan import Scan
    from carspotter.training.devices import DeviceName
    from carspotter.training.folds import Joined
    from carspotter.training.job import Job
    from carspotter.training.outside import Sources


def read_labelled(
    source: Path,
    photos: Path | None = None,
    decisions: Path | None = None,
    families: Path | None = None,
    /,
    **columns: str | None,
) -> Dataset:
    """A source as the user names it; what the reader skipped or a person decided is said.

    Args:
        source: see `read_source`.
        photos: of a table.
        decisions: a table of what a person decided about its photos; carried out before anything is looked at.
        families: a table of what stands above each class.
        columns: `id_column`, `label_column`, `group_column`, as given; None: found.

    Raises:
        SourceError: all problems of the source, of the decisions, or of the families.
    """
    from carspotter.data.source import read_source

    return _noted(_as_asked(read_source(source, photos=photos, **columns), decisions, families))


def _as_asked(dataset: Dataset, decisions: Path | None, families: Path | None) -> Dataset:
    """The set after the decisions of a table, and with the families of another."""
    from carspotter.data.hierarchy import with_families

    decided = _decided(dataset, decisions)
    return decided if families is None else with_families(decided, families)


def _decided(dataset: Dataset, table: Path | None) -> Dataset:
    """The set after the decisions of a table, which its reading then names; what they change is in its fingerprint."""
    from carspotter.tracking.decisions import apply_decisions, read_decisions

    if table is None:
        return dataset
    decided = apply_decisions(dataset, read_decisions(table))
    unchanged = (f"{brief(table)} changes no photo of {dataset.origin}",) if decided is dataset else ()
    reading = dataset.reading and dataset.reading.model_copy(update={"decisions": str(table.absolute())})
    return replace(decided, reading=reading, notes=(*decided.notes, *unchanged))


def _noted(dataset: Dataset) -> Dataset:
    if is_first():
        notes(dataset.notes)
    return dataset


def read_outside(source: Path, extra: Sequence[Path], unlabelled: Sequence[Path], teacher: Path | None) -> Sources:
    """Outside sources, and the test photos that lie beside a contest's training photos."""
    from carspotter.data.source import read_source

    return _sources(source, [read_source(path) for path in extra], [read_source(path) for path in unlabelled], teacher)


def read_recorded(run: Run, asked: Mapping[str, str] | None = None) -> tuple[Dataset, Sources]:
    """What a run was trained on, read again as it was then.

    Args:
        run: to repeat or to go on with.
        asked: what the user names anew; the photos, or the decisions on them, may lie elsewhere by now.
    """
    from carspotter.data.source import read_again

    birth = run.birth or Birth()
    then = birth.source or Reading(source=run.origin)
    here = then.model_copy(update=dict(asked or {}))
    tables = [None if place is None else Path(place) for place in (here.decisions, here.families)]
    dataset = _as_asked(read_again(here), *tables)
    labelled, pools = ([read_again(reading) for reading in some] for some in (birth.extra, birth.unlabelled))
    teacher = None if birth.teacher is None else Path(birth.teacher)
    return _noted(dataset), _sources(Path(here.source), labelled, pools, teacher)


def _sources(source: Path, labelled: Sequence[Dataset], pools: Sequence[Dataset], teacher: Path | None) -> Sources:
    from carspotter.data.source import find_contest, read_contest
    from carspotter.training.outside import Sources

    if not labelled and not pools:
        return Sources(teacher=teacher)
    for dataset in (*labelled, *pools):
        notes(dataset.notes)
    contest = find_contest(source)
    return Sources(tuple(labelled), tuple(pools), teacher, read_contest(contest).test if contest else None)


def fit(
    dataset: Dataset,
    recipe: Recipe,
    *,
    out: Path | None = None,
    job: Job | None = None,
    strict: bool = False,
    cache: PhotoCache | None = None,
    like: Run | None = None,
) -> Run:
    """Train with bars; the photos that are left out are named.

    Args:
        dataset: from a reader.
        recipe: with every `--set`.
        out: the bundle's folder.
        job: outside photos, device, a run to go on with.
        strict: refuse unreadable photos, those from outside too.
        cache: of decoded photos.
        like: a run that this shall repeat: other photos are noticed before anything is trained.

    Raises:
        TrackingError: the photos are not those of `like`.
    """
    from carspotter.training.job import USUAL
    from carspotter.training.look import look
    from carspotter.training.train import train

    job = replace(job or USUAL, strict=strict)
    with progress() if is_first() else nullcontext(silent) as show:
        looked = look(dataset, strict=strict, progress=show)
        _must_be_alike(looked, like)
        return train(looked, recipe, out=out, job=job, cache=cache, progress=show)


def fit_folds(dataset: Dataset, recipe: Recipe, *, out: Path | None, job: Job, strict: bool) -> Joined:
    """Train every fold with bars and join the networks; the photos that are left out are named."""
    from carspotter.training.folds import train_folds
    from carspotter.training.look import look

    with progress() as show:
        looked = look(dataset, strict=strict, progress=show)
        return train_folds(looked, recipe, out=out, job=replace(job, strict=strict), progress=show)


def _must_be_alike(looked: Scan, like: Run | None) -> None:
    if like is not None and looked.dataset.fingerprint != like.dataset:
        raise TrackingError(
            f"run {like.id[:8]} cannot be repeated, its photos or labels changed: {like.photos} photos then "
            f"(fingerprint {like.dataset[:12]}), {len(looked.dataset.photos)} now "
            f"({looked.dataset.fingerprint[:12]}); bring them back, or name where they are now"
        )


def go_on(
    run_id: str,
    asked: Mapping[str, str],
    recipe: Recipe | None,
    *,
    out: Path | None,
    strict: bool,
    device: DeviceName = "auto",
) -> Run:
    """Take up an interrupted run where its last checkpoint stands.

    Args:
        run_id: or a beginning of it.
        asked: what the user names anew of the source.
        recipe: refused where it is not the run's; None: the run's own.
        out: the bundle's folder, where not the one first asked for.
        strict: refuse unreadable photos.
        device: the run's.

    Raises:
        TrackingError: it cannot go on; each difference is named.
    """
    from carspotter.tracking.runs import open_store
    from carspotter.training.beginning import bundle_place, can_resume
    from carspotter.training.job import Job

    run = can_resume(open_store(), run_id)
    dataset, outside = read_recorded(run, asked)
    job = Job(outside, resume=run.id, device=device)
    return fit(dataset, named_as(run, recipe), out=out or bundle_place(run), job=job, strict=strict)


def named_as(run: Run, recipe: Recipe | None) -> Recipe:
    """What the user names anew, under the names that the run has: they decide nothing, and its card shall bear them."""
    if recipe is None:
        return run.recipe
    return recipe.model_copy(update={"name": run.recipe.name, "about": run.recipe.about})


def fit_backbone(dataset: Dataset, recipe: Recipe, name: str, *, job: Job, strict: bool) -> tuple[Run, BackboneCard]:
    """Train with bars and keep the backbone; the photos that are left out are named."""
    from carspotter.training.look import look
    from carspotter.training.pretrain import UNSTATED, pretrain

    if not job.note:
        note(f'the card will say "{UNSTATED}"; say them with --note, since others may want to use the backbone')
    with progress() as show:
        looked = look(dataset, strict=strict, progress=show)
        return pretrain(looked, recipe, name, job=job, progress=show)


def go_on_backbone(
    run_id: str, asked: Mapping[str, str], recipe: Recipe | None, name: str | None, *, job: Job, strict: bool
) -> tuple[Run, BackboneCard]:
    """Take up an interrupted pretraining, or keep the backbone of a finished one.

    Args:
        run_id: or a beginning of it.
        asked: what the user names anew of the source.
        recipe: refused where it is not the run's; None: the run's own.
        name: of the backbone; None: the one first asked for.
        job: its note, where empty, is the one first given.
        strict: refuse unreadable photos.

    Raises:
        TrackingError: it cannot go on; each difference is named.
    """
    from carspotter.tracking.runs import open_store
    from carspotter.training.beginning import can_resume

    store = open_store()
    run = store.get(run_id)
    birth = run.birth or Birth()
    if run.status != "finished" or not birth.backbone:
        can_resume(store, run.id, "pretrain")
    dataset, _ = read_recorded(run, asked)
    job = replace(job, resume=run.id, note=job.note or birth.note)
    return fit_backbone(dataset, named_as(run, recipe), name or birth.backbone, job=job, strict=strict)


def say_result(run: Run) -> None:
    """The figures of a finished run and where its model is."""
    for summary in run.freezing:
        note(summary)
    for sentence in run.extra:
        say(f"outside  {sentence}")
    if run.evaluation is not None:
        say(f"accuracy {run.evaluation.accuracy} that did not train it (95 % interval)")
        say(f"top-3    {run.evaluation.top3_accuracy}")
        _note_choice(run.recipe)
    else:
        note("every photo trained, so there is no figure; train with folds to learn what the recipe is worth")
    say(f"model    {run.bundle} (bundle hash {(run.bundle_hash or '')[:12]})")
    say(f"run      {run.id[:8]}, {run.seconds or 0:.0f} s")


def _note_choice(recipe: Recipe) -> None:
    if any(stage.epochs and stage.asks_validation for stage in recipe.stage):
        note("the same photos chose the epoch or the rate, so these figures are somewhat too good")


def say_joined(joined: Joined) -> None:
    """The figures over all folds, and where the joined model is."""
    card, seconds = joined.bundle.card, joined.bundle.card.provenance.seconds
    before = len(joined.runs) - joined.trained
    for run in joined.runs:
        split = run.recipe.split
        say(f"fold {split.fold} of seed {split.seed}   run {run.id[:8]}, accuracy {run.accuracy}")
    if before:
        note(f"{before} of {len(joined.runs)} folds had been trained before and were not trained again")
    for sentence in card.outside:
        say(f"outside  {sentence}")
    if card.evaluation is not None:
        say(f"accuracy {card.evaluation.accuracy}, each photo answered by what it did not train")
        say(f"top-3    {card.evaluation.top3_accuracy}")
        _note_choice(card.recipe)
        what = "the mean of all" if card.join == "mean" else "one with the mean of their weights"
        note(f"that is of {_judges(joined)}; the model is {what}, which can only be measured on photos kept apart")
    say(f"model    {joined.bundle.folder} (bundle hash {joined.bundle.hash[:12]}), {seconds:.0f} s for all folds")


def _judges(joined: Joined) -> str:
    """Those that had not seen a photo."""
    repeats = len({run.recipe.split_seed for run in joined.runs})
    return "single networks" if repeats == 1 else f"the mean of {repeats} networks"


def exit_if_refused(run: Run) -> None:
    """End with exit code 3 when photos of the source, or of one from outside, were left out.

    Raises:
        typer.Exit: some were.
    """
    if run.rejected:
        note(f"{len(run.rejected)} of {run.photos + len(run.rejected)} photos were left out, see above")
    if outside := len(run.left_out) - len(run.rejected):
        note(f"{count(outside, 'photo')} from outside {'was' if outside == 1 else 'were'} left out, see above")
    if run.left_out:
        raise typer.Exit(EXIT_SOME_REFUSED)
