"""The memory of a search: what it hands out, what it forgets never, and who may use it."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from carspotter.errors import TrackingError
from carspotter.training.claim import SETTINGS
from carspotter.training.space import Axis, Space
from carspotter.training.storage import PEERS, STARTUP
from carspotter.training.study import RETRIES, Study, check_storage, default_storage, open_study

SPACE = Space(
    "s",
    "",
    "fast",
    (),
    (
        Axis("stage.0.lr", low=1e-4, high=1e-1, log=True),
        Axis("stage.0.epochs", low=2, high=8, step=2),
        Axis("stage.0.height", ("64", "96"), also=("stage.0.width",)),
    ),
    hold=2,
)
CONDITIONS = {"photos": "abc", "settings": "def"}


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'sweeps.db'}"


def study_at(address: str, name: str = "s", **options: Any) -> AbstractContextManager[Study]:
    given: dict[str, Any] = {"conditions": CONDITIONS, "by": "log_loss", "seed": 0, "storage": address}
    return open_study(name, SPACE, **given | options)


def finish(study: Study, value: float) -> int:
    number = study.ask({}).number
    study.finish(number, value, {"run": f"r{number}"})
    return number


def test_trials_have_values_of_every_axis_and_are_remembered(address: str) -> None:
    with study_at(address) as study:
        asks = [study.ask({}) for _ in range(3)]
        study.finish(asks[0].number, 1.5, {"run": "r", "accuracy": 0.5})
        study.prune(asks[1].number, {"reason": "slow"})
        study.fail(asks[2].number, "broken", again=False)
    for ask in asks:
        assert 1e-4 <= ask.values["stage.0.lr"] <= 1e-1
        assert ask.values["stage.0.epochs"] in {2, 4, 6, 8}
        assert ask.values["stage.0.height"] in {"64", "96"}
    with study_at(address) as study:
        tried = study.tried()
    assert [trial.state for trial in tried] == ["finished", "pruned", "failed"]
    assert [trial.value for trial in tried] == [1.5, None, None]
    assert tried[0].facts == {"run": "r", "accuracy": 0.5}
    assert [trial.values for trial in tried] == [ask.values for ask in asks]


def test_held_values_are_given_again(address: str) -> None:
    with study_at(address) as study:
        for value in ("64", "96", "64"):
            assert study.ask({"stage.0.height": value}).values["stage.0.height"] == value


def test_a_continued_study_draws_other_values_than_it_began_with(address: str) -> None:
    with study_at(address) as study:
        first = [study.ask({}) for _ in range(3)]
        for ask in first:
            study.finish(ask.number, 1.0, {})
    with study_at(address) as study:
        later = [study.ask({}).values["stage.0.lr"] for _ in range(3)]
    assert not {ask.values["stage.0.lr"] for ask in first} & set(later)


def test_equal_seeds_draw_equal_values(tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with study_at(f"sqlite:///{tmp_path / name}.db", seed=seed) as study:
            drawn.append(study.ask({}).values)
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_a_dead_process_left_is_queued_again_a_few_times(address: str) -> None:
    """The study is left with its trial open, as a kill leaves it."""
    seen = []
    for _ in range(RETRIES + 1):
        with study_at(address) as study:
            seen.append(study.ask({"stage.0.height": "64"}).values)
    assert seen == [seen[0]] * (RETRIES + 1)
    with study_at(address) as study:
        assert [trial.state for trial in study.tried()] == ["repeated"] * RETRIES + ["failed"]
        assert study.ask({}).values != seen[0]


def test_queued_settings_come_before_held_ones(address: str) -> None:
    with study_at(address) as study:
        lost = study.ask({})
        study.fail(lost.number, "killed", again=True)
        other = "96" if lost.values["stage.0.height"] == "64" else "64"
        assert study.ask({"stage.0.height": other}).values == lost.values
        assert study.ask({"stage.0.height": other}).values["stage.0.height"] == other


def test_a_hopeless_trial_is_pruned_and_a_good_one_is_not(address: str) -> None:
    with study_at(address) as study:
        for value in [1.0] * max(STARTUP, PEERS):
            number = study.ask({}).number
            study.report(number, 3, value)
            study.finish(number, value, {})
        good, bad = study.ask({}).number, study.ask({}).number
        assert not study.report(good, 3, 0.9)
        assert study.report(bad, 3, 1.1)


def test_accuracy_is_searched_upwards(address: str) -> None:
    with study_at(address, by="accuracy") as study:
        for _ in range(max(STARTUP, PEERS)):
            number = study.ask({}).number
            study.report(number, 3, 0.5)
            study.finish(number, 0.5, {})
        assert study.report(study.ask({}).number, 3, 0.4)
        assert not study.report(study.ask({}).number, 3, 0.6)


def test_another_search_under_the_same_name_is_refused(address: str) -> None:
    with study_at(address) as study:
        finish(study, 1.0)
    with pytest.raises(TrackingError, match=r"^study s was begun with other photos, so its trials .*--study NAME$"):
        study_at(address, conditions=CONDITIONS | {"photos": "xyz"}).__enter__()
    with study_at(address) as study:  # untouched by the refusal
        assert len(study.tried()) == 1


def test_a_study_has_one_owner_and_a_database_many_studies(address: str) -> None:
    with study_at(address, "first"):
        with pytest.raises(TrackingError, match="study first is being run by another process"):
            study_at(address, "first").__enter__()
        with study_at(address, "second") as other:
            assert finish(other, 1.0) == 0
    with study_at(address, "first") as study:
        assert study.tried() == ()


def test_a_first_study_leaves_the_programs_logging_alone(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program of one's own, outside pytest
    ours = logging.getLogger("carspotter")
    with study_at(address):
        assert not ours.disabled
        assert logging.getLogger().handlers == []


def test_studies_lie_beside_the_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'x' / 'runs.db'}?timeout=3")
    assert default_storage() == f"sqlite:///{tmp_path / 'x' / 'sweeps.db'}"
    monkeypatch.chdir(tmp_path)
    for elsewhere in ("postgresql://me@host/db", ""):
        monkeypatch.setenv("CARSPOTTER_RUNS", elsewhere)
        assert default_storage() == f"sqlite:///{tmp_path / 'runs' / 'sweeps.db'}"


@pytest.mark.parametrize("address", ["mysql://me:s3cret@host/db", "sweeps.db", "sqlite://"])
def test_another_kind_of_database_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(TrackingError, match="is no address of a study database; expected sqlite") as refused:
        check_storage(address)
    assert "s3cret" not in str(refused.value)


def test_a_server_out_of_reach_is_one_line_without_the_password() -> None:
    with pytest.raises(TrackingError) as refused:
        study_at("postgresql://me:s3cret@127.0.0.1:1/db").__enter__()
    said = str(refused.value)
    assert said.startswith("study database postgresql://me:***@127.0.0.1:1/db refused: ")
    assert "s3cret" not in said
    assert "\n" not in said


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sweeps.db"
    path.write_text("no database at all, whatever its name may say " * 100, encoding="utf-8")
    with pytest.raises(TrackingError, match=r"^study database sqlite:///.*sweeps.db refused: file is not a database"):
        study_at(f"sqlite:///{path}").__enter__()
    assert path.read_text(encoding="utf-8").startswith("no database")


def test_a_locked_database_is_waited_for_and_then_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carspotter.training.storage.PATIENCE", 0.1)
    with study_at(address) as study:
        finish(study, 1.0)
    other = sqlite3.connect(address.removeprefix("sqlite:///"))
    try:
        other.execute("begin exclusive")
        with pytest.raises(TrackingError, match="refused: database is locked"):
            study_at(address).__enter__()
    finally:
        other.close()


def test_tables_of_another_optuna_are_refused(address: str) -> None:
    with study_at(address):
        pass
    with sqlite3.connect(address.removeprefix("sqlite:///")) as base:
        base.execute("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
    base.close()
    with pytest.raises(TrackingError, match=r"has tables of another Optuna version; install that version, or bring"):
        study_at(address).__enter__()


def test_what_is_owed_to_a_trial_outlives_a_kill(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill strikes between the end of a trial and the queueing of its settings."""
    monkeypatch.setattr(Study, "_repeat_owed", lambda *_: None)
    with study_at(address) as study:
        lost, broken = study.ask({}), study.ask({})
        study.fail(lost.number, "killed", again=True)
        study.fail(broken.number, "broken", again=False)
    monkeypatch.undo()
    with study_at(address) as study:
        assert [trial.state for trial in study.tried()] == ["repeated", "failed", "waiting"]
        assert study.ask({}).values == lost.values


