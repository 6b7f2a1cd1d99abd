"""Tables of databases: the rows of a query piece by piece, and rows written back, one transaction per piece.

    for chunk in rows("postgresql://me@host/ads", "SELECT id, model, photos FROM listings"): ...
    with upsert("postgresql://me@host/ads#checked", key="id", columns={"id": str, "suspicion": float}) as writer:
        writer.write(...)

Memory is bounded by the piece, however long the table. A run that dies leaves whole pieces; running it again ends in
the same table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from carspotter.data.address import SQLITE, shown
from carspotter.data.clients import find_engine
from carspotter.data.engine import TYPES, Engine, Row, Upsert, clear, opened, quoted, transaction
from carspotter.data.table import Cell, Table, storable
from carspotter.data.wording import brief, count, some
from carspotter.data.workbook import MAX_COLUMNS, cell_text
from carspotter.errors import SourceError

CHUNK = 500
"""Rows that are read, and later written, at once. Assumption: a few photos each keep two cores busy for a minute or
more, beside which a transaction is nothing; and no more than that is done anew after a kill."""
ODD_KEYS = 4
"""Keys asked for that are not one row's own: more than a message shows."""
KEY_CURE = "name the column that tells rows apart with --key-column"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A table of a database. As text: without secrets.

    Attributes:
        url: of the database.
        table: schema, if named, and name.
    """

    url: str
    table: tuple[str, ...]

    def __str__(self) -> str:
        return f"{shown(self.url)}#{'.'.join(self.table)}"

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"


def is_database(place: str) -> bool:
    """Whether a place is an address rather than a file."""
    return _SCHEME.match(place) is not None


def read_target(text: str) -> Target:
    """A table as users write it: `postgresql://…#TABLE`, `…#SCHEMA.TABLE`.

    Raises:
        SourceError: no table is named, or its database is none.
    """
    url, mark, name = text.rpartition("#")
    if not mark:
        raise SourceError(f"{find_engine(text)} names no table; write {SQLITE}PATH#TABLE or the like")
    engine, parts = find_engine(url), tuple(name.split("."))
    if not 1 <= len(parts) <= 2 or not all(part.strip() and part.isprintable() for part in parts):
        raise SourceError(f"{engine}: '{brief(name)}' is no name of a table; expected TABLE or SCHEMA.TABLE")
    return Target(url, parts)


def in_one_file(url: str, target: Target) -> bool:
    """Whether both are one file: who reads it piece by piece keeps others from writing."""
    file = find_engine(url).file
    return file is not None and file == find_engine(target.url).file


# ---- in -------------------------------------------------------------------------------------------------------------


def rows(
    url: str, query: str, columns: Sequence[str] | None = None, *, key: str | None = None, chunk: int = CHUNK
) -> Generator[Table]:
    """The rows of a query, piece by piece; the connection ends with the iteration.

    Cells are text as in a table that is read; NULL is empty. The transaction can only read. Rows are numbered from 1.

    Args:
        url: of the database.
        query: one that gives rows.
        columns: those that are wanted, in this order; None: all, in the query's.
        key: a column whose cells must tell rows apart; the database is asked before the first piece.
        chunk: rows of a piece, the last one excepted.

    Yields:
        At least one piece, so that the columns are known; it is empty where there are no rows.

    Raises:
        SourceError: the database, the query or a column cannot be used.
        MissingExtra: the database's client is not installed.
    """
    engine = find_engine(url)
    _check_query(query)
    with opened(engine, read_only=True) as connection, clear(engine, "refused the query", "check --query"):
        if key is not None:
            _check_keys(engine, connection, query, key)
        with closing(engine.select(connection, query)) as cursor:
            names = _names(engine, cursor)
            wanted = _positions(engine, names, columns)
            yield from _pieces(engine, cursor, names, wanted, chunk)


def read_query(url: str, query: str, *, key: str | None = None, max_rows: int) -> Table:
    """All rows of a query at once.

    Raises:
        SourceError: as `rows`, or there are more than `max_rows`.
    """
    read: list[tuple[str, ...]] = []
    with closing(rows(url, query, key=key)) as pieces:
        for piece in pieces:
            read += piece.rows
            if len(read) > max_rows:
                raise SourceError(
                    f"{piece.path} gives more than {max_rows:,} rows; narrow --query, or write to a table, "
                    "-o URL#TABLE, which takes any number"
                )
    return replace(piece, rows=tuple(read), lines=tuple(range(1, len(read) + 1)))


def _check_query(query: str) -> None:
    try:
        query.encode()
    except UnicodeEncodeError:
        raise SourceError("the query holds bytes that are no UTF-8; write it anew") from None
    if not query.strip(" \t\r\n;"):
        raise SourceError("the query is empty; give one with --query 'SELECT …'")


def _check_keys(engine: Engine, connection: Any, query: str, key: str) -> None:
    """Rows with one key would become one row."""
    inner = query.rstrip(" \t\r\n;")
    with closing(engine.select(connection, f"SELECT * FROM (\n{inner}\n) AS q LIMIT 0")) as cursor:
        names = [column[0] for column in cursor.description]
    if key not in names:
        raise SourceError(f"{engine}: the query gives no column '{brief(key)}' but {some(names, 10)}; {KEY_CURE}")
    keys = f"SELECT CAST(q.{quoted(key)} AS TEXT) AS k FROM (\n{inner}\n) AS q"
    odd = (
        f"SELECT k, count(*) FROM ({keys}) AS t GROUP BY k HAVING count(*) > 1 OR k IS NULL OR k = '' LIMIT {ODD_KEYS}"
    )
    with closing(engine.select(connection, odd)) as cursor:
        found = cursor.fetchall()
    if found:
        raise SourceError(f"{engine}: {_odd([(name or '', times) for name, times in found], key)}")


def _odd(keys: Sequence[tuple[str, int]], key: str) -> str:
    told = some([f"'{brief(name)}' in {count(times, 'row')}" if name else "an empty one" for name, times in keys])
    return f"{brief(key)} does not tell the rows apart ({told}); {KEY_CURE}"


def _names(engine: Engine, cursor: Any) -> tuple[str, ...]:
    if cursor.description is None:
        raise SourceError(f"{engine}: the query gives no rows; expected a SELECT")
    names = tuple(str(column[0]) for column in cursor.description)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise SourceError(f"{engine}: the query gives {some(twice)} more than once; name columns apart with AS")
    if len(names) > MAX_COLUMNS:
        raise SourceError(f"{engine}: the query gives {len(names):,} columns; expected at most {MAX_COLUMNS:,}")
    return names


def _positions(engine: Engine, names: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    if missing := [name for name in wanted if name not in names]:
        raise SourceError(f"{engine}: the query gives no column {some(missing)}; it gives {some(names, 10)}")
    return [names.index(name) for name in wanted]


def _pieces(engine: Engine, cursor: Any, names: Sequence[str], wanted: Sequence[int], chunk: int) -> Iterator[Table]:
    columns, start = tuple(names[at] for at in wanted), 1
    types = [str(cursor.description[at][1]).partition("(")[0] for at in wanted]  # DECIMAL(10,2)
    kinds = tuple(engine.numbers.get(name, str) for name in types)
    while True:
        fetched = cursor.fetchmany(chunk)
        if not fetched and start > 1:
            return
        cells = tuple(tuple(_text(engine, names[at], row[at]) for at in wanted) for row in fetched)
        yield Table(str(engine), columns, cells, tuple(range(start, start + len(cells))), kinds=kinds)
        start += len(cells)
        if len(fetched) < chunk:
            return


def _text(engine: Engine, column: str, value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview | list | tuple | dict | set):
        raise SourceError(
            f"{engine}: the column {brief(column)} holds neither text nor numbers ({type(value).__name__}); leave it "
            "out of the query, or make it a text there"
        )
    return cell_text(value)


# ---- out ------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes rows into one table; see `upsert`.

    Attributes:
        written: rows that are safely there.
    """

    def __init__(self, engine: Engine, connection: Any, what: Upsert) -> None:
        self.written = 0
        self._engine = engine
        self._connection = connection
        self._what = what

    def write(self, rows: Sequence[Sequence[Cell]]) -> None:
        """All of the rows, or none of them.

        Args:
            rows: each as long as the columns; a row whose key is there takes that row's place.

        Raises:
            SourceError: the database refuses them, or two have one key.
        """
        clean = [[_bindable(cell) for cell in row] for row in rows]
        check_keys(self._what.keys(clean), self._what.key)
        # In one order everywhere: two programs that write the same rows would else wait for one another.
        clean.sort(key=lambda row: str(self._what.keys([row])[0]))
        with clear(self._engine, "refused the rows", f"{count(self.written, 'row')} written before stay"):
            self._write(clean)
        self.written += len(clean)

    def _write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        with transaction(self._engine, self._connection):
            for start in range(0, len(rows), CHUNK):
                piece = rows[start : start + CHUNK]
                kept = self._engine.insert(self._connection, self._what, piece)
                self._check_kept(kept, self._what.keys(piece))

    def _check_kept(self, kept: Collection[str], keys: Sequence[Cell]) -> None:
        """Every key must be in the table to the letter: where 007 becomes 7, or A is a, two rows become one."""
        if changed := [brief(str(key)) for key in keys if str(key) not in kept]:
            raise SourceError(
                f"{self._engine}: the column {brief(self._what.key)} of {brief('.'.join(self._what.table))} does not "
                f"keep {some(changed)} as written, so that two rows may become one; make it a text that tells every "
                "letter apart"
            )


