"""Runs as a table: one row per run, for a spreadsheet or another program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from carspotter.data.table import Cell
from carspotter.recipe import recipe_settings
from carspotter.records import Run
from carspotter.tracking.mirror import run_figures

FACTS = (
    *("id", "name", "status", "started", "origin", "dataset", "photos", "split", "validation", "code_version"),
    *("bundle", "bundle_hash", "error", "excluded"),
)
"""Fields of a run that are columns as they are."""


def run_table(runs: Sequence[Run]) -> tuple[list[str], list[list[Cell]]]:
    """One row per run: facts, figures, settings, and what an imported log said (`log.` before the column's name).

    A setting that an imported log leaves open is empty: our default was not its.
    """
    rows = [_flat(run) for run in runs]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[row.get(column) for column in columns] for row in rows]


def _flat(run: Run) -> dict[str, Cell]:
    stated = None if run.imported is None else set(run.imported.stated)
    best = [record.val_accuracy for record in run.history if record.val_accuracy is not None]
    settings = {
        key: _cell(value) for key, value in recipe_settings(run.recipe).items() if stated is None or key in stated
    }
    log = {} if run.imported is None else {f"log.{name}": text for name, text in run.imported.cells.items()}
    return {
        **{name: _cell(getattr(run, name)) for name in FACTS},
        "notes": "; ".join(run.notes),
        "classes": len(run.classes),
        "processor": run.machine.processor,
        "threads_used": run.machine.threads,
        "epochs": len(run.history),
        "best_val_accuracy": max(best, default=None),
        **run_figures(run),
        **settings,
        **log,
    }


def _cell(value: Any) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, str | int | float) else str(value)
