"""A server holds the runs of many writers, the first ones included; where none is there, the tests say so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carspotter.errors import TrackingError
from carspotter.tracking.address import read_address
from carspotter.tracking.first_use import KEY, first_use
from carspotter.tracking.runs import open_store
from carspotter.training.space import Axis, Space
from carspotter.training.study import open_study

WRITERS = Path(__file__).with_name("writers.py")
AT_ONCE = 4
A_SERVER_TEST = f"{Path(__file__).name}::test_a_database_is_empty_at_first"


def acknowledged(*words: str) -> list[str]:
    """What writers say, which must all have ended well."""
    done = subprocess.run(
        [sys.executable, str(WRITERS), *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(done.stdout.splitlines())


@pytest.mark.slow
def test_a_database_is_empty_at_first(postgresql: str) -> None:
    import psycopg

    with psycopg.connect(postgresql) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        encoding = connection.execute("SHOW server_encoding").fetchone()
    assert (tables, encoding) == ((0,), ("UTF8",))


@pytest.mark.slow
def test_many_writers_at_once_lose_nothing_in_postgresql(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the files of runs lie below it
    monkeypatch.setenv("CARSPOTTER_RUNS", postgresql)
    store = open_store()
    assert store.list() == ()  # makes the tables
    written = acknowledged("race", "3")
    assert len(set(written)) == 15
    runs = store.list()
    assert {run.id for run in runs} == set(written)
    assert {(run.status, len(run.history)) for run in runs} == {("finished", 3)}
    known = store._index.known()
    assert not any(one.is_open for one in known.values())
    assert all(store._index.steps(run.id, "train_loss") == {0, 1, 2} for run in runs)


@pytest.mark.slow
def test_the_first_writers_of_an_empty_database_may_come_at_the_same_moment(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARSPOTTER_RUNS", postgresql)
    runs = acknowledged("first", str(AT_ONCE))
    assert len(runs) == AT_ONCE
    assert sorted(run.id for run in open_store().list()) == runs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_the_first_studies_of_an_empty_database_may_begin_at_the_same_moment(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = f"sqlite:///{tmp_path / 'sweeps.db'}"
    monkeypatch.setenv("STUDIES", file if kind == "sqlite" else request.getfixturevalue(kind))
    assert acknowledged("studies", str(AT_ONCE)) == [f"s{number} finished" for number in range(AT_ONCE)]


@contextmanager
def making_tables(uri: str) -> Iterator[None]:
    """Another process is at it, for as long as one likes."""
    import psycopg

    with psycopg.connect(uri) as connection:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", KEY)
        yield


@pytest.mark.slow
def test_a_process_that_makes_tables_for_ever_is_waited_for_and_then_named(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with making_tables(postgresql), pytest.raises(TrackingError) as refused:
        open_store(postgresql, patience=0.1).list()
    said = str(refused.value)
    assert said.startswith("another process is still making the tables of run database postgresql://me:***@/test_")
    assert said.endswith(", after 0.1 s; wait for its end")
    assert "\n" not in said
    assert open_store(postgresql).list() == ()  # nobody holds it now
    with making_tables(postgresql):  # the tables are there, so nobody asks
        assert open_store(postgresql, patience=0.1).list() == ()


@pytest.mark.slow
def test_a_first_use_that_fails_lets_the_next_one_in(postgresql: str) -> None:
    from sqlalchemy import text

    address, look = read_address(postgresql, "run database", "runs.db", ""), text("SELECT 1 FROM made")
    for _ in range(2):
        with pytest.raises(KeyError), first_use(address, "run database", look, patience=10):
            raise KeyError


@pytest.mark.slow
@pytest.mark.parametrize("first", ["runs", "studies"])
def test_runs_and_studies_each_want_a_database(
    first: str, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = Space("s", "", "fast", (), (Axis("stage.0.lr", low=1e-4, high=1e-1, log=True),))

    def use(kind: str) -> None:
        if kind == "runs":
            open_store(postgresql).list()
        else:
            with open_study("s", space, {}, by="log_loss", seed=0, storage=postgresql):
                pass

    use(first)
    other = "studies" if first == "runs" else "runs"
    with pytest.raises(TrackingError, match=rf"holds {first} already; runs and studies each need") as refused:
        use(other)
    assert "me:" not in str(refused.value).replace("me:***@", "")
    use(first)


@pytest.mark.parametrize(("require", "code", "said"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
@pytest.mark.slow
def test_an_absent_server_skips_loudly_or_fails(require: str, code: int, said: str, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", A_SERVER_TEST],
        env=os.environ | {"CARSPOTTER_POSTGRES": absent, "CARSPOTTER_REQUIRE_SERVERS": require},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert f"no PostgreSQL server at {absent}; Debian: apt install postgresql" in done.stdout
