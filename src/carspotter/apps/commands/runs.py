"""`runs`: what was trained, how it went, and whether the same comes out again."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.commands import run_files
from carspotter.apps.console import note, notes, say, table
from carspotter.errors import EXIT_FAULT, TrackingError

app = typer.Typer(help="Runs: what was trained and how it went.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(run_files.app)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the beginning of one.", show_default=False)]
Sides = Annotated[
    list[str],
    typer.Argument(
        metavar="ID[,ID...]",
        help="Runs' ids, or their beginnings; commas join the runs of one side.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Everything that is known, for another program.")]
Curves = Annotated[
    Path | None,
    typer.Option("--curves", help="Draw loss and accuracy per epoch: .png, .svg or .pdf.", show_default=False),
]


class Measure(StrEnum):
    """What `runs best` ranks by."""

    ACCURACY = "accuracy"
    LOG_LOSS = "log_loss"


ByMeasure = Annotated[Measure, typer.Option("--by", help="Accuracy: higher is better; log loss: lower is better.")]
Axis = Annotated[
    str,
    typer.Argument(
        metavar="AXIS", help="A setting as --set names it (stage.2.lr, head.dropout), or an ending only it has."
    ),
]
EffectPicture = Annotated[
    Path | None, typer.Option("-o", "--out", help="Draw it: .png, .svg or .pdf.", show_default=False)
]
PlotPicture = Annotated[Path, typer.Option("-o", "--out", help="The picture: .png, .svg or .pdf.", show_default=False)]
PlottedRuns = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Runs whose curves are drawn; by default the newest seven.", show_default=False),
]


@app.command("ls")
def list_runs() -> None:
    """List all runs, the newest first."""
    from carspotter.apps.summary import RUN_COLUMNS, run_row
    from carspotter.tracking.runs import open_store

    runs, lost = open_store().survey()
    table(RUN_COLUMNS, [run_row(run) for run in runs])
    notes(lost)


@app.command("show")
def show_run(run_id: RunId, as_json: AsJson = False) -> None:
    """Show one run: source, machine, freezing, history, figures, settings."""
    from carspotter.apps.summary import print_run
    from carspotter.tracking.runs import open_store

    run = open_store().get(run_id)
    if not as_json:
        print_run(run)
        return
    for line in json.dumps(run.model_dump(mode="json"), indent=1).splitlines():
        say(line)


@app.command("compare")
def compare_runs(sides: Sides, curves: Curves = None) -> None:
    """Put runs side by side: results, times, and the settings that differ.

    Says also what else differed (photos, split, code, machine), and whether the figures differ beyond chance: by a
    paired test on the photos that both answered, corrected for several comparisons at once. Folds or seeds of one
    recipe, joined by commas, count as one side.
    """
    from carspotter.tracking.compare import compare_sides
    from carspotter.tracking.curves import draw_curves
    from carspotter.tracking.picture import check_picture
    from carspotter.tracking.runs import open_store
    from carspotter.tracking.sides import read_sides

    if curves is not None:
        check_picture(curves)
    found, damaged = read_sides(open_store(), sides)
    notes(damaged)
    comparison = compare_sides(found)
    table(comparison.columns, comparison.rows())
    for sentence in (*comparison.conditions, *comparison.verdicts):
        say(sentence)
    if curves is not None:
        draw_curves(comparison.runs, curves)
        note(f"curves in {curves}")


@app.command("best")
def best_runs(by: ByMeasure = Measure.ACCURACY) -> None:
    """Rank the runs, one table per set of validation photos; those with outside photos apart.

    Says which runs the photos cannot tell from the best one, by a paired test of all at once on the photos that all
    answered: it allows for the best having been chosen by these photos.
    """
    from carspotter.tracking.leaderboard import COLUMNS, leaderboards
    from carspotter.tracking.runs import open_store

    store = open_store()
    runs, lost = store.survey()
    answers, damaged = store.kept_answers(runs)
    boards, left_out = leaderboards(runs, answers, by.value)
    for number, board in enumerate(boards):
        if number:
            say()
        say(f"# {board.title}")
        table(COLUMNS, board.rows)
        notes(board.remarks)
    notes((*left_out, *damaged, *lost))


@app.command("effect")
def effect_of_setting(axis: Axis, out: EffectPicture = None) -> None:
    """Show what one setting did across all runs, with intervals and the spread of repeated seeds.

    Compared are runs that differ in this setting (and the seed) alone, on the same validation photos: every value with
    the one that has most runs, photo by photo where the runs kept their answers, by shared seeds and folds.
    """
    from carspotter.tracking.effect import COLUMNS, effect
    from carspotter.tracking.effect_picture import draw_effect
    from carspotter.tracking.picture import check_picture
    from carspotter.tracking.runs import open_store

    if out is not None:
        check_picture(out)
    store = open_store()
    runs, lost = store.survey()
    answers, damaged = store.kept_answers(runs)
    found = effect(runs, axis, answers)
    say(f"# {found.axis}")
    table(COLUMNS, found.rows())
    for contrast in found.contrasts:
        for sentence in contrast.sentences:
            say(sentence)
    for contrast in found.contrasts:
        settings = ", ".join(f"{key} = {value}" for key, value in contrast.settings.items())
        note("; ".join(filter(None, (f"{contrast.letter}: {contrast.title}", settings))))
    notes((*found.remarks, *damaged, *lost))
    if out is not None:
        notes((*draw_effect(found, out), f"picture in {out}"))


@app.command("plot")
def plot_runs(out: PlotPicture, run_ids: PlottedRuns = None) -> None:
    """Draw curves over wall minutes, and accuracy against minutes of all runs with the Pareto front.

    The lower panel holds the runs on the same validation photos; those with outside photos have a front of their own.
    """
    from carspotter.tracking.picture import check_picture
    from carspotter.tracking.plot import draw_plot
    from carspotter.tracking.runs import open_store

    check_picture(out)
    store = open_store()
    runs, lost = store.survey()
    remarks = draw_plot(store.find(run_ids or ()), runs, out)
    notes((*remarks, *lost, f"picture in {out}"))


@app.command("rerun")
def rerun(
    run_id: RunId,
    *,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Train again by a run's own recipe: the same model, or what changed.

    Exit code 0 proves that the very same model came out; otherwise every difference is listed and the exit code is 1.
    The photos are read as the run read them, unless their place or a table's options are given anew; where they have
    changed, nothing is trained.
    """
    from carspotter.apps.training import fit, read_recorded, say_result
    from carspotter.data.cache import PhotoCache
    from carspotter.tracking.differences import rerun_differences
    from carspotter.tracking.runs import open_store
    from carspotter.training.job import Job

    old = open_store().get(run_id)
    if old.bundle_hash is None:
        raise TrackingError(f"run {old.id[:8]} is {old.status} and left no model to compare with; rerun a finished one")
    asked = options.asked(None, photos, id_column=id_column, label_column=label_column, group_column=group_column)
    dataset, outside = read_recorded(old, asked)
    # Without what the first training stored: a proof must compute everything anew.
    new = fit(dataset, old.recipe, job=Job(outside), cache=PhotoCache(None), like=old)
    say_result(new)
    differences = rerun_differences(old, new)
    for difference in differences:
        say(difference)
    if differences:
        raise typer.Exit(EXIT_FAULT)
    say(f"the same model as run {old.id[:8]}: bundle hash {old.bundle_hash}")
