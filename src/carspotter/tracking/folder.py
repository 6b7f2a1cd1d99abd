"""What lies in a run's folder, and the run that it tells of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from carspotter.data.disk import whole_file
from carspotter.data.wording import cause
from carspotter.errors import SourceError, TrackingError
from carspotter.records import Run, Split
from carspotter.tracking.journal import read_journal
from carspotter.tracking.lock import is_held

JOURNAL = "journal.jsonl"
RECIPE = "recipe.json"
SPLIT = "split.json"
BUNDLE = "bundle"
"""Folder beside the journal: the model of a run that was brought from another store."""
LOCK = "running.lock"
"""Lies above the folder, so that it does not travel with it."""
DATABASE = "database.txt"
"""Lies there too: the name of the database in which the run was born, for several may share the folder of all runs."""
MAX_NAME = 1000
"""Characters of that name that are read (assumption)."""
RUN_ID = re.compile(r"[0-9a-f]{32}")


def read_run(folder: Path) -> Run:
    """The run that a folder tells of; one whose process is gone is `interrupted`.

    Raises:
        TrackingError: its journal is missing, damaged, or of another version.
    """
    # The lock first: a run that ends between the two looks is then read with its end.
    held = is_held(folder.parent / LOCK)
    run = read_journal(folder / JOURNAL)
    if (folder / BUNDLE).is_dir():
        run = run.model_copy(update={"bundle": str(folder / BUNDLE)})  # the journal names its place in another store
    if run.status == "running" and not held:
        return run.model_copy(update={"status": "interrupted", "error": "its process is gone"})
    return run


def read_own_run(folder: Path, run_id: str) -> Run:
    """The run that a folder tells of, which must have this id.

    Raises:
        TrackingError: as `read_run`, or the journal is another run's.
    """
    run = read_run(folder)
    if run.id != run_id:
        raise TrackingError(f"the journal of run {run_id} tells of run {run.id}; it was altered, copy it again")
    return run


def read_split(folder: Path) -> Split:
    """The photos a run trained on and was judged on.

    Raises:
        TrackingError: the run has none, or the file is damaged.
    """
    path = folder / SPLIT
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        train, validation = tuple(stored["train"]), tuple(stored["validation"])
        return Split(train, validation, stored["method"], stored["folds"])
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise TrackingError(f"cannot read {path} ({fault}); the run ended before its split, or restore it") from None


def note_database(folder: Path, name: str) -> None:
    """Note in which database a new run is; what is noted stays.

    Raises:
        TrackingError: the disk refuses.
    """
    if noted_database(folder) is None:
        keep(folder.parent / DATABASE, f"{name}\n".encode())


def noted_database(folder: Path) -> str | None:
    """The database in which a run was born; None where an older version did not note it.

    Raises:
        TrackingError: the note is there and cannot be read.
    """
    path = folder.parent / DATABASE
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_NAME).strip()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise TrackingError(f"cannot read {path} ({cause(fault)}); make it readable") from None


def write_json(path: Path, content: Any) -> None:
    """A file for people and for MLflow's page; whole or as it was, for a resumed run writes it again.

    Raises:
        TrackingError: the disk refuses.
    """
    keep(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def keep(path: Path, data: bytes) -> None:
    """A file of a run, whole or not at all.

    Raises:
        TrackingError: the disk refuses.
    """
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except SourceError as fault:
        raise TrackingError(f"{fault}; free some space or make it writable") from None
