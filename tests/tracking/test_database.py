"""Run databases that are locked, damaged, foreign or of another version: one clear line each, at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from carspotter.errors import TrackingError
from carspotter.tracking.database import sentence
from carspotter.tracking.runs import open_store


@contextmanager
def taken(file: Path) -> Iterator[None]:
    """Another program holds the database."""
    with closing(sqlite3.connect(file)) as base:
        base.execute("BEGIN EXCLUSIVE")
        yield


def change_revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def refusal(file: Path) -> str:
    """What the store says, which must be one line and name the file."""
    with pytest.raises(TrackingError) as told:
        open_store(f"sqlite:///{file}", patience=0.1).list()
    text = str(told.value)
    assert "\n" not in text
    assert str(file) in text
    return text


def test_a_locked_database(runs_db: Path) -> None:
    with taken(runs_db):
        assert "is in use by another program; close that program, or wait" in refusal(runs_db)
    assert open_store().list() == ()


@pytest.mark.parametrize(
    "data",
    [b"this is no database, it only has a name like one " * 100, b"SQLite format 3\x00" + b"\xff" * 5000],
    ids=["text", "header"],
)
def test_no_database_at_all(runs_db: Path, data: bytes) -> None:
    runs_db.write_bytes(data)
    assert "is not a run database, or is damaged; restore a copy, or move it away" in refusal(runs_db)


def test_an_empty_file(runs_db: Path) -> None:
    runs_db.write_bytes(b"")
    assert "is not a run database" in refusal(runs_db)


def test_a_cut_database(runs_db: Path) -> None:
    data = runs_db.read_bytes()
    runs_db.write_bytes(data[: len(data) // 2])
    assert "is damaged; restore a copy, or move it away and rebuild it with `carspotter runs recover`" in refusal(
        runs_db
    )


def test_a_damaged_page_that_no_list_of_runs_reads(runs_db: Path) -> None:
    """Only a look at the whole file sees it, before a training writes its figures there."""
    with closing(sqlite3.connect(runs_db)) as base:
        (size,) = base.execute("PRAGMA page_size").fetchone()
        (page,) = base.execute("SELECT rootpage FROM sqlite_master WHERE name = 'metrics'").fetchone()
    data = bytearray(runs_db.read_bytes())
    data[(page - 1) * size : page * size] = b"\x5a" * size
    runs_db.write_bytes(data)
    assert "is damaged; restore a copy, or move it away and rebuild it with `carspotter runs recover`" in refusal(
        runs_db
    )


def test_somebody_else_s_database_is_left_alone(runs_db: Path) -> None:
    runs_db.unlink()
    with closing(sqlite3.connect(runs_db)) as base, base:
        base.execute("CREATE TABLE recipes (name TEXT)")
    before = runs_db.read_bytes()
    assert "is not a run database" in refusal(runs_db)
    assert runs_db.read_bytes() == before


def test_a_newer_schema(runs_db: Path) -> None:
    change_revision(runs_db, "ffffffffffff")
    assert "was written by a newer MLflow; upgrade with: pip install -U 'carspotter[train]'" in refusal(runs_db)


def test_an_older_schema_is_not_upgraded_behind_one_s_back(runs_db: Path) -> None:
    change_revision(runs_db, "451aebb31d03")  # MLflow 1.0's first revision
    with closing(sqlite3.connect(runs_db)) as base, base:
        base.execute("DROP TABLE trace_info")  # a missing table is what makes MLflow migrate on its own
    before = runs_db.read_bytes()
    assert "has tables of another MLflow version" in refusal(runs_db)
    assert f"`mlflow db upgrade sqlite:///{runs_db}` after a backup" in refusal(runs_db)
    assert runs_db.read_bytes() == before


def test_a_folder_in_place_of_the_database(runs_db: Path) -> None:
    runs_db.unlink()
    runs_db.mkdir()
    assert "cannot be opened; make its folder readable" in refusal(runs_db)


def test_a_password_is_in_no_sentence() -> None:
    told = sentence("postgresql://me:secret@host/runs", "connection to postgresql://me:secret@host/runs failed\nmore")
    assert "secret" not in told
    assert told.count("me:***@host") == 2
    assert "\n" not in told


KILLED_WHILE_WRITING = """
import os, signal, sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA cache_size = 1")  # what is written spills to disk before it is committed
base.execute("BEGIN")
base.executemany("INSERT INTO experiment_tags VALUES (?, ?, 0)", ((str(i), "x" * 1000) for i in range(200)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_written_is_taken_back(runs_db: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, runs_db], check=False)
    assert runs_db.with_name("runs.db-journal").stat().st_size
    assert open_store().list() == ()