@contextmanager
def upsert(target: Target, key: str, columns: Mapping[str, type]) -> Iterator[Writer]:
    """A writer into a table, which is made where it is not there.

    A table that is there keeps its columns, those that are not ours too; the key must be unique in it.

    Args:
        target: the table.
        key: the column that tells rows apart, one of `columns`.
        columns: names and kinds of cells: `str`, `float` or `int`.

    Raises:
        SourceError: the database cannot be used, or the table has other columns; before anything is written.
        MissingExtra: the database's client is not installed.
    """
    if key not in columns:
        raise SourceError(f"{target}: there is no column '{brief(key)}' among {some(list(columns), 10)}; {KEY_CURE}")
    engine, what = find_engine(target.url), Upsert(target.table, key, tuple(columns))
    with opened(engine, read_only=False) as connection:
        with clear(engine, f"refused the table {brief('.'.join(target.table))}", "check its columns, key and rights"):
            _ready(engine, connection, what, columns)
        yield Writer(engine, connection, what)


def check_keys(keys: Sequence[Cell], key: str) -> None:
    """Refuse rows of which two would become one.

    Args:
        keys: of every row.
        key: name of their column.

    Raises:
        SourceError: a key is empty or not one row's own.
    """
    counts = Counter("" if cell is None else str(cell) for cell in keys)
    if odd := [(name, times) for name, times in counts.items() if times > 1 or not name]:
        raise SourceError(_odd(odd, key))


def _ready(engine: Engine, connection: Any, what: Upsert, columns: Mapping[str, type]) -> None:
    """Make the table where it is not there; then try everything that writing needs, without a row."""
    try:
        connection.execute(f"SELECT 1 FROM {what.name} WHERE 1 = 0")
    except engine.faults:  # it is not there; should it be something else, the trial below says so
        _make(engine, connection, what, columns)
    connection.execute(what.statement(f"SELECT {what.names} FROM {what.name} WHERE 1 = 0"))


def _make(engine: Engine, connection: Any, what: Upsert, columns: Mapping[str, type]) -> None:
    kinds = {name: TYPES[kind] for name, kind in columns.items()}
    if columns[what.key] is float:
        kinds[what.key] = TYPES[str]  # near numbers of a `numeric` would become one
    kinds[what.key] += " NOT NULL PRIMARY KEY"
    with transaction(engine, connection):
        if engine.turn:
            connection.execute(engine.turn)
        made = ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {what.name} ({made})")


def _bindable(cell: Cell) -> Cell:
    """What every database takes: PostgreSQL's text has no NUL."""
    cell = storable(cell)
    return cell.replace("\0", "\\x00") if isinstance(cell, str) else cell
