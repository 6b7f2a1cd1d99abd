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
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Machine
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
def test_the_first_run_settles_where_files_lie_and_looking_settles_nothing(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, dataset: Dataset, machine: Machine
) -> None:
    monkeypatch.setenv("CARSPOTTER_RUNS", postgresql)
    for place in ("reader", "writer", "later"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert open_store().home == tmp_path / ("writer" if place == "later" else place) / "runs" / "artifacts"
        if place == "writer":
            with open_store().start(recipe, dataset, machine) as run:
                run.finish()
        assert len(open_store().list()) == (place != "reader")
    assert [entry.name for entry in tmp_path.iterdir() if (entry / "runs").exists()] == ["writer"]


@pytest.mark.slow
def test_each_machine_may_name_where_it_has_the_files_of_a_server(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, dataset: Dataset, machine: Machine
) -> None:
    monkeypatch.setenv("CARSPOTTER_RUNS", postgresql)
    monkeypatch.setenv("CARSPOTTER_ARTIFACTS", str(tmp_path / "disk"))
    with open_store().start(recipe, dataset, machine) as run:
        run.finish()
    assert run.folder.is_relative_to(tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "mounted elsewhere")
    assert open_store().damaged()
    monkeypatch.setenv("CARSPOTTER_ARTIFACTS", str(tmp_path / "mounted elsewhere"))
    assert [found.id for found in open_store().list()] == [run.id]
    monkeypatch.delenv("CARSPOTTER_ARTIFACTS")
    assert open_store().home == tmp_path / "disk"


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


SPACE = Space("s", "", "fast", (), (Axis("stage.0.lr", low=1e-4, high=1e-1, log=True),))


def use(kind: str, address: str) -> None:
    if kind == "runs":
        open_store(address).list()
        return
    with open_study("s", SPACE, {}, by="log_loss", seed=0, storage=address) as study:
        study.finish(study.ask({}).number, 1.0, {})


def ask(address: str, query: str) -> list[tuple[object, ...]]:
    import psycopg

    with psycopg.connect(address) as connection:
        cursor = connection.execute(query.encode())
        return [] if cursor.description is None else cursor.fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["runs", "studies"])
def test_runs_and_studies_live_in_one_database(
    first: str, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both libraries note their version in a table of one name, so each has a schema of its own."""
    monkeypatch.chdir(tmp_path)
    kinds = ("runs", "studies") if first == "runs" else ("studies", "runs")
    for kind in kinds * 2:
        use(kind, postgresql)
    tables = ask(postgresql, "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('experiments', 'trials')")
    assert sorted(tables) == [("carspotter_studies", "trials"), ("public", "experiments")]
    assert ask(postgresql, "SELECT count(*) FROM carspotter_studies.trials") == [(2,)]


@pytest.mark.slow
def test_studies_from_before_there_was_a_schema_go_on_where_they_are(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    monkeypatch.chdir(tmp_path)
    optuna.storages.RDBStorage(postgresql.replace("postgresql://", "postgresql+psycopg://")).engine.dispose()
    use("studies", postgresql)
    assert ask(postgresql, "SELECT count(*) FROM public.trials") == [(1,)]
    with pytest.raises(TrackingError, match=r"holds studies already, where only one .* has room; name another") as told:
        use("runs", postgresql)
    assert "me:" not in str(told.value).replace("me:***@", "")
    use("studies", postgresql)


@pytest.mark.slow
def test_a_role_that_may_not_make_schemas_uses_one_that_is_there(postgresql: str) -> None:
    ask(postgresql, "CREATE ROLE sweeper LOGIN")
    sweeper = postgresql.replace("me:s3cret@", "sweeper:s3cret@")
    try:
        with pytest.raises(TrackingError, match="refused: permission denied for database") as told:
            use("studies", sweeper)
        assert "s3cret" not in str(told.value)
        ask(postgresql, "CREATE SCHEMA carspotter_studies AUTHORIZATION sweeper")
        use("studies", sweeper)
        assert ask(postgresql, "SELECT count(*) FROM carspotter_studies.trials") == [(1,)]
    finally:
        ask(postgresql, "DROP OWNED BY sweeper CASCADE; DROP ROLE sweeper")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("7ac759974ad8", r"has tables of another MLflow version; install that version, or see `mlflow db upgrade"),
        ("0123456789ab", r"was written by a newer MLflow; upgrade with: pip install -U 'carspotter\[train\]'"),
    ],
)
def test_runs_of_another_mlflow_are_refused_as_they_are(
    revision: str, said: str, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would bring an older database to its own version without a word."""
    monkeypatch.chdir(tmp_path)
    use("runs", postgresql)
    ask(postgresql, f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608
    ask(postgresql, "DROP TABLE logged_models CASCADE")  # whatever is missing, MLflow would make it
    with pytest.raises(TrackingError, match=rf"^run database postgresql://me:\*\*\*@/test_\S+ {said}") as told:
        use("runs", postgresql)
    assert "\n" not in str(told.value)
    assert ask(postgresql, "SELECT version_num FROM alembic_version") == [(revision,)]
    assert ask(postgresql, "SELECT to_regclass('logged_models')") == [(None,)]


@pytest.mark.slow
def test_studies_of_another_optuna_are_refused(postgresql: str) -> None:
    use("studies", postgresql)
    ask(postgresql, "UPDATE carspotter_studies.alembic_version SET version_num = 'v2.4.0.a'")
    with pytest.raises(TrackingError, match=r"has tables of another Optuna version; install that version, or"):
        use("studies", postgresql)


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