def test_no_more_trials_are_begun_than_wanted(address: str) -> None:
    with study_at(address) as study:
        first = study.begin({}, 2)
        assert first is not None
        assert study.begin({}, 2) is not None
        assert study.begin({}, 2) is None
        study.fail(first.number, "killed", again=True)
        again = study.begin({}, 2)  # settings queued again are the same trial
        assert again is not None
        assert again.values == first.values
        assert study.begin({}, 2) is None
        assert not study.others_at_work()


# ---- PostgreSQL: several workers ------------------------------------------------------------------------------------


CUT_OFF = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
HOLDING = """
import sys
sys.path.insert(0, "tests/training")
from test_study import study_at
with study_at(sys.argv[1]) as study:
    print(study.begin({}, 9).number, flush=True)
    sys.stdin.readline()
"""


def worker(address: str) -> subprocess.Popen[str]:
    """Another process, which has begun a trial."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDING, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip().isdigit()
    return child


def gone(child: subprocess.Popen[str]) -> None:
    child.kill()
    with child:
        child.wait()


def states_when(study: Study, wanted: list[str]) -> list[str]:
    """The server notices a dead client within moments."""
    for _ in range(100):
        study.begin({}, 0)
        states = [str(trial.state) for trial in study.tried()]
        if states == wanted:
            break
        time.sleep(0.1)
    return states


@pytest.mark.slow
def test_workers_share_a_study_and_only_the_trials_of_dead_ones_are_given_up(postgresql: str) -> None:
    with study_at(postgresql) as first, study_at(postgresql) as second:
        ours, theirs = first.begin({}, 5), second.begin({}, 5)
        assert ours is not None
        assert theirs is not None
        assert (ours.number, theirs.number) == (0, 1)
        assert ours.values != theirs.values  # of one seed, and yet no draw twice
        dying, living = worker(postgresql), worker(postgresql)
        try:
            gone(dying)
            wanted = ["running", "running", "repeated", "running", "waiting"]
            assert states_when(first, wanted) == wanted
            assert first.begun() == 3
            assert first.others_at_work()
            again = second.begin({}, 4)
            assert again is not None
            assert again.values == first.tried()[2].values
            assert first.begin({}, 4) is None  # the total is that of all workers
        finally:
            gone(living)


@pytest.mark.slow
def test_a_worker_that_was_cut_off_ends_no_trial_that_others_repeat(postgresql: str) -> None:
    import psycopg

    with study_at(postgresql) as cut_off:
        ask, another = cut_off.ask({}), cut_off.ask({})
        with psycopg.connect(postgresql, autocommit=True) as base:
            base.execute(CUT_OFF)
        with study_at(postgresql) as other:
            assert [trial.state for trial in other.tried()] == ["repeated", "repeated", "waiting", "waiting"]
            with pytest.raises(TrackingError, match="trial 0 was given up by another worker, because the connection"):
                cut_off.finish(ask.number, 1.0, {"run": "r"})
            finish(other, 2.0)
            cut_off.give_up(another.number, "the sweep was interrupted")  # says nothing of the lost connection
        assert [trial.state for trial in cut_off.tried()] == ["repeated", "repeated", "finished", "waiting"]


@pytest.mark.slow
def test_a_worker_that_keeps_its_turn_is_waited_for_and_then_named(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "lock_timeout", "100ms")
    with study_at(postgresql) as first, study_at(postgresql) as second, first._claim.turn():
        with pytest.raises(TrackingError, match="another worker of study s has not let go of it for 60 s; end it"):
            second.begin({}, 1)
        assert first.begin({}, 1) is not None  # a turn within a turn
    with study_at(postgresql) as study:
        assert [trial.state for trial in study.tried()] == ["repeated", "waiting"]


@pytest.mark.slow
def test_another_search_under_the_same_name_is_refused_on_a_server_too(postgresql: str) -> None:
    with study_at(postgresql), pytest.raises(TrackingError, match="study s was begun with other photos"):
        study_at(postgresql, conditions=CONDITIONS | {"photos": "xyz"}).__enter__()
