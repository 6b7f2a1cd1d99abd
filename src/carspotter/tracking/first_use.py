"""Whoever finds a database empty makes its tables alone; others wait for that.

Neither MLflow nor Optuna takes turns. PostgreSQL refuses all but one of those that make one table at the same moment,
`IF NOT EXISTS` or not: `duplicate key … pg_type_typname_nsp_index`. SQLite says that the table already exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from carspotter.errors import TrackingError
from carspotter.tracking.address import Address
from carspotter.tracking.lock import Lock

if TYPE_CHECKING:
    import sqlalchemy

_DIGEST = hashlib.sha256(b"carspotter").digest()
KEY = tuple(int.from_bytes(_DIGEST[start : start + 4], "big", signed=True) for start in (0, 4))
"""Of the lock in a PostgreSQL database. PostgreSQL keeps pairs apart from single numbers, which `claim.py` takes."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code for a wait that was longer than its `lock_timeout`."""


RUNS, STUDIES = "experiments", "studies"
"""A table of MLflow, and one of Optuna. Both note the version of their tables under one name, so each wants a file or a
schema of its own."""


@contextmanager
def first_use(
    address: Address, kind: str, look: sqlalchemy.Executable, *, patience: float, foreign: str = ""
) -> Iterator[bool]:
    """Nobody else makes tables in the database meanwhile.

    A server whose tables are there is asked `look` once, and nothing is locked. The lock ends with this process,
    however that ends.

    Args:
        address: of the database; a file beside an SQLite one bears the lock, else the server does.
        kind: of database, for the refusal.
        look: a query that has a row once everything is made, the last thing included.
        patience: seconds to wait for the connection, where the address itself sets no `connect_timeout`, and for
            another process that makes the tables.
        foreign: a table that only another kind of database has.

    Yields:
        Whether the tables are there, as far as is known: a file is not asked.

    Raises:
        TrackingError: another process kept the lock, or the database is of another kind.
        sqlalchemy.exc.SQLAlchemyError: the server does not answer, or refuses.
    """
    if address.file:
        with Lock(address.file.with_name(f"{address.file.name}.lock"), patience):
            yield False
        return
    with closing(connect(address.uri, patience)) as connection:
        if not _is_made(connection, look):
            _refuse_foreign(connection, foreign, f"{kind} {address}")
            _take_turn(connection, f"{kind} {address}", patience)
            if not _is_made(connection, look):  # still, now that nobody else is making it
                yield False
                return
    yield True


def connect(uri: str, patience: float) -> sqlalchemy.Connection:
    """A connection to a server, for single statements.

    Args:
        uri: as SQLAlchemy takes it.
        patience: seconds to wait for it, where the address itself sets no `connect_timeout`.
    """
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    wait = {} if "connect_timeout" in url.query else {"connect_timeout": max(1, round(patience))}
    # Every statement by itself: a transaction left open would keep what it has read from being altered. And no pool:
    # to close the connection is to end the session, and its lock.
    engine = sqlalchemy.create_engine(
        url, connect_args=wait, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
    )
    return engine.connect()


def _is_made(connection: sqlalchemy.Connection, look: sqlalchemy.Executable) -> bool:
    from sqlalchemy.exc import ProgrammingError

    try:
        return connection.execute(look).first() is not None
    except ProgrammingError:  # there is no such table
        return False


def _refuse_foreign(connection: sqlalchemy.Connection, table: str, place: str) -> None:
    from sqlalchemy import inspect

    if table and inspect(connection).has_table(table):
        held = "runs" if table == RUNS else "studies"
        raise TrackingError(
            f"{place} holds {held} already, where only one of runs and studies has room; name another database"
        )


def _take_turn(connection: sqlalchemy.Connection, place: str, patience: float) -> None:
    from sqlalchemy import func, select

    milliseconds = max(1, round(patience * 1000))  # 0 would be for ever
    connection.execute(select(func.set_config("lock_timeout", f"{milliseconds}ms", False)))
    late = f"another process is still making the tables of {place}, after {patience:g} s; wait for its end"
    take_lock(connection, *KEY, late=late)


def take_lock(connection: sqlalchemy.Connection, *key: int, late: str) -> None:
    """Hold an advisory lock of a PostgreSQL server, as long as the connection or until it is given back.

    Args:
        connection: for single statements; its `lock_timeout` says how long to wait.
        key: one number of 64 bits, or two of 32.
        late: what is said where another connection has kept it for that long.

    Raises:
        TrackingError: `late`.
    """
    from sqlalchemy import func, select
    from sqlalchemy.exc import OperationalError

    try:
        connection.execute(select(func.pg_advisory_lock(*key)))
    except OperationalError as fault:
        if getattr(fault.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise TrackingError(late) from None
