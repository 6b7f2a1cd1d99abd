from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from carspotter.errors import TrackingError, TrainingError
from carspotter.recipe import Recipe
from carspotter.records import (
    Dataset,
    EpochRecord,
    Evaluation,
    FreezeSummary,
    Machine,
    Photo,
    Run,
    Split,
)
from carspotter.tracking.lock import is_held
from carspotter.tracking.runs import RunStore, RunWriter, open_store

WRITERS = Path(__file__).with_name("writers.py")
SUMMARY = FreezeSummary(
    stage="head",
    trains_from="head",
    parameters=10,
    parameters_frozen=90,
    layers=1,
    layers_frozen=9,
    batchnorm=0,
    batchnorm_frozen=3,
)


@pytest.fixture
def start(store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine) -> Callable[[], RunWriter]:
    return lambda: store.start(recipe, dataset, machine)


def finished(start: Callable[[], RunWriter]) -> Run:
    with start() as run:
        return run.finish()


def at_mlflow(file: Path, run_id: str) -> dict[str, dict[str, object]]:
    """What the database itself holds of a run."""
    with closing(sqlite3.connect(file)) as base:
        status = base.execute("SELECT status FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
        assert status is not None
        return {
            "run": {"status": status[0]},
            "params": dict(base.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,))),
            "tags": dict(base.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))),
            "figures": dict(base.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run_id,))),
        }


# ---- a run from birth to end ----------------------------------------------------------------------------------------


def test_everything_comes_back(
    start: Callable[[], RunWriter],
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    machine: Machine,
    make_epoch: Callable[..., EpochRecord],
    make_evaluation: Callable[..., Evaluation],
) -> None:
    epochs = tuple(make_epoch(number) for number in range(2))
    with start() as writer:
        writer.split(split)
        writer.freezing(SUMMARY)
        for epoch in epochs:
            writer.epoch(epoch)
        writer.timing("decode", 1.25)
        ended = writer.finish(make_evaluation(), Path("models/tiny"), "b" * 64)
    store = open_store()
    run = store.get(writer.id)
    assert run == ended
    assert run.status == "finished"
    assert (run.name, run.recipe, run.machine) == ("tiny", recipe, machine)
    assert (run.dataset, run.origin) == (dataset.fingerprint, "photos/tiny")
    assert (run.photos, run.classes) == (10, ("a", "b"))
    assert (run.history, run.freezing, run.timings) == (epochs, (SUMMARY,), {"decode": 1.25})
    assert (run.evaluation, run.bundle, run.bundle_hash) == (make_evaluation(), "models/tiny", "b" * 64)
    assert run.split == split.method
    assert run.seconds is not None
    assert run.error is None
    assert store.split(writer.id) == split
    assert store.list() == (run,)
    assert store.damaged() == ()


def test_mlflow_s_own_page_shows_it(
    start: Callable[[], RunWriter],
    runs_db: Path,
    make_epoch: Callable[..., EpochRecord],
    make_evaluation: Callable[..., Evaluation],
) -> None:
    with start() as writer:
        writer.epoch(make_epoch(0))
        writer.epoch(make_epoch(1, val_loss=None))
        writer.timing("decode", 1.25)
        writer.finish(make_evaluation(), Path("models/tiny"), "b" * 64)
    stored = at_mlflow(runs_db, writer.id)
    assert stored["run"] == {"status": "FINISHED"}
    assert stored["params"]["stage.1.lr"] == "0.001"
    assert stored["params"]["stage.0.augment.zoom"] == "[1.0, 1.0]"
    assert stored["tags"]["bundle_hash"] == "b" * 64
    assert stored["tags"]["pid"] == str(os.getpid())
    figures = stored["figures"]
    assert (figures["accuracy"], figures["accuracy_low"], figures["accuracy_high"]) == (0.5, 0.4, 0.6)
    assert (figures["accuracy_n"], figures["log_loss"], figures["seconds_decode"]) == (100, 1.25, 1.25)
    with closing(sqlite3.connect(runs_db)) as base:
        losses = base.execute(
            "SELECT key, step, value FROM metrics WHERE key IN ('train_loss', 'val_loss') ORDER BY 1, 2"
        )
        assert losses.fetchall() == [("train_loss", 0, 2.0), ("train_loss", 1, 1.0), ("val_loss", 0, 2.5)]


