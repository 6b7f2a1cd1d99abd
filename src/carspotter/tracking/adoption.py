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
from carspotter.tracking.index import Index
from carspotter.tracking.journal import Journal, read_journal
from carspotter.tracking.mirror import catch_up, milliseconds

RESULTS = ("history", "freezing", "timings", "evaluation", "bundle", "bundle_hash", "error", "seconds")
"""Fields that other events than `born` bring."""
ENDED = ("finished", "failed", "interrupted")


def write_journal(path: Path, run: Run) -> None:
    """A journal whose events add up to this run.

    Raises:
        TrackingError: the run has not ended, or the disk refuses.
    """
    if run.status not in ENDED:
        raise TrackingError(f"run {run.id} is {run.status}; only a run that has ended can be taken in")
    stored = run.model_dump(mode="json")
    born = {key: value for key, value in stored.items() if key not in RESULTS}
    end = {key: stored[key] for key in ("evaluation", "bundle", "bundle_hash", "error", "seconds")}
    timings = [("timing", {"phase": phase, "seconds": seconds}) for phase, seconds in stored["timings"].items()]
    Journal(path).extend(
        [
            ("born", {**born, "status": "running"}),
            *(("freezing", summary) for summary in stored["freezing"]),
            *(("epoch", epoch) for epoch in stored["history"]),
            *timings,
            (run.status, end),
        ]
    )


def take_in(index: Index, run_id: str, journal: str, fill: Callable[[Path], None]) -> Run:
    """Enter one run.

    Args:
        index: that does not know it yet.
        run_id: its own.
        journal: the file's name in its folder.
        fill: writes all files of the run, the journal among them, into an empty folder.

    Raises:
        TrackingError: what was written is no journal of this run, another run lies there, or the store refuses.
    """
    target = index.place(run_id)
    try:
        beside = target.parents[1] / f".{run_id}.{uuid4().hex[:8]}"
        beside.mkdir(parents=True)
        try:
            fill(beside)
            run = read_journal(beside / journal)
            if run.id != run_id:
                raise TrackingError(f"the journal of run {run_id} tells of run {run.id}; it was altered, copy it again")
            _put(beside, target, journal)
            if run.status == "running":  # its writer was killed before it could say so
                run = run.model_copy(update={"status": "interrupted", "error": "its process is gone"})
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as fault:
        raise TrackingError(f"cannot write {target} ({cause(fault)}); free some space or make it writable") from None
    tags = {"dataset": run.dataset, "origin": run.origin, "code_version": run.code_version}
    mlflow_id = index.adopt(run_id, run.name, milliseconds(run.started), tags)
    with suppress(TrackingError):  # the run is in; what MLflow's page still lacks follows when runs are listed
        catch_up(index, mlflow_id, run)
    return run


def _put(beside: Path, target: Path, journal: str) -> None:
    """Rename the whole folder into its place, unless the same run already lies there (a kill before the index)."""
    if target.exists():
        there = target / journal
        if not there.exists() or hash_file(there) != hash_file(beside / journal):
            raise TrackingError(f"{target} exists and is another run's; move it away")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in beside.rglob("*"):
        if file.is_file():
            sync(file)
    os.replace(beside, target)  # noqa: PTH105 - Path.replace is the same; this one says that a folder is meant
    sync(target.parent)
