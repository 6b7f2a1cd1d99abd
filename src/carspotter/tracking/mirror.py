"""What MLflow shows of a run, kept up with its journal as far as the database allows.

The journal is the truth. A database that is locked, full or gone after a run's birth therefore never ends a training:
what it missed is written when the run ends, or else when the runs are next listed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe, recipe_settings
from carspotter.records import EpochRecord, Figure, Run, RunStatus
from carspotter.tracking.index import End, Index, Known, Point

STATUS_AT_MLFLOW: Mapping[RunStatus, End] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
ALWAYS_THERE = "train_loss"  # every epoch has it, so its steps tell which epochs the database has
_LOG = logging.getLogger("carspotter")


class Mirror:
    """One running run at MLflow.

    After a write that failed it stays silent until the end: to wait for a locked database once an epoch would cost more
    than the training.
    """

    def __init__(self, index: Index, run_id: str) -> None:
        self._index = index
        self._id = run_id
        self._behind = False
        self._epochs = 0

    def settings(self, recipe: Recipe) -> None:
        """Show what the run was told to do."""
        self._try(lambda: self._index.settings(self._id, recipe_settings(recipe)))

    def reopen(self, epochs: int) -> None:
        """Show that it goes on after so many epochs; those that are done anew have their figures twice."""
        self._epochs = epochs
        self._try(lambda: self._index.reopen(self._id))

    def epoch(self, record: EpochRecord) -> None:
        """Show one more epoch."""
        step, self._epochs = self._epochs, self._epochs + 1
        self._try(lambda: self._index.figures(self._id, _epoch_figures(record), step=step))

    def end(self, run: Run) -> None:
        """Show how it ended, and before that whatever the database missed."""
        behind, self._behind = self._behind, False
        self._try(lambda: catch_up(self._index, self._id, run) if behind else _close(self._index, self._id, run))

    def _try(self, write: Callable[[], None]) -> None:
        if self._behind:
            return
        try:
            write()
        except TrackingError as fault:
            self._behind = True
            _LOG.warning("%s; run %s is whole in its journal, and `runs ls` tells the database", fault, self._id)


def catch_up(index: Index, mlflow_id: str, run: Run) -> None:
    """Write all that the database does not have of a run that has ended; a second call adds nothing.

    Raises:
        TrackingError: the database still cannot be written.
    """
    index.settings(mlflow_id, recipe_settings(run.recipe))
    written = index.steps(mlflow_id, ALWAYS_THERE)
    index.points(mlflow_id, [point for point in _points(run) if point.step not in written])
    _close(index, mlflow_id, run)


def catch_up_all(index: Index, known: Mapping[str, Known], runs: tuple[Run, ...]) -> None:
    """Tell the database what it missed of runs that have ended, as far as it can be told now.

    Only a reader's courtesy: who may not write, or finds the database locked, leaves it to the next reader.
    """
    late = [run for run in runs if run.status != "running" and run.id in known and known[run.id].is_open]
    for run in late:
        with suppress(TrackingError):
            catch_up(index, known[run.id].mlflow_id, run)


def milliseconds(moment: str) -> int:
    """ISO 8601 as MLflow counts time."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def _close(index: Index, mlflow_id: str, run: Run) -> None:
    ended = milliseconds(run.started) + int(1000 * (run.seconds or sum(record.seconds for record in run.history)))
    index.points(mlflow_id, [Point(0, ended, run_figures(run))])  # the same time whoever writes it: no figure twice
    tags = {"bundle": run.bundle, "bundle_hash": run.bundle_hash, "error": run.error, "excluded": run.excluded}
    index.end(mlflow_id, STATUS_AT_MLFLOW[run.status], {key: value for key, value in tags.items() if value}, at=ended)


def _points(run: Run) -> list[Point]:
    """One per epoch, each at the moment that the epochs before it make likely."""
    points, at = [], float(milliseconds(run.started))
    for step, record in enumerate(run.history):
        at += 1000 * record.seconds
        points.append(Point(step, int(at), _epoch_figures(record)))
    return points


def _epoch_figures(record: EpochRecord) -> dict[str, float | None]:
    figures = record.model_dump(include={"lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"})
    return {**figures, "epoch_seconds": record.seconds}


def run_figures(run: Run) -> dict[str, float | None]:
    """Flat names, as in `metrics.json`: each share with its interval and its n."""
    flat: dict[str, float | None] = {f"seconds_{phase}": seconds for phase, seconds in run.timings.items()}
    flat["seconds"] = run.seconds
    if run.accuracy is not None:
        flat |= {**run.accuracy.flat("accuracy"), "accuracy_n": run.accuracy.n}
    for name, value in run.evaluation or ():
        if isinstance(value, Figure):
            flat |= {**value.flat(name), f"{name}_n": value.n}
        elif isinstance(value, float):
            flat[name] = value
    return flat
