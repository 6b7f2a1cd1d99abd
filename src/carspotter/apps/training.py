"""What every command that trains does: train with bars, name what was left out, say what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from carspotter.apps.console import note, notes, progress, say
from carspotter.data.cache import PhotoCache
from carspotter.errors import EXIT_SOME_REFUSED, SourceError
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Run

if TYPE_CHECKING:
    from carspotter.training.outside import Sources


def read_outside(source: Path, extra: Sequence[Path], unlabelled: Sequence[Path], teacher: Path | None) -> Sources:
    """Outside sources, and the test photos that lie beside a contest's training photos."""
    from carspotter.data.source import read_contest, read_source
    from carspotter.training.outside import ALONE, Sources

    if not extra and not unlabelled:
        return ALONE
    labelled, pools = (tuple(read_source(path) for path in paths) for paths in (extra, unlabelled))
    for dataset in (*labelled, *pools):
        notes(dataset.notes)
    try:
        return Sources(labelled, pools, teacher, read_contest(source).test)
    except SourceError:  # no contest: there are no test photos to keep unseen
        return Sources(labelled, pools, teacher)


def fit(
    dataset: Dataset,
    recipe: Recipe,
    *,
    out: Path | None = None,
    outside: Sources | None = None,
    strict: bool = False,
    cache: PhotoCache | None = None,
) -> Run:
    """Train, and name on stderr what the reader skipped; the training names the photos it leaves out."""
    from carspotter.training.outside import ALONE
    from carspotter.training.train import look, train

    notes(dataset.notes)
    with progress() as show:
        looked = look(dataset, strict=strict, progress=show)
        return train(looked, recipe, out=out, outside=outside or ALONE, cache=cache, progress=show)


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
