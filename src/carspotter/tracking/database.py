"""Whether a run database can be used, asked of the database itself before MLflow touches it.

MLflow would retry a damaged file or a server out of reach for 100 s, and half-upgrade a file of another version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from carspotter.data.address import PASSWORDS, SQLITE, hide_secrets
from carspotter.errors import TrackingError
from carspotter.tracking.address import Address
from carspotter.tracking.first_use import connect

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
    *PASSWORDS.items(),
)
"""What the libraries' messages contain, and what we say instead."""

VERSION = "alembic_version"
"""The table in which MLflow notes the version of the others."""
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
    _check_revision(place, revision, known, head)


def check_server(address: Address, known: Collection[str], head: str, *, patience: float) -> None:
    """Refuse a run database of another version on a server: MLflow would bring it to its own without a word.

    Args:
        address: of the database; one without tables is sound.
        known: schema revisions that the installed MLflow knows.
        head: the one it writes.
        patience: seconds to wait for the server.

    Raises:
        TrackingError: with the cure.
        sqlalchemy.exc.SQLAlchemyError: the server does not answer, or refuses.
    """
    from sqlalchemy import inspect, text

    with closing(connect(address.uri, patience)) as connection:
        if inspect(connection).has_table(VERSION):
            for revision in connection.scalars(text(f"SELECT version_num FROM {VERSION}")):  # noqa: S608
                _check_revision(str(address), revision, known, head)


def _check_revision(place: str, revision: str, known: Collection[str], head: str) -> None:
    if revision != head:
        raise TrackingError(sentence(place, "out-of-date database schema" if revision in known else "locate revision"))


def _open(path: Path, patience: float) -> sqlite3.Connection:
    # Not read-only: what a killed writer left half-written is rolled back by whoever opens it next. A file that may not
    # be written is opened for reading all the same, and none is made.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=patience)


def _revision(base: sqlite3.Connection, tables: Collection[str]) -> str | None:
    if VERSION not in tables or "runs" not in tables:
        return None
    row = base.execute(f"SELECT version_num FROM {VERSION}").fetchone()  # noqa: S608
    return None if row is None else str(row[0])
