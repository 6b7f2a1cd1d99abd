"""A database that is lost, moved away or begun anew comes back from the journals; nothing acknowledged is missing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe
from carspotter.records import Dataset, EpochRecord, Evaluation, Machine, Run, Scores, Split
from carspotter.tracking.runs import RunStore, RunWriter, open_store
from carspotter.tracking.seed_log import import_seed_log, read_seed_log
from carspotter.tracking.transfer import export_runs, import_runs
from helpers.seed_log import training, write_log

WRITERS = Path(__file__).with_name("writers.py")
Start = Callable[[], RunWriter]


@pytest.fixture
def start(store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine) -> Start:
    return lambda: store.start(recipe, dataset, machine)


@pytest.fixture
def finish(
    start: Start, split: Split, make_epoch: Callable[..., EpochRecord], make_evaluation: Callable[..., Evaluation]
) -> Callable[[], Run]:
    """Train a run with everything that a training leaves."""

    def work() -> Run:
        with start() as writer:
            writer.split(split)
            writer.epoch(make_epoch(0))
            writer.epoch(make_epoch(1))
            logits = np.array([[1, 0], [0, 1]], dtype=np.float32)
            writer.answers(Scores(("2.jpg", "3.jpg"), logits, logits), np.array([0, 1]))
            return writer.finish(make_evaluation(), Path("models/tiny"), "b" * 64)

    return work


def lose(runs_db: Path, template: Path) -> RunStore:
    """An empty database in the place of the lost one, as making one would leave it."""
    shutil.copy(template, runs_db)
    return open_store()


def by_id(store: RunStore) -> dict[str, Run]:
    return {run.id: run for run in store.list()}


def files(runs_db: Path) -> dict[Path, tuple[int, bytes]]:
    found = (path for path in runs_db.parent.rglob("*") if path.is_file() and path.suffix not in (".db", ".lock"))
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def rows(runs_db: Path) -> list[str]:
    """Everything the database holds."""
    with closing(sqlite3.connect(runs_db)) as base:
        return list(base.iterdump())


def killed_run() -> str:
    with subprocess.Popen([sys.executable, str(WRITERS), "killed", "2"], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        run_id = writer.stdout.readline().strip()
        writer.kill()
        writer.wait(timeout=30)
    return run_id


@pytest.mark.slow
def test_everything_acknowledged_comes_back(
    store: RunStore, start: Start, finish: Callable[[], Run], runs_db: Path, template: Path, tmp_path: Path
) -> None:
    whole = finish()
    with pytest.raises(ValueError, match="x"), start():
        raise ValueError("x")
    with pytest.raises(KeyboardInterrupt), start():
        raise KeyboardInterrupt
    killed = killed_run()
    import_seed_log(store, read_seed_log(write_log(tmp_path / "log", [training(1)])))
    before, left = by_id(store), files(runs_db)
    answers, split = store.answers(whole.id), store.split(whole.id)
    assert len(before) == 5

    fresh = lose(runs_db, template)
    assert fresh.list() == ()
    found = fresh.recover()
    assert {run.id: run for run in found.added} == before == by_id(fresh)
    assert (found.known, found.damaged) == (0, ())
    assert sorted(run.status for run in found.added) == ["failed", "finished", "finished", "interrupted", "interrupted"]
    assert fresh.get(killed).error == "its process is gone"
    assert len(fresh.get(killed).history) == 2
    assert fresh.split(whole.id) == split
    assert fresh.answers(whole.id).ids == answers.ids
    assert np.array_equal(fresh.answers(whole.id).logits, answers.logits)
    assert files(runs_db) == left


def test_a_second_recovery_changes_nothing(
    store: RunStore, finish: Callable[[], Run], runs_db: Path, template: Path
) -> None:
    finish()
    assert store.recover().known == 1  # nothing was lost yet
    fresh = lose(runs_db, template)
    assert len(fresh.recover().added) == 1
    told, left = rows(runs_db), files(runs_db)
    for again in (fresh, open_store()):
        found = again.recover()
        assert (found.added, found.known, found.damaged) == ((), 1, ())
    assert rows(runs_db) == told
    assert files(runs_db) == left


def test_mlflow_s_page_is_told_again(finish: Callable[[], Run], runs_db: Path, template: Path) -> None:
    question = (
        "SELECT m.key, m.step, m.value FROM metrics m JOIN runs r USING (run_uuid) WHERE r.status = 'FINISHED' "
        "ORDER BY m.key, m.step"
    )

    def figures() -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(runs_db)) as base:
            return base.execute(question).fetchall()

    finish()
    before = figures()
    assert ("train_loss", 1, 1.0) in before
    lose(runs_db, template).recover()
    assert figures() == before


def test_runs_that_came_from_another_store_keep_their_models(
    store: RunStore, finish: Callable[[], Run], runs_db: Path, template: Path, tmp_path: Path
) -> None:
    run = finish()
    export_runs(store, [run], tmp_path / "runs.zip")
    place = tmp_path / "other" / "runs.db"
    place.parent.mkdir()
    shutil.copy(template, place)
    other = open_store(f"sqlite:///{place}")
    import_runs(other, tmp_path / "runs.zip")
    shutil.copy(template, place)
    other = open_store(f"sqlite:///{place}")
    assert [found.id for found in other.recover().added] == [run.id]
    assert import_runs(other, tmp_path / "runs.zip").known == (run.id,)


def test_a_recovered_run_can_be_taken_up_again(
    start: Start, dataset: Dataset, make_epoch: Callable[..., EpochRecord], runs_db: Path, template: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), start() as writer:  # noqa: PT012
        writer.epoch(make_epoch(0))
        raise KeyboardInterrupt
    fresh = lose(runs_db, template)
    fresh.recover()
    with fresh.resume(writer.id, dataset) as again:
        again.resumed(1, {}, 1.0)
        again.epoch(make_epoch(1))
        ended = again.finish()
    assert fresh.list() == (ended,)
    assert (ended.status, len(ended.history)) == ("finished", 2)
    with closing(sqlite3.connect(runs_db)) as base:
        assert base.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


def test_a_run_that_is_still_written_is_entered_and_closed_after_its_end(
    start: Start, make_epoch: Callable[..., EpochRecord], runs_db: Path, template: Path
) -> None:
    with start() as writer:
        writer.epoch(make_epoch(0))
        fresh = lose(runs_db, template)
        assert [run.status for run in fresh.recover().added] == ["running"]
        writer.epoch(make_epoch(1))
        ended = writer.finish()
    assert fresh.list() == (ended,)
    with closing(sqlite3.connect(runs_db)) as base:
        assert base.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        assert base.execute("SELECT step FROM metrics WHERE key = 'train_loss' ORDER BY 1").fetchall() == [(0,), (1,)]


def test_who_lists_is_told_of_lost_runs(finish: Callable[[], Run], runs_db: Path, template: Path) -> None:
    for _ in range(3):
        finish()
    sentence = f"3 runs lie below {runs_db.parent / 'artifacts'} and not in the database; `carspotter runs recover`"
    fresh = lose(runs_db, template)
    runs, (told,) = fresh.survey()
    assert runs == ()
    assert told.startswith(sentence)
    fresh.recover()
    assert fresh.damaged() == ()
    runs_db.unlink()
    assert open_store().damaged() == (told,)
    assert not runs_db.exists()


def test_what_was_thrown_away_on_mlflow_s_page_stays_away(
    store: RunStore, finish: Callable[[], Run], runs_db: Path
) -> None:
    gone, kept = finish(), finish()
    with closing(sqlite3.connect(runs_db)) as base, base:
        base.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (gone.id,))
    assert store.damaged() == ()
    found = store.recover()
    assert (found.added, found.known) == ((), 2)
    assert store.list() == (kept,)


def test_a_damaged_journal_is_named_and_keeps_nobody_else_out(
    finish: Callable[[], Run], runs_db: Path, template: Path
) -> None:
    good, bad, other = finish(), finish(), finish()
    home = runs_db.parent / "artifacts"
    (home / bad.id / "artifacts" / "journal.jsonl").write_bytes(b"{}\n")
    (home / other.id).rename(home / ("f" * 32))  # a folder that does not hold what its name says
    fresh = lose(runs_db, template)
    found = fresh.recover()
    assert found.added == (good,)
    assert len(found.damaged) == 2
    assert f"{bad.id}/artifacts/journal.jsonl, line 1 is damaged" in found.damaged[0]
    assert found.damaged[1].startswith(f"the journal of run {'f' * 32} tells of run {other.id}")
    assert by_id(fresh) == {good.id: good}


def test_what_is_no_run_is_left_alone(store: RunStore, finish: Callable[[], Run], runs_db: Path) -> None:
    run = finish()
    home = runs_db.parent / "artifacts"
    for name in ("notes", f".{run.id}.0123abcd", "e" * 31):
        shutil.copytree(home / run.id, home / name)
    (home / ("d" * 32)).mkdir()
    assert store.damaged() == ()
    assert store.recover().known == 1


def test_where_nothing_lies_nothing_is_made(tmp_path: Path) -> None:
    found = open_store().recover()
    assert (found.added, found.known, found.damaged) == ((), 0, ())
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_read_is_named(store: RunStore, runs_db: Path) -> None:
    (runs_db.parent / "artifacts").write_text("no folder")
    with pytest.raises(TrackingError, match=r"cannot read .*artifacts \(Not a directory\); make it a readable folder"):
        store.recover()


def test_a_run_folder_that_may_not_be_searched_is_named_and_keeps_nobody_else_out(
    finish: Callable[[], Run], runs_db: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patched, because root may search every folder."""
    good, shut = finish(), finish()
    home, stat = runs_db.parent / "artifacts", Path.stat

    def refuse(path: Path, **how: bool) -> os.stat_result:
        if path.is_relative_to(home / shut.id) and path != home / shut.id:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refuse)
    sentence = f"cannot look into {home / shut.id} (Permission denied); make it a readable folder"
    fresh = lose(runs_db, template)
    runs, told = fresh.survey()
    assert runs == ()
    assert told[0] == sentence
    assert told[1].startswith("1 run lies below")
    found = fresh.recover()
    assert (found.added, found.known, found.damaged) == ((good,), 0, (sentence,))
    assert fresh.damaged() == (sentence,)


