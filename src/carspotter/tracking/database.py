"""Whether a run database can be used, asked of the database itself before MLflow touches it.

MLflow would retry a damaged file or a server out of reach for 100 s, and half-upgrade a file of another version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from carspotter.data.address import SQLITE, hide_secrets
from carspotter.errors import TrackingError

CURES = (
    ("is locked", "is in use by another program; close that program, or wait and try again"),
    ("not a database", "is not a run database, or is damaged; {restore}"),
    ("malformed", "is damaged; {restore}"),
    ("readonly", "cannot be written; make the file and its folder writable, or set CARSPOTTER_RUNS to another place"),
    ("disk is full", "cannot grow, the disk is full; free some space and try again"),
    ("disk I/O", "cannot be read, the disk reports an error; {restore}"),
    ("unable to open", "cannot be opened; make its folder readable and writable, or set CARSPOTTER_RUNS elsewhere"),
    ("out-of-date database schema", "has tables of another MLflow version; install that version, or see {upgrade}"),
    ("locate revision", "was written by a newer MLflow; upgrade with: pip install -U 'carspotter[train]'"),
)
"""What the libraries' messages contain, and what we say instead."""

RESTORE = "restore a copy, or move it away and rebuild it with `carspotter runs recover` from the journals of the runs"


def sentence(place: str, message: str) -> str:
    """One line for people: which database, what is wrong, the cure."""
    place = hide_secrets(place)
    upgrade = f"`mlflow db upgrade {place}` after a backup"
    for sign, cure in CURES:
        if sign in message:
            return f"run database {place} {cure.format(restore=RESTORE, upgrade=upgrade)}"
    first = hide_secrets(next(iter(message.strip().splitlines()), "no reason given"))
    return f"run database {place} refused: {first}; check CARSPOTTER_RUNS and the database's own log"


def check_sqlite(path: Path, known: Collection[str], head: str, *, patience: float) -> None:
    """Refuse a run database that is locked, damaged, not ours, or of another version.

    Args:
        path: an existing file.
        known: schema revisions that the installed MLflow knows.
        head: the one it writes.
        patience: seconds to wait for another program's lock.

    Raises:
        TrackingError: with the cure.
    """
    place = f"{SQLITE}{path}"
    if not path.is_file():
        raise TrackingError(sentence(place, "unable to open"))
    try:
        with closing(_open(path, patience)) as base:
            fault = base.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            revision = _revision(base, tables)
    except sqlite3.Error as error:
        raise TrackingError(sentence(place, str(error))) from None
    if fault != "ok":
        raise TrackingError(sentence(place, "malformed"))
    if revision is None:
        raise TrackingError(sentence(place, "not a database of runs"))
    if revision != head:
        raise TrackingError(sentence(place, "out-of-date database schema" if revision in known else "locate revision"))


def _open(path: Path, patience: float) -> sqlite3.Connection:
    # Not read-only: what a killed writer left half-written is rolled back by whoever opens it next. A file that may not
    # be written is opened for reading all the same, and none is made.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=patience)


def _revision(base: sqlite3.Connection, tables: Collection[str]) -> str | None:
    if "alembic_version" not in tables or "runs" not in tables:
        return None
    row = base.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])
