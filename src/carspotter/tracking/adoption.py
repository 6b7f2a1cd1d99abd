"""Runs that were not trained here: taken into the store whole, with the id they have.

Such a run gets the same journal and the same place in the index as any other. Its folder is made beside and renamed,
and only then does the index learn of it, so a kill at any moment leaves no half-made run; the next attempt goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from carspotter.data.disk import hash_file, sync
from carspotter.data.wording import cause
from carspotter.errors import TrackingError
from carspotter.records import Run
from carspotter.tracking.folder import JOURNAL, note_database, read_own_run
from carspotter.tracking.index import Index
from carspotter.tracking.mirror import catch_up, milliseconds

Fill = Callable[[Path], None]
"""Writes all files of a run, its journal among them, into an empty folder."""


def take_in(index: Index, run_id: str, fill: Fill) -> Run:
    """Put one run's files in their place and enter it.

    Args:
        index: that does not know it yet.
        run_id: its own.
        fill: writes its files.

    Raises:
        TrackingError: what was written is no journal of this run, another run lies there, or the store refuses.
    """
    target = index.folder(run_id)
    try:
        beside = target.parents[1] / f".{run_id}.{uuid4().hex[:8]}"
        beside.mkdir(parents=True)
        try:
            fill(beside)
            read_own_run(beside, run_id)
            _put(beside, target, index.address.name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as fault:
        raise TrackingError(f"cannot write {target} ({cause(fault)}); free some space or make it writable") from None
    return enter(index, read_own_run(target, run_id))


def enter(index: Index, run: Run) -> Run:
    """Tell the index of a run whose files lie in their place.

    Raises:
        TrackingError: the database refuses.
    """
    tags = {"dataset": run.dataset, "origin": run.origin, "code_version": run.code_version}
    mlflow_id = index.adopt(run.id, run.name, milliseconds(run.started), tags)
    if run.status != "running":
        with suppress(TrackingError):  # the run is in; what MLflow's page still lacks follows when runs are listed
            catch_up(index, mlflow_id, run)
    return run


def _put(beside: Path, target: Path, database: str) -> None:
    """Rename the whole folder into its place, unless the same run already lies there (a kill before the index)."""
    if target.exists():
        there = target / JOURNAL
        if not there.exists() or hash_file(there) != hash_file(beside / JOURNAL):
            raise TrackingError(f"{target} exists and is another run's; move it away")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    note_database(target, database)
    for file in beside.rglob("*"):
        if file.is_file():
            sync(file)
    os.replace(beside, target)  # noqa: PTH105 - Path.replace is the same; this one says that a folder is meant
    sync(target.parent)