def test_a_long_recipe_fits_mlflow_s_limits(
    store: RunStore, recipe: Recipe, dataset: Dataset, runs_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")  # MLflow then refuses what it would cut
    stages = tuple(recipe.stage[0].model_copy(update={"name": f"stage {number}"}) for number in range(12))
    long = recipe.model_copy(update={"about": "ы" * 9000, "stage": stages})
    with store.start(long, dataset) as writer:
        writer.finish()
    params = at_mlflow(runs_db, writer.id)["params"]
    assert len(str(params["about"])) == 6000
    assert "stage.11.augment.flip" in params
    assert store.get(writer.id).recipe == long


def test_a_run_is_readable_from_its_birth(store: RunStore, start: Callable[[], RunWriter]) -> None:
    with start() as writer:
        (run,) = store.list()
        assert (run.id, run.status, run.history) == (writer.id, "running", ())
        assert json.loads((writer.folder / "recipe.json").read_text())["name"] == "tiny"
        writer.finish()


def test_a_run_needs_a_scanned_dataset(store: RunStore, recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="digest"):
        store.start(recipe, Dataset(photos=(Photo("1.jpg", b""),)))
    assert store.list() == ()


def test_a_run_whose_birth_failed_does_not_seem_to_go_on(
    store: RunStore,
    recipe: Recipe,
    dataset: Dataset,
    runs_db: Path,
    disk_of: Callable[[int], AbstractContextManager[None]],
) -> None:
    big = recipe.model_copy(update={"about": "a" * 3_000_000})
    with disk_of(2_000_000), pytest.raises(TrackingError, match=r"cannot write .*recipe\.json"):
        store.start(big, dataset)
    (lock,) = runs_db.parent.glob("artifacts/*/running.lock")
    assert not is_held(lock)
    assert store.list() == ()
    assert len(store.damaged()) == 1


@pytest.mark.parametrize("change", ["label", "digest", "ids"])
def test_held_out_photos_are_the_same_only_with_labels_and_contents(
    store: RunStore, recipe: Recipe, dataset: Dataset, split: Split, change: str
) -> None:
    photos = {
        "label": [*dataset.photos[:2], Photo("2.jpg", b"", "b", digest=f"{2:064x}"), *dataset.photos[3:]],
        "digest": [*dataset.photos[:2], Photo("2.jpg", b"", "a", digest="f" * 64), *dataset.photos[3:]],
        "ids": dataset.photos,
    }[change]
    other = Dataset(photos=tuple(photos), classes=dataset.classes, codes=dataset.codes)
    held_out = ("2.jpg", "5.jpg") if change == "ids" else split.validation

    def validation(dataset: Dataset, ids: tuple[str, ...]) -> str | None:
        with store.start(recipe, dataset) as writer:
            writer.split(Split(train=(), validation=ids, method=""))
            return writer.finish().validation

    assert validation(dataset, split.validation) == validation(dataset, split.validation[::-1])
    assert validation(other, held_out) != validation(dataset, split.validation)


# ---- ends that are no finish ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "mlflow_status", "error"),
    [
        (TrainingError("the loss is not a number; lower stage.0.lr"), "failed", "FAILED", "TrainingError: the loss is"),
        (ValueError("one\ntwo"), "failed", "FAILED", "ValueError: one"),
        (MemoryError(), "failed", "FAILED", "MemoryError"),
        (KeyboardInterrupt(), "interrupted", "KILLED", "KeyboardInterrupt"),
        (SystemExit(143), "interrupted", "KILLED", "SystemExit: 143"),
    ],
)
def test_an_exception_ends_the_run(
    start: Callable[[], RunWriter],
    runs_db: Path,
    make_epoch: Callable[..., EpochRecord],
    fault: BaseException,
    status: str,
    mlflow_status: str,
    error: str,
) -> None:
    with pytest.raises(type(fault)), start() as writer:  # noqa: PT012
        writer.epoch(make_epoch())
        raise fault
    (run,) = open_store().list()
    assert run.status == status
    assert run.error is not None
    assert run.error.startswith(error)
    assert "\n" not in run.error
    assert run.seconds is not None
    assert len(run.history) == 1
    assert at_mlflow(runs_db, run.id)["run"] == {"status": mlflow_status}


def test_leaving_without_a_result_is_a_failure(store: RunStore, start: Callable[[], RunWriter]) -> None:
    with start():
        pass
    (run,) = store.list()
    assert (run.status, run.error) == ("failed", "it ended without a result")


