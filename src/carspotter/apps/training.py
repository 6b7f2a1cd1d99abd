"""What every command that trains does: train with bars, name what was left out, say what came out."""

from __future__ import annotations

from pathlib import Path

import typer

from carspotter.apps.console import note, notes, progress, say
from carspotter.data.cache import PhotoCache
from carspotter.errors import EXIT_SOME_REFUSED
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Run


def fit(
    dataset: Dataset, recipe: Recipe, *, out: Path | None = None, strict: bool = False, cache: PhotoCache | None = None
) -> Run:
    """Train, and name on stderr what the reader skipped; the training names the photos it leaves out."""
    from carspotter.training.train import train

    notes(dataset.notes)
    with progress() as show:
        return train(dataset, recipe, out=out, strict=strict, cache=cache, progress=show)


def say_result(run: Run) -> None:
    """The figures of a finished run and where its model is."""
    for summary in run.freezing:
        note(summary)
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
