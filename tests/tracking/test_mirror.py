"""What the database misses, it is told later; a training never ends because of it, and nothing acknowledged is lost."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from carspotter.recipe import Recipe
from carspotter.records import Dataset, EpochRecord, Machine
from carspotter.tracking.runs import RunStore, RunWriter, open_store

WRITERS = Path(__file__).with_name("writers.py")


@pytest.fixture
def start(store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine) -> Callable[[], RunWriter]:
    return lambda: store.start(recipe, dataset, machine)


def asked(file: Path, question: str, *words: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as base, base:
        return base.execute(question, words).fetchall()


def steps(file: Path, run_id: str) -> list[object]:
    question = "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'train_loss' ORDER BY step"
    return [step for (step,) in asked(file, question, run_id)]


def status(file: Path, run_id: str) -> object:
    return asked(file, "SELECT status FROM runs WHERE run_uuid = ?", run_id)[0][0]


@contextmanager
def broken(file: Path) -> Iterator[None]:
    """A database that refuses figures at once, for another reason than a lock."""
    asked(file, "ALTER TABLE metrics RENAME TO away")
    try:
        yield
    finally:
        asked(file, "ALTER TABLE away RENAME TO metrics")


def test_a_database_that_fails_after_the_birth_does_not_end_the_training(
    store: RunStore,
    start: Callable[[], RunWriter],
    make_epoch: Callable[..., EpochRecord],
    runs_db: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with start() as run:
        run.epoch(make_epoch(0))
        with broken(runs_db), caplog.at_level(logging.WARNING):
            for number in range(1, 4):
                run.epoch(make_epoch(number))
            ended = run.finish()
            assert (ended.status, len(ended.history)) == ("finished", 4)
            assert store.list() == (ended,)  # who lists meanwhile sees it whole, and is not stopped either
            assert status(runs_db, run.id) == "RUNNING"
    warnings = [record.getMessage() for record in caplog.records if record.name == "carspotter"]
    assert len(warnings) == 2  # once at the first epoch it missed, once at the end
    assert all(f"run {run.id} is whole in its journal" in warning and "\n" not in warning for warning in warnings)
    assert (steps(runs_db, run.id), status(runs_db, run.id)) == ([0], "RUNNING")

    assert open_store().list() == (ended,)
    assert (steps(runs_db, run.id), status(runs_db, run.id)) == ([0, 1, 2, 3], "FINISHED")
    before = asked(runs_db, "SELECT * FROM metrics ORDER BY key, step")
    assert open_store().list() == (ended,)
    assert asked(runs_db, "SELECT * FROM metrics ORDER BY key, step") == before


def test_what_was_missed_is_told_at_the_end(
    start: Callable[[], RunWriter], make_epoch: Callable[..., EpochRecord], runs_db: Path
) -> None:
    with start() as run:
        run.epoch(make_epoch(0))
        with broken(runs_db):
            run.epoch(make_epoch(1))
        run.epoch(make_epoch(2))
        run.finish()
    assert (steps(runs_db, run.id), status(runs_db, run.id)) == ([0, 1, 2], "FINISHED")


def test_settings_that_were_missed_are_told_too(start: Callable[[], RunWriter], runs_db: Path) -> None:
    asked(runs_db, "CREATE TRIGGER full BEFORE INSERT ON params BEGIN SELECT RAISE(ABORT, 'database is full'); END")
    with start() as run:
        asked(runs_db, "DROP TRIGGER full")
        run.finish()
    question = "SELECT value FROM params WHERE run_uuid = ? AND key = 'stage.1.lr'"
    assert asked(runs_db, question, run.id) == [("0.001",)]


def test_an_exception_is_told_when_the_database_is_back(
    store: RunStore, start: Callable[[], RunWriter], make_epoch: Callable[..., EpochRecord], runs_db: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), start() as run, broken(runs_db):  # noqa: PT012
        run.epoch(make_epoch(0))
        raise KeyboardInterrupt
    asked(runs_db, "UPDATE runs SET status = 'RUNNING'")  # as if the end had not been told either
    store.list()
    assert (steps(runs_db, run.id), status(runs_db, run.id)) == ([0], "KILLED")


@pytest.mark.slow
def test_a_killed_writer_is_told_by_whoever_lists(store: RunStore, runs_db: Path) -> None:
    with subprocess.Popen([sys.executable, str(WRITERS), "killed", "2"], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        run_id = writer.stdout.readline().strip()
        store.list()
        assert status(runs_db, run_id) == "RUNNING"  # it lives
        writer.kill()
        writer.wait(timeout=30)
    (run,) = store.list()
    assert (run.status, status(runs_db, run_id), steps(runs_db, run_id)) == ("interrupted", "KILLED", [0, 1])


def test_a_database_locked_for_a_while_is_waited_for(
    start: Callable[[], RunWriter], make_epoch: Callable[..., EpochRecord], runs_db: Path
) -> None:
    taken = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(runs_db)) as base:
            base.execute("BEGIN EXCLUSIVE")
            taken.set()
            time.sleep(1)
            base.rollback()

    with start() as run:
        holder = threading.Thread(target=hold)
        holder.start()
        assert taken.wait(10)
        run.epoch(make_epoch(0))
        holder.join()
        assert steps(runs_db, run.id) == [0]  # told at once, not only at the end
        run.finish()


@pytest.mark.slow
def test_a_database_that_stays_locked_does_not_end_the_training(
    store: RunStore, start: Callable[[], RunWriter], make_epoch: Callable[..., EpochRecord], runs_db: Path
) -> None:
    """Twice MLflow's 20 seconds, however many epochs there are."""
    with start() as run, closing(sqlite3.connect(runs_db)) as base:
        base.execute("BEGIN IMMEDIATE")
        for number in range(5):
            run.epoch(make_epoch(number))
        ended = run.finish()
        base.rollback()
    assert len(ended.history) == 5
    assert store.list() == (ended,)
    assert (steps(runs_db, run.id), status(runs_db, run.id)) == ([0, 1, 2, 3, 4], "FINISHED")
