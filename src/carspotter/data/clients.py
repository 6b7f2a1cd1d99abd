"""SQLite, PostgreSQL and DuckDB as `engine.py` wants them.

Their own clients are used, without SQLAlchemy: the user's query then reaches the database to the letter (SQLAlchemy
takes `:name` in it for a parameter of its own), and SQLite needs nothing beside Python. What they have in common is
DB-API 2.0 (PEP 249), `INSERT … ON CONFLICT`, and the names of three types.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from carspotter.data.address import DRIVER, DUCKDB, PARTS, POSTGRES, SQLITE, is_plain, shown, write_plainly
from carspotter.data.engine import Engine, Row, Upsert
from carspotter.errors import MissingExtra, SourceError

PATIENCE = 20
"""Seconds to wait for a server to answer, or for another program's lock; as the run store does."""
KINDS = f"{POSTGRES}USER@HOST/NAME, {SQLITE}PATH or {DUCKDB}PATH"


def find_engine(url: str) -> Engine:
    """The database at an address.

    Raises:
        SourceError: of another kind, or it can be read in several ways.
    """
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        return Sqlite(_file(url, SQLITE))
    if url.startswith(DUCKDB) and len(url) > len(DUCKDB):
        return Duckdb(_file(url, DUCKDB))
    if url.startswith((POSTGRES, DRIVER)):
        if not is_plain(url):
            raise SourceError(write_plainly(url))
        return Postgres(POSTGRES + url.partition("://")[2])
    raise SourceError(f"{shown(url)!r} is no database that can be read; expected {KINDS}")


def _file(url: str, kind: str) -> Path:
    return Path(url.removeprefix(kind)).absolute()


class Sqlite:
    """A file of SQLite, whose client comes with Python."""

    begin = "BEGIN IMMEDIATE"  # a lock that comes later, in the midst of a transaction, would not be waited for
    turn = ""  # that lock is one
    secrets: frozenset[str] = frozenset()
    faults: type[Exception] = sqlite3.Error
    numbers: Mapping[str, type] = {}  # a query's columns have no types: each cell is of its own

    def __init__(self, file: Path) -> None:
        self.file: Path | None = file
        self._path = file

    def __str__(self) -> str:
        return f"{SQLITE}{self._path}"

    def connect(self, *, read_only: bool) -> sqlite3.Connection:
        """See `Engine`; a file that is not there is made only to write."""
        # Not mode=ro: what a killed writer left half-written is rolled back by whoever opens the file next.
        mode = "rw" if read_only else "rwc"
        uri = f"{self._path.as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
        connection.text_factory = _decoded
        try:
            connection.execute(f"PRAGMA query_only = {int(read_only)}")
            connection.execute("PRAGMA schema_version").fetchone()  # the first look into the file
            connection.set_authorizer(_reading if read_only else None)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def select(self, connection: sqlite3.Connection, query: str) -> sqlite3.Cursor:
        """See `Engine`."""
        return connection.execute(query)

    def insert(self, connection: sqlite3.Connection, what: Upsert, rows: Sequence[Row]) -> set[str]:
        """See `Engine`."""
        connection.executemany(what.statement(what.marks("?")), rows)
        return _firsts(connection.execute(what.kept("?", len(rows)), what.keys(rows)))


def _reading(action: int, _: str | None, setting: str | None, *__: str | None) -> int:
    """`query_only` lets a query attach another file, which makes it, and set what it likes, `query_only` included."""
    sets = action == sqlite3.SQLITE_PRAGMA and setting is not None
    return sqlite3.SQLITE_DENY if sets or action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _decoded(data: bytes) -> str:
    """SQLite does not check what programs write as text."""
    return data.decode(errors="backslashreplace")