# ---- several databases in one folder --------------------------------------------------------------------------------


@pytest.fixture
def neighbour(runs_db: Path, template: Path, recipe: Recipe, dataset: Dataset, machine: Machine) -> RunStore:
    """The store of another database beside the first one, with two runs."""
    place = runs_db.with_name("other.db")
    shutil.copy(template, place)
    other = open_store(f"sqlite:///{place}")
    for _ in range(2):
        with other.start(recipe, dataset, machine) as writer:
            writer.finish()
    return other


def test_another_database_s_runs_are_left_to_it(
    store: RunStore, neighbour: RunStore, finish: Callable[[], Run], runs_db: Path, template: Path
) -> None:
    own = finish()
    assert (store.list(), store.damaged(), neighbour.damaged()) == ((own,), (), ())
    found = store.recover()
    assert (found.added, found.known, found.others) == ((), 1, {"other.db": 2})
    fresh = lose(runs_db, template)
    assert fresh.damaged()[0].startswith("1 run lies below")
    assert fresh.recover().added == (own,)
    assert len(neighbour.list()) == 2


def test_a_database_that_is_gone_is_named_to_have_its_runs(
    neighbour: RunStore, finish: Callable[[], Run], store: RunStore, runs_db: Path
) -> None:
    own, lost = finish(), neighbour.list()
    runs_db.with_name("other.db").unlink()
    found = store.recover(of="other.db")
    assert ({run.id for run in found.added}, found.known, found.others) == ({run.id for run in lost}, 1, {})
    assert {run.id for run in store.list()} == {own.id, *(run.id for run in lost)}