def test_a_store_that_broke_does_not_hide_what_stopped_the_training(start: Callable[[], RunWriter]) -> None:
    with pytest.raises(TrainingError, match="loss") as told, start() as writer:  # noqa: PT012
        shutil.rmtree(writer.folder)
        raise TrainingError("the loss is not a number")
    (note,) = told.value.__notes__
    assert "could not be marked as ended" in note


def test_a_finished_run_refuses_everything(
    store: RunStore, start: Callable[[], RunWriter], make_epoch: Callable[..., EpochRecord], split: Split
) -> None:
    with start() as writer:
        ended = writer.finish()
        journal = (writer.folder / "journal.jsonl").read_bytes()
        for write in (
            lambda: writer.epoch(make_epoch()),
            lambda: writer.timing("decode", 1.0),
            lambda: writer.freezing(SUMMARY),
            lambda: writer.split(split),
            writer.finish,
        ):
            with pytest.raises(TrackingError, match="has ended and is never edited"):
                write()
    assert not (writer.folder / "split.json").exists()
    assert (writer.folder / "journal.jsonl").read_bytes() == journal
    assert store.get(writer.id) == ended


def test_a_writer_cannot_come_back_after_its_end(start: Callable[[], RunWriter]) -> None:
    with pytest.raises(TrainingError), start() as writer:
        raise TrainingError("over")
    with pytest.raises(TrackingError, match="has ended"):
        writer.finish()


# ---- several processes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_writer_leaves_its_epochs_and_is_seen_as_interrupted(store: RunStore, runs_db: Path) -> None:
    words = [sys.executable, str(WRITERS), "killed", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        run_id = writer.stdout.readline().strip()
        assert store.get(run_id).status == "running"
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=30)
    run = store.get(run_id)
    assert (run.status, run.error) == ("interrupted", "its process is gone")
    assert [record.epoch for record in run.history] == [0, 1, 2]
    assert at_mlflow(runs_db, run_id)["run"] == {"status": "RUNNING"}  # nobody was there to say otherwise
    assert store.list() == (run,)


