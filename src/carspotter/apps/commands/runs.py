"""`runs`: what was trained, how it went, and whether it can be had again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_FAULT

app = typer.Typer(help="Runs: what was trained and how it went.", no_args_is_help=True, rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the beginning of one.", show_default=False)]
RunIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Runs' ids, or their beginnings.", show_default=False)
]
Curves = Annotated[
    Path | None, typer.Option("--curves", help="Draw loss and accuracy into this PNG.", show_default=False)
]


@app.command("ls")
def list_runs() -> None:
    """List all runs, the newest first, interrupted and failed ones too."""
    from carspotter.tracking.runs import open_store

    columns = ("id", "name", "status", "started", "seconds", "photos", "accuracy", "model")
    rows = [
        (
            run.id[:8],
            run.name,
            run.status,
            run.started,
            None if run.seconds is None else round(run.seconds),
            run.photos,
            run.evaluation and run.evaluation.accuracy.value,
            run.bundle,
        )
        for run in open_store().list()
    ]
    table(columns, rows)


@app.command("show")
def show_run(run_id: RunId) -> None:
    """Show everything about one run: settings, machine, freezing, history, timings, figures."""
    from carspotter.apps.summary import describe_run
    from carspotter.tracking.runs import open_store

    describe_run(open_store().get(run_id))


@app.command("compare")
def compare_runs(run_ids: RunIds, curves: Curves = None) -> None:
    """Put runs side by side: the settings in which they differ, then the results."""
    from carspotter.tracking.compare import compare, draw_curves
    from carspotter.tracking.runs import open_store

    store = open_store()
    runs = [store.get(run_id) for run_id in run_ids]


@app.command("rerun")
def rerun(
    run_id: RunId,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Train again from a run's own recipe and source: prove that the same model comes out, or say what changed."""