class Postgres:
    """A PostgreSQL server, through psycopg."""

    file: Path | None = None
    begin = "BEGIN"
    defaults: Mapping[str, object] = {
        "connect_timeout": PATIENCE,
        # A server that is gone without a word is noticed within a minute; the system would wait two hours.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "fallback_application_name": "carspotter",
        # Else a database that does not know its own encoding (SQL_ASCII) hands out bytes.
        "client_encoding": "utf8",
    }
    """Settings of libpq, where the address names none."""
    # By the numbers of types in pg_type.dat: int8, int2, int4; float4, float8, numeric.
    numbers: Mapping[str, type] = dict.fromkeys(("20", "21", "23"), int) | dict.fromkeys(("700", "701", "1700"), float)
    turn = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'carspot', 'big')})"  # `IF NOT EXISTS` takes no turns

    def __init__(self, url: str) -> None:
        self._url = url
        self.secrets = _secrets(url)

    def __str__(self) -> str:
        return shown(self._url)

    @property
    def faults(self) -> type[Exception]:
        """See `Engine`."""
        fault: type[Exception] = _client("psycopg", "a PostgreSQL database").Error
        return fault

    def connect(self, *, read_only: bool) -> Any:
        """See `Engine`."""
        psycopg = _client("psycopg", "a PostgreSQL database")
        given = import_module("psycopg.conninfo").conninfo_to_dict(self._url)
        connection = psycopg.connect(**{**self.defaults, **given})
        try:
            self._prepare(psycopg, connection, read_only)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _prepare(self, psycopg: Any, connection: Any, read_only: bool) -> None:
        if read_only:
            # One snapshot for everything that is asked, however long that takes.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            # Between two pieces the model is at work, which a server may take for a client that forgot to end.
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        else:
            connection.autocommit = True
        connection.execute(f"SET lock_timeout = '{PATIENCE}s'")

    def select(self, connection: Any, query: str) -> Any:
        """See `Engine`."""
        # A name makes it the server's own: rows stay there until fetched, and it takes one statement, which cannot end
        # the transaction.
        cursor = connection.cursor(name="carspotter")
        try:
            cursor.execute(query.encode())
        except self.faults:
            cursor.close()
            raise
        return cursor

    def insert(self, connection: Any, what: Upsert, rows: Sequence[Row]) -> set[str]:
        """See `Engine`."""
        # psycopg takes a lone per cent sign in a name for the place of a value.
        twice = [tuple(name.replace("%", "%%") for name in names) for names in (what.table, (what.key,), what.columns)]
        escaped = Upsert(twice[0], twice[1][0], twice[2])
        with connection.cursor() as cursor:
            cursor.executemany(escaped.statement(escaped.marks("%s")).encode(), rows)
            return _firsts(cursor.execute(escaped.kept("%s", len(rows)).encode(), what.keys(rows)))


class Duckdb:
    """A file of DuckDB, which one process alone may have open to write."""

    begin = "BEGIN"
    turn = ""
    secrets: frozenset[str] = frozenset()
    # UBIGINT and HUGEINT hold more than the BIGINT of a table that we make.
    numbers: Mapping[str, type] = {
        **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), int),
        **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL"), float),
    }

    def __init__(self, file: Path) -> None:
        self.file: Path | None = file
        self._path = file

    def __str__(self) -> str:
        return f"{DUCKDB}{self._path}"

    @property
    def faults(self) -> type[Exception]:
        """See `Engine`."""
        fault: type[Exception] = _client("duckdb", "a DuckDB database").Error
        return fault

    def connect(self, *, read_only: bool) -> Any:
        """See `Engine`."""
        # Else a query may write any file, change another database, or name a web address, for which a part of DuckDB is
        # downloaded and run. No statement turns it on again.
        settings = {"enable_external_access": "false"}
        return _client("duckdb", "a DuckDB database").connect(str(self._path), read_only=read_only, config=settings)

    def select(self, connection: Any, query: str) -> Any:
        """See `Engine`."""
        return connection.cursor().execute(query)  # the connection's own rows end with the connection

    def insert(self, connection: Any, what: Upsert, rows: Sequence[Row]) -> set[str]:
        """See `Engine`."""
        # As an Arrow table: DuckDB binds single values at some 1 ms a row.
        import pyarrow

        columns = [pyarrow.array([row[at] for row in rows]) for at in range(len(what.columns))]
        connection.register("carspotter_rows", pyarrow.table(columns, names=[f"c{at}" for at in range(len(columns))]))
        try:
            connection.execute(what.statement("SELECT * FROM carspotter_rows"))
            return _firsts(connection.execute(what.kept("?", len(rows)), what.keys(rows)))
        finally:
            with suppress(self.faults):
                connection.unregister("carspotter_rows")


def _firsts(cursor: Any) -> set[str]:
    return {row[0] for row in cursor.fetchall()}


def _client(module: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(what, "sql") from None


def _secrets(url: str) -> frozenset[str]:
    """Passwords in an address, as written and as meant."""
    found = PARTS.fullmatch(url)
    if found is None:
        return frozenset()
    given = parse_qs((found["query"] or "").removeprefix("?"))
    written = [(found["password"] or "").removeprefix(":")]
    written += [value for key, values in given.items() if "password" in key.casefold() for value in values]
    return frozenset(text for part in written for text in (part, unquote(part)) if text)
