"""Optuna's tables: where they are, how they are made, and one clear line for what is wrong with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from carspotter.data.address import SQLITE, about_password, hide_secrets
from carspotter.errors import MissingExtra, TrackingError
from carspotter.tracking.address import Address, read_address
from carspotter.tracking.first_use import RUNS, STUDIES, connect, first_use
from carspotter.tracking.runs import DEFAULT_URI

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

Measure = Literal["log_loss", "accuracy"]
FILE = "sweeps.db"
PATIENCE = 20.0
"""Seconds to wait for another program that holds the SQLite file or makes the tables; as the run store does."""
SCHEMA = "carspotter_studies"
"""Where studies lie in a PostgreSQL database. MLflow and Optuna note the version of their tables under one name,
`alembic_version`; so that one database can hold both, runs stay in the default schema and studies have their own."""
STARTUP = 5
"""Trials that end before any is pruned; Optuna's default."""
PEERS = 3
"""Trials that must have come as far, before one is judged by their median (assumption)."""


def default_storage() -> str:
    """`sweeps.db` beside the run store."""
    runs = os.environ.get("CARSPOTTER_RUNS") or DEFAULT_URI
    file = read_address(runs, "run database", "runs.db", "CARSPOTTER_RUNS").file
    folder = Path("runs").absolute() if file is None else file.parent
    return f"{SQLITE}{folder / FILE}"


def check_storage(address: str) -> Address:
    """The address of a study database.

    Raises:
        TrackingError: it is of another kind.
    """
    return read_address(address, "study database", FILE, "--storage")


@contextmanager
def loaded(address: Address, name: str, by: Measure) -> Iterator[optuna.Study]:
    """Optuna's own view of a study, which is made where it is not there.

    Raises:
        TrackingError: another process kept making the tables, or they are of another Optuna.
        sqlalchemy.exc.SQLAlchemyError: the database does not answer, or refuses.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its greetings are not ours
    storage = _in_file(address) if address.file else _on_server(address)
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if by == "log_loss" else "maximize",
            # The median stopping rule of Golovin et al. 2017 (Google Vizier): it needs no budget of its own.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_min_trials=PEERS),
            load_if_exists=True,
        )
    finally:
        storage.engine.dispose()


@contextmanager
def clear(address: Address) -> Iterator[None]:
    """One clear line instead of what Optuna, SQLAlchemy and the database say."""
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError:
        raise MissingExtra("searching settings", "train") from None
    address.need_driver()
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as fault:
        if instead := about_password(str(fault)):
            raise TrackingError(f"study database {address} {instead}") from None
        first = hide_secrets(next(iter(str(fault.__cause__ or fault).strip().splitlines()), type(fault).__name__))
        raise TrackingError(
            f"study database {address} refused: {first}; check it, or name another with --storage"
        ) from None


def _in_file(address: Address) -> optuna.storages.RDBStorage:
    with first_use(address, "study database", _look(""), patience=PATIENCE, foreign=RUNS):
        return _tables(address, {"connect_args": {"timeout": PATIENCE}})


def _on_server(address: Address) -> optuna.storages.RDBStorage:
    schema = _schema(address)
    with first_use(address, "study database", _look(schema), patience=PATIENCE) as made:
        if schema and not made:
            _make_schema(address)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if schema:
            options["connect_args"] = {"options": _search_path(address)}
        return _tables(address, options)


def _schema(address: Address) -> str:
    """Ours; none where studies lie in the default schema already, from before there was one."""
    from sqlalchemy import text

    look = text("SELECT to_regclass(:ours) IS NULL AND to_regclass(:theirs) IS NOT NULL")
    with closing(connect(address.uri, PATIENCE)) as connection:
        old = connection.scalar(look.bindparams(ours=f"{SCHEMA}.{STUDIES}", theirs=STUDIES))
    return "" if old else SCHEMA


def _make_schema(address: Address) -> None:
    """Asked first: a role that may not make schemas may use one that is there."""
    from sqlalchemy import text

    with closing(connect(address.uri, PATIENCE)) as connection:
        if connection.scalar(text("SELECT to_regnamespace(:name) IS NULL").bindparams(name=SCHEMA)):
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))


def _search_path(address: Address) -> str:
    """Options of a session that finds our tables; those that the address gives stay."""
    import sqlalchemy

    given = sqlalchemy.make_url(address.uri).query.get("options", ())
    return " ".join([*((given,) if isinstance(given, str) else given), f"-csearch_path={SCHEMA}"])


def _look(schema: str) -> sqlalchemy.Executable:
    """Has a row once Optuna is done with a new database: its last step is to note the version of the tables."""
    from sqlalchemy import text

    place = f"{schema}." if schema else ""
    return text(f"SELECT 1 FROM {place}alembic_version WHERE EXISTS (SELECT 1 FROM {place}version_info)")  # noqa: S608


def _tables(address: Address, options: dict[str, Any]) -> optuna.storages.RDBStorage:
    import optuna

    with _logging_let_alone():
        # Its own check of the version leaves connections open when it refuses.
        storage = optuna.storages.RDBStorage(address.uri, engine_kwargs=options, skip_compatibility_check=True)
    if storage.get_current_version() != storage.get_head_version():
        storage.engine.dispose()
        raise TrackingError(
            f"study database {address} has tables of another Optuna version; install that version, or bring them "
            "to this one with `optuna storage upgrade` after a backup"
        )
    return storage


@contextmanager
def _logging_let_alone() -> Iterator[None]:
    """Optuna's tables come with logging for the whole program where it has none; warnings of ours would fall silent."""
    some, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(some)
    try:
        yield
    finally:
        root.removeHandler(some)
