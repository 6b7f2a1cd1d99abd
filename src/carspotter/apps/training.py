"""What every command that trains does: train with bars, name what was left out, say what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from carspotter.apps.console import note, notes, progress, say
from carspotter.data.cache import PhotoCache
from carspotter.errors import EXIT_SOME_REFUSED, SourceError, TrackingError
from carspotter.progress import silent
from carspotter.recipe import Recipe
from carspotter.records import Birth, Dataset, Reading, Run
from carspotter.workers import is_first

if TYPE_CHECKING:
    from carspotter.training.devices import DeviceName
    from carspotter.training.outside import Sources


def read_outside(source: Path, extra: Sequence[Path], unlabelled: Sequence[Path], teacher: Path | None) -> Sources:
    """Outside sources, and the test photos that lie beside a contest's training photos."""
    from carspotter.data.source import read_source

    return _sources(source, [read_source(path) for path in extra], [read_source(path) for path in unlabelled], teacher)


def read_recorded(run: Run, asked: Mapping[str, str] | None = None) -> tuple[Dataset, Sources]:
    """What a run was trained on, read again as it was then.

    Args:
        run: to repeat or to go on with.
        asked: what the user names anew; the photos may lie elsewhere by now.
    """
    from carspotter.data.source import read_again

    birth = run.birth or Birth()
    then = birth.source or Reading(source=run.origin)
    here = then.model_copy(update=dict(asked or {}))
    labelled, pools = ([read_again(reading) for reading in some] for some in (birth.extra, birth.unlabelled))
    teacher = None if birth.teacher is None else Path(birth.teacher)
    return read_again(here), _sources(Path(here.source), labelled, pools, teacher)


def _sources(source: Path, labelled: Sequence[Dataset], pools: Sequence[Dataset], teacher: Path | None) -> Sources:
    from carspotter.data.source import SAMPLE_TABLES, TEST_PLACES, read_contest
    from carspotter.training.outside import ALONE, Sources

    if teacher is not None and not pools:
        raise SourceError(
            f"{teacher} would have nothing to label; name photos with --unlabelled, or leave out --teacher"
        )
    if not labelled and not pools:
        return ALONE
    for dataset in (*labelled, *pools):
        notes(dataset.notes)
    folder = source.parent if source.is_file() else source
    contest = any((folder / name).exists() for name in (*TEST_PLACES, *SAMPLE_TABLES))
    return Sources(tuple(labelled), tuple(pools), teacher, read_contest(folder).test if contest else None)


def fit(  # noqa: PLR0913 - keywords, each a wish of its own
    dataset: Dataset,
    recipe: Recipe,
    *,
    out: Path | None = None,
    outside: Sources | None = None,
    strict: bool = False,
    cache: PhotoCache | None = None,
    resume: str | None = None,
    like: Run | None = None,
    device: DeviceName = "auto",
) -> Run:
    """Train, and name on stderr what the reader skipped; the training names the photos it leaves out.

    Args:
        dataset: from a reader.
        recipe: with every `--set`.
        out: the bundle's folder.
        outside: photos from elsewhere.
        strict: refuse unreadable photos.
        cache: of decoded photos.
        resume: id of the run to go on with.
        like: a run that this shall repeat: other photos are noticed before anything is trained.
        device: `auto` takes CUDA where there is one.

    Raises:
        TrackingError: the photos are not those of `like`.
    """
    from carspotter.training.outside import ALONE
    from carspotter.training.train import look, train

    if is_first():
        notes(dataset.notes)
    with progress() if is_first() else nullcontext(silent) as show:
        looked = look(dataset, strict=strict, progress=show)
        if like is not None and looked.dataset.fingerprint != like.dataset:
            raise TrackingError(
                f"run {like.id[:8]} cannot be repeated, its photos or labels changed: {like.photos} photos then "
                f"(fingerprint {like.dataset[:12]}), {len(looked.dataset.photos)} now "
                f"({looked.dataset.fingerprint[:12]}); bring them back, or name where they are now"
            )
        beside = outside or ALONE
        return train(looked, recipe, out=out, outside=beside, cache=cache, progress=show, resume=resume, device=device)


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
    from carspotter.training.beginning import can_resume

    run = can_resume(open_store(), run_id)
    dataset, outside = read_recorded(run, asked)
    birth = run.birth or Birth()
    first = Path(birth.output) if birth.output else Path(birth.place) / "models" / f"{run.name}-{run.id[:8]}"
    return fit(
        dataset, recipe or run.recipe, out=out or first, outside=outside, strict=strict, resume=run.id, device=device
    )


def say_result(run: Run) -> None:
    """The figures of a finished run and where its model is."""
    for summary in run.freezing:
        note(summary)
    for sentence in run.extra:
        say(f"outside  {sentence}")
    if run.evaluation is not None:
        say(f"accuracy {run.evaluation.accuracy} that did not train it (95 % interval)")
        say(f"top-3    {run.evaluation.top3_accuracy}")
        if any(
            s.epochs and (s.keep == "best" or s.early_stop or s.schedule.kind == "plateau") for s in run.recipe.stage
        ):
            note("the same photos chose the epoch or the rate, so these figures are somewhat too good")
    say(f"model    {run.bundle} (bundle hash {(run.bundle_hash or '')[:12]})")
    say(f"run      {run.id[:8]}, {run.seconds or 0:.0f} s")


def exit_if_refused(run: Run) -> None:
    """End with exit code 3 when photos of the source were left out.

    Raises:
        typer.Exit: some were.
    """
    if run.rejected:
        note(f"{len(run.rejected)} of {run.photos + len(run.rejected)} photos were left out, see above")
        raise typer.Exit(EXIT_SOME_REFUSED)