@pytest.mark.slow
def test_many_writers_at_once_lose_nothing(store: RunStore, runs_db: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(WRITERS), "race", "3"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    acknowledged = done.stdout.split()
    assert len(set(acknowledged)) == 15
    runs = store.list()
    assert {run.id for run in runs} == set(acknowledged)
    assert {(run.status, len(run.history)) for run in runs} == {("finished", 3)}
    assert all(at_mlflow(runs_db, run.id)["run"] == {"status": "FINISHED"} for run in runs)


@pytest.mark.slow
def test_many_first_users_at_once_make_one_database(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(WRITERS), "race", "3"], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {run.id for run in open_store().list()} == set(done.stdout.split())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["artifacts", "runs.db", "runs.db.lock"]


@pytest.mark.slow
def test_a_kill_while_the_tables_are_made_leaves_nothing_half_made(tmp_path: Path) -> None:
    half = tmp_path / "runs" / "runs.db.new"
    with subprocess.Popen([sys.executable, str(WRITERS), "killed", "1"]) as writer:
        while writer.poll() is None and not (half.exists() and half.stat().st_size > 100_000):
            pass
        writer.kill()
    assert half.exists()
    assert not half.with_name("runs.db").exists()
    done = subprocess.run([sys.executable, str(WRITERS), "race", "1"], capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(open_store().list()) == 5


# ---- finding runs ---------------------------------------------------------------------------------------------------


def test_newest_first(store: RunStore, start: Callable[[], RunWriter], runs_db: Path) -> None:
    ids = [finished(start).id for _ in range(3)]
    with closing(sqlite3.connect(runs_db)) as base, base:
        for number, run_id in enumerate(ids):  # a clock that could not tell two starts apart would leave it to chance
            base.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (number, run_id))
    assert [run.id for run in store.list()] == ids[::-1]


def test_more_runs_than_a_page(
    store: RunStore, start: Callable[[], RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carspotter.tracking.index.PAGE", 2)
    ids = {finished(start).id for _ in range(5)}
    assert {run.id for run in store.list()} == ids


def test_a_beginning_of_the_id_is_enough(store: RunStore, start: Callable[[], RunWriter]) -> None:
    run = finished(start)
    finished(start)
    assert store.get(run.id[:12]) == run


@pytest.mark.parametrize("run_id", ["zz", "", "%", "_"])
def test_an_unknown_run_is_named(store: RunStore, start: Callable[[], RunWriter], run_id: str) -> None:
    finished(start)
    with pytest.raises(TrackingError, match=f"there is no run '{run_id}' among 1; `carspotter runs ls`"):
        store.get(run_id)


def test_an_ambiguous_beginning_lists_the_candidates(store: RunStore, start: Callable[[], RunWriter]) -> None:
    ids: list[str] = []
    while len({run_id[0] for run_id in ids}) == len(ids):  # until two begin alike: at most 17 runs, mostly 5
        ids.append(finished(start).id)
    first = ids[-1][0]
    meant = [run_id for run_id in ids if run_id[0] == first]
    with pytest.raises(TrackingError, match=f"{len(meant)} runs begin with '{first}': ") as told:
        store.get(first)
    shown = str(told.value).partition(": ")[2]
    assert all(run_id[:5] in shown for run_id in meant)
    assert shown.endswith("give more of the id")


def test_no_store_yet_is_an_empty_list_and_makes_nothing(tmp_path: Path) -> None:
    store = open_store()
    assert store.list() == ()
    with pytest.raises(TrackingError, match="there is no run 'abc' among 0"):
        store.get("abc")
    assert not (tmp_path / "runs").exists()


def test_runs_move_with_their_folder(start: Callable[[], RunWriter], runs_db: Path, tmp_path: Path) -> None:
    run = finished(start)
    moved = tmp_path / "Проект 100% #1" / "runs"
    moved.parent.mkdir()
    runs_db.parent.rename(moved)
    assert open_store(f"sqlite:///{moved}/runs.db").list() == (run,)


def test_a_place_stays_while_the_working_folder_changes(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, dataset: Dataset
) -> None:
    monkeypatch.delenv("CARSPOTTER_RUNS")
    (tmp_path / "runs").mkdir()
    shutil.copy(template, tmp_path / "runs" / "runs.db")
    monkeypatch.chdir(tmp_path)
    store = open_store()
    monkeypatch.chdir("/")
    with store.start(recipe, dataset) as writer:
        writer.finish()
    assert writer.folder == tmp_path / "runs" / "artifacts" / writer.id / "artifacts"
    assert len(store.list()) == 1


def test_a_damaged_run_is_left_out_and_named(store: RunStore, start: Callable[[], RunWriter], runs_db: Path) -> None:
    good, bad = finished(start), finished(start)
    journal = runs_db.parent / "artifacts" / bad.id / "artifacts" / "journal.jsonl"
    journal.write_bytes(b"\x00" * 20 + b"\n" + journal.read_bytes())
    assert store.list() == (good,)
    (sentence,) = store.damaged()
    assert f"{bad.id}/artifacts/journal.jsonl, line 1 is damaged" in sentence
    with pytest.raises(TrackingError, match="line 1 is damaged"):
        store.get(bad.id)


def test_a_run_without_a_split_says_so(store: RunStore, start: Callable[[], RunWriter]) -> None:
    run = finished(start)
    with pytest.raises(TrackingError, match=r"cannot read .*split\.json .*the run ended before its split"):
        store.split(run.id)


# ---- silence --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_use_says_nothing_and_tells_nobody() -> None:
    """No migration log, no warning, no telemetry thread, even with every warning shown."""
    script = (
        "import sys, threading; sys.path.insert(0, sys.argv[1]); import writers\n"
        "with writers.open_store().start(writers.RECIPE, writers.DATASET) as run: run.finish()\n"
        "import os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'], threading.active_count())"
    )
    words = [sys.executable, "-W", "default", "-c", script, str(WRITERS.parent)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("true 1\n", "")


def test_other_loggers_and_warnings_are_as_before(start: Callable[[], RunWriter]) -> None:
    import logging

    def state() -> tuple[object, ...]:
        return logging.getLogger("mlflow").level, logging.getLogger("alembic").level, list(warnings.filters)

    before = state()
    finished(start)
    assert state() == before


def test_importing_the_store_imports_no_mlflow() -> None:
    script = "import carspotter.tracking.runs, carspotter.tracking.compare, sys\n"
    script += "print([name for name in ('mlflow', 'sqlalchemy', 'alembic', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
