"""What is needed of a database, whichever it is: the seam before SQLite, PostgreSQL and DuckDB (`clients.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from carspotter.data.address import HIDDEN, about_password, hide_secrets
from carspotter.data.wording import SHOWN_OF_FAULT, visible
from carspotter.errors import SourceError

TYPES: Mapping[type, str] = {str: "TEXT", float: "DOUBLE PRECISION", int: "BIGINT"}
"""Of a new table's columns; the three databases know all of these names."""
Row = Sequence[str | int | float | None]


@dataclass(frozen=True, slots=True)
class Upsert:
    """Rows that are inserted, or take the place of those with their key.

    Attributes:
        table: schema, if any, and name.
        key: the column that tells rows apart.
        columns: of every row, the key among them.
    """

    table: tuple[str, ...]
    key: str
    columns: tuple[str, ...]

    def statement(self, source: str) -> str:
        """As SQL.

        Args:
            source: of the rows: `VALUES (…)` or a SELECT.
        """
        others = [quoted(column) for column in self.columns if column != self.key]
        update = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}" if others else "NOTHING"
        return f"INSERT INTO {self.name} ({self.names}) {source} ON CONFLICT ({quoted(self.key)}) DO {update}"

    def kept(self, mark: str, rows: int) -> str:
        """As SQL: the keys of so many rows, as the table has them, as texts.

        Args:
            mark: the place of a value.
            rows: how many.
        """
        key = quoted(self.key)
        return f"SELECT CAST({key} AS TEXT) FROM {self.name} WHERE {key} IN ({', '.join([mark] * rows)})"

    def keys(self, rows: Sequence[Row]) -> list[str | int | float | None]:
        """Of rows."""
        at = self.columns.index(self.key)
        return [row[at] for row in rows]

    @property
    def name(self) -> str:
        """The table as SQL names it."""
        return ".".join(quoted(part) for part in self.table)

    @property
    def names(self) -> str:
        """The columns as SQL names them."""
        return ", ".join(quoted(column) for column in self.columns)

    def marks(self, mark: str) -> str:
        """Places for the values of one row."""
        return f"VALUES ({', '.join([mark] * len(self.columns))})"


def quoted(name: str) -> str:
    """A name as an SQL identifier, whatever is in it (ISO 9075-2, delimited identifier)."""
    return '"' + name.replace('"', '""') + '"'


class Engine(Protocol):
    """One database. As text: its address without secrets.

    Attributes:
        file: where it is, absolute; None for a server.
        begin: the statement that begins a transaction for writing.
        turn: the statement that lets several processes make one table at the same moment, or nothing.
        secrets: texts that no message may hold.
        numbers: the client's name of a column's type → the kind of its cells; what is not here is text.
    """

    file: Path | None
    begin: str
    turn: str
    secrets: frozenset[str]
    numbers: Mapping[str, type]

    @property
    def faults(self) -> type[Exception]:
        """What its client raises.

        Raises:
            MissingExtra: the client is not installed.
        """

    def connect(self, *, read_only: bool) -> Any:
        """A connection of DB-API 2.0; to write, each statement stands by itself until `begin`."""

    def select(self, connection: Any, query: str) -> Any:
        """A cursor over the rows of a query, which are fetched piece by piece."""

    def insert(self, connection: Any, what: Upsert, rows: Sequence[Row]) -> set[str]:
        """Write rows, values bound; the keys under which they are now there, as texts."""


@contextmanager
def opened(engine: Engine, *, read_only: bool) -> Iterator[Any]:
    """A connection that is closed in any case."""
    cure = "the address, the rights, and that the server is up" if engine.file is None else "the path and the rights"
    with clear(engine, "cannot be opened", f"check {cure}"):
        try:
            connection = engine.connect(read_only=read_only)
        except engine.faults as fault:
            if instead := about_password(str(fault)):
                raise SourceError(f"{engine} {instead}") from None
            raise
    with closing(connection):
        yield connection


@contextmanager
def transaction(engine: Engine, connection: Any) -> Iterator[None]:
    """All or nothing; a process that dies inside leaves nothing."""
    connection.execute(engine.begin)
    try:
        yield
    except BaseException:
        with suppress(engine.faults):  # the connection may be what failed
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def clear(engine: Engine, what: str, cure: str) -> Iterator[None]:
    """One clear line instead of a library's exception."""
    try:
        yield
    except engine.faults as fault:
        raise SourceError(f"{engine} {what}: {said(engine, fault)}; {cure}") from None


def said(engine: Engine, fault: Exception) -> str:
    """The first line of the database's own words, without secrets and control characters."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    told = hide_secrets(lines[0] if lines else type(fault).__name__)
    for secret in engine.secrets:
        told = told.replace(secret, HIDDEN)
    told = visible(told)
    return told if len(told) <= SHOWN_OF_FAULT else told[: SHOWN_OF_FAULT - 1] + "…"