def test_runs_of_older_versions_come_back_and_may_be_another_s(
    store: RunStore, neighbour: RunStore, runs_db: Path
) -> None:
    for note in (runs_db.parent / "artifacts").glob("*/database.txt"):
        assert note.read_text() == "other.db\n"
        note.unlink()
    (told,) = store.damaged()
    assert told.startswith("2 runs lie below ")
    assert "or of another database here, for an older version did not note whose they are; `carspotter" in told
    assert {run.id for run in store.recover().added} == {run.id for run in neighbour.list()}


def test_imported_runs_are_noted_too(store: RunStore, runs_db: Path, tmp_path: Path) -> None:
    import_seed_log(store, read_seed_log(write_log(tmp_path / "log", [training(1)])))
    (note,) = (runs_db.parent / "artifacts").glob("*/database.txt")
    assert note.read_text() == "runs.db\n"


def test_a_note_that_cannot_be_read_is_named(store: RunStore, neighbour: RunStore, runs_db: Path) -> None:
    one, *_ = sorted((runs_db.parent / "artifacts").glob("*/database.txt"))
    one.unlink()
    one.mkdir()
    assert store.damaged() == (f"cannot read {one} (Is a directory); make it readable",)
    found = store.recover()
    assert (found.added, found.damaged, found.others) == ((), store.damaged(), {"other.db": 1})
    assert len(neighbour.list()) == 2


@pytest.mark.slow
def test_two_that_recover_at_once_enter_each_run_once(finish: Callable[[], Run], runs_db: Path) -> None:
    """Without any database at all, as after a lost disk: one of them makes it."""
    ids = {finish().id for _ in range(4)}
    runs_db.unlink()
    script = "from carspotter.tracking.runs import open_store; print(len(open_store().recover().added))"
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert sorted(counts) == [0, 4]
    assert {run.id for run in open_store().list()} == ids
    with closing(sqlite3.connect(runs_db)) as base:
        assert base.execute("SELECT count(*) FROM runs").fetchone() == (4,)


# ---- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture
def servers(new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Addresses of two empty databases; runs lie below the working folder."""
    monkeypatch.chdir(tmp_path)
    return new_database(), new_database()


@pytest.mark.slow
def test_runs_live_in_postgresql_and_come_back_there_too(
    servers: tuple[str, str],
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    make_epoch: Callable[..., EpochRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = map(open_store, servers)
    with first.start(recipe, dataset) as writer:
        writer.split(split)
        writer.epoch(make_epoch(0))
        ended = writer.finish()
    assert writer.folder == tmp_path / "runs" / "artifacts" / writer.id / "artifacts"
    assert second.list() == ()
    name = first._index.address.name
    assert re.fullmatch(r"postgresql:///test_\w+:/tmp/carspotter-pg-\w+", name)
    assert (second.damaged(), second.recover().others) == ((), {name: 1})
    assert second.recover(of=name).added == (ended,)
    monkeypatch.chdir("/")  # a server keeps the one place of its runs
    for address in servers:
        store = open_store(address)
        assert store.list() == (ended,)
        assert store.split(ended.id) == split
        assert store.recover().known == 1
        assert "s3cret" not in repr(store._index.address)
