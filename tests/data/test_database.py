"""Tables of databases that are files: what comes in as text, what goes out whole, and what is refused in one line."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from carspotter.data.clients import find_engine
from carspotter.data.database import Target, in_one_file, is_database, read_query, read_target, rows, upsert
from carspotter.data.table import Table
from carspotter.errors import MissingExtra, SourceError

KINDS = ("sqlite", "duckdb")
COLUMNS = {"id": str, 'a "b" %s': float, "text": str}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of a database with the table `ads`, of which one name is a key word and one has a space."""
    address = f"{request.param}:///{tmp_path / 'ads 100%.db'}"
    fill(address)
    return address


def fill(address: str) -> None:
    with upsert(read_target(f"{address}#ads"), "id", {"id": str, "group": str, "full price": float}) as writer:
        writer.write([("007", "red", 1000.5), ("1e5", None, None), ("ä", "x; -- y", 3.0)])


def refusal(address: str, query: str, columns: Sequence[str] | None = None, key: str | None = None) -> str:
    with pytest.raises(SourceError) as told:
        list(rows(address, query, columns, key=key))
    said = str(told.value)
    assert "\n" not in said
    return said


def all_of(address: str, query: str) -> tuple[tuple[str, ...], ...]:
    return read_query(address, query, max_rows=100).rows


# ---- in -------------------------------------------------------------------------------------------------------------


def test_rows_come_as_text_piece_by_piece(url: str) -> None:
    first, second = rows(url, "SELECT * FROM ads ORDER BY id", chunk=2)
    columns, kinds = ("id", "group", "full price"), (str, str, float if url.startswith("duckdb") else str)
    assert first == Table(url, columns, (("007", "red", "1000.5"), ("1e5", "", "")), (1, 2), kinds=kinds)
    assert (second.rows, second.lines) == ((("ä", "x; -- y", "3.0"),), (3,))


def test_a_table_as_long_as_its_pieces_ends_where_it_should(url: str) -> None:
    assert [len(piece.rows) for piece in rows(url, "SELECT id FROM ads", chunk=3)] == [3]
    assert [len(piece.rows) for piece in rows(url, "SELECT id FROM ads", chunk=1)] == [1, 1, 1]


def test_a_query_without_rows_still_tells_its_columns(url: str) -> None:
    (piece,) = rows(url, "SELECT id, 1 AS n FROM ads WHERE 1 = 0;")
    assert (piece.columns, piece.rows) == (("id", "n"), ())


def test_columns_are_chosen_in_their_order(url: str) -> None:
    (piece,) = rows(url, "SELECT * FROM ads WHERE id = '007'", ("full price", "id"))
    assert (piece.columns, piece.rows) == (("full price", "id"), (("1000.5", "007"),))
    assert "the query gives no column cost; it gives id, group, full price" in refusal(
        url, "SELECT * FROM ads", ["cost"]
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nope FROM ads", "refused the query: .*nope.*; check --query"),
        ("SELEKT 1", "refused the query: .*SELEKT.*; check --query"),
        ("DELETE FROM ads", "refused the query: .*(readonly|read-only).*; check --query"),
        ("SELECT id, id FROM ads", "the query gives id more than once; name columns apart with AS"),
        (" ; ", "the query is empty; give one with --query"),
        ("SELECT '\ud800'", "the query holds bytes that are no UTF-8"),
        ("SELECT CAST('a' AS BLOB) AS b", r"the column b holds neither text nor numbers \(bytes\)"),
    ],
)
def test_a_query_that_cannot_be_used_is_one_line(url: str, query: str, said: str) -> None:
    before = all_of(url, "SELECT * FROM ads ORDER BY id")
    with pytest.raises(SourceError, match=said):
        refusal_raised(url, query)
    assert all_of(url, "SELECT * FROM ads ORDER BY id") == before


def refusal_raised(url: str, query: str) -> None:
    raise SourceError(refusal(url, query))


def test_keys_must_tell_the_rows_apart(url: str) -> None:
    query = "SELECT 'k' AS id FROM ads UNION ALL SELECT NULL -- the end"
    said = refusal(url, query, key="id")
    assert "'k' in 3 rows" in said
    assert "an empty one" in said
    assert said.endswith("; name the column that tells rows apart with --key-column")
    assert "gives no column 'ad' but id; name the column" in refusal(url, query, key="ad")
    assert len(next(rows(url, "SELECT id FROM ads; ", key="id")).rows) == 3


def test_a_query_longer_than_what_one_holds_is_refused(url: str) -> None:
    assert len(all_of(url, "SELECT * FROM ads")) == 3
    with pytest.raises(SourceError, match=r"gives more than 2 rows; narrow --query, or write to a table, -o URL#TABLE"):
        read_query(url, "SELECT * FROM ads", max_rows=2)


def test_who_stops_early_leaves_no_connection(url: str) -> None:
    pieces = rows(url, "SELECT * FROM ads", chunk=1)
    next(pieces)
    pieces.close()
    fill(url)  # a reader that is still there would keep DuckDB's file from being opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_none_is_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "odd.db").write_bytes(b"no database, whatever its name may say" * 200)
    for name in ("odd.db", "absent.db"):
        address = f"{kind}:///{tmp_path / name}"
        said = refusal(address, "SELECT 1")
        assert said.startswith(f"{address} cannot be opened: ")
        assert said.endswith("; check the path and the rights")
    assert not (tmp_path / "absent.db").exists()


def test_texts_that_are_no_utf8_do_not_end_the_reading(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'a.db'}"
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute("CREATE TABLE t AS SELECT CAST(x'66ff' AS TEXT) AS v")
    base.close()
    assert all_of(address, "SELECT * FROM t") == (("f\\xff",),)


def test_a_locked_file_is_waited_for_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carspotter.data.clients.PATIENCE", 0.1)
    address = f"sqlite:///{tmp_path / 'a.db'}"
    fill(address)
    other = sqlite3.connect(tmp_path / "a.db")
    try:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in refusal(address, "SELECT * FROM ads")
    finally:
        other.close()


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("duckdb", "COPY (SELECT 1 AS id) TO 'victim.csv'"),
        ("duckdb", "ATTACH 'other.db' AS o (READ_WRITE); DELETE FROM o.ads; SELECT 1 AS id"),
        ("duckdb", "SET enable_external_access = true; SELECT 1 AS id"),
        ("duckdb", "SELECT * FROM 'https://127.0.0.1:1/ads.parquet'"),  # fetches a part of DuckDB, and runs it
        ("sqlite", "ATTACH 'new.db' AS o"),
        ("sqlite", "VACUUM INTO 'new.db'"),
        ("sqlite", "PRAGMA journal_mode = WAL"),
        ("sqlite", "SELECT id FROM ads; DELETE FROM ads"),
    ],
)
def test_a_query_changes_no_file(kind: str, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "victim.csv").write_text("as it was")
    for name in ("a.db", "other.db"):
        fill(f"{kind}:///{tmp_path / name}")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert "refused the query: " in refusal(f"{kind}:///{tmp_path / 'a.db'}", query)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# ---- out ------------------------------------------------------------------------------------------------------------


def test_a_row_of_the_same_key_is_replaced(url: str) -> None:
    target = read_target(f"{url}#o'u\"t")
    for number in (1.5, 2.5):
        with upsert(target, "id", COLUMNS) as writer:
            writer.write([("b", number, "x\0y"), ("a", None, "=1+1")])
            writer.write([(f"only {number}", 0.0, None)])
            assert writer.written == 3
    query = 'SELECT * FROM "o\'u""t" ORDER BY id'
    assert all_of(url, query) == (
        ("a", "", "=1+1"), ("b", "2.5", "x\\x00y"), ("only 1.5", "0.0", ""), ("only 2.5", "0.0", ""),
    )  # fmt: skip


def test_a_key_alone_makes_a_table_too(url: str) -> None:
    for _ in range(2):
        with upsert(read_target(f"{url}#seen"), "id", {"id": str}) as writer:
            writer.write([("a",)])
            writer.write([])
    assert all_of(url, "SELECT * FROM seen") == (("a",),)


def test_a_table_that_is_there_keeps_its_other_columns(url: str) -> None:
    with upsert(read_target(f"{url}#ads"), "id", {"id": str, "group": str}) as writer:
        writer.write([("007", "blue"), ("new", "green")])
    assert all_of(url, "SELECT * FROM ads WHERE id IN ('007', 'new') ORDER BY id") == (
        ("007", "blue", "1000.5"), ("new", "green", ""),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "columns", "said"),
    [
        ("id", {"id": str, "nope": str}, "refused the table ads: .*nope.*; check its columns, key and rights"),
        ("group", {"group": str}, "refused the table ads: .*(UNIQUE|PRIMARY).*; check its columns, key and rights"),
        ("id", {"group": str}, "there is no column 'id' among group; name the column .* --key-column"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_the_work(
    url: str, key: str, columns: dict[str, type], said: str
) -> None:
    with pytest.raises(SourceError, match=said), upsert(read_target(f"{url}#ads"), key, columns):
        pytest.fail("the work began")


def test_a_piece_is_written_whole_or_not_at_all(url: str) -> None:
    with closing(find_engine(url).connect(read_only=False)) as base:
        base.execute("CREATE TABLE small (id TEXT PRIMARY KEY, n DOUBLE PRECISION CHECK (n < 10))")
    with upsert(read_target(f"{url}#small"), "id", {"id": str, "n": float}) as writer:
        writer.write([("first", 1.0)])
        with pytest.raises(SourceError, match=r"refused the rows: .*; 1 row written before stay$"):
            writer.write([("a", 1.0), ("b", 10.0)])
        with pytest.raises(SourceError, match=r"'x' in 2 rows, an empty one\); name the column"):
            writer.write([("x", 1.0), ("x", 2.0), ("", 3.0)])
        writer.write([("last", 2.0)])
    assert all_of(url, "SELECT id FROM small ORDER BY id") == (("first",), ("last",))


@pytest.mark.parametrize(
    ("kind", "column", "keys"),
    [
        ("sqlite", "BIGINT", ("7", "007")),
        ("duckdb", "BIGINT", ("7", "007")),
        ("sqlite", "TEXT COLLATE NOCASE", ("a", "A")),
        ("duckdb", "TEXT COLLATE NOCASE", ("a", "A")),
    ],
)
def test_keys_that_become_one_in_the_table_are_refused(
    kind: str, column: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    address = f"{kind}:///{tmp_path / 'a.db'}"
    with closing(find_engine(address).connect(read_only=False)) as base:
        base.execute(f"CREATE TABLE t (id {column} PRIMARY KEY, n BIGINT)")
    with upsert(read_target(f"{address}#t"), "id", {"id": str, "n": int}) as writer:
        writer.write([(keys[0], 1), ("8", 1)])
        for piece in ([(keys[1], 2)], [(keys[0], 2), (keys[1], 2)]):
            with pytest.raises(SourceError, match=r"t does not keep .* as written|same row twice|[Dd]uplicate"):
                writer.write(piece)
    assert sorted(all_of(address, "SELECT id, n FROM t")) == sorted([(keys[0], "1"), ("8", "1")])


def test_more_rows_than_a_statement_has_places_for_are_one_piece(url: str) -> None:
    with upsert(read_target(f"{url}#long"), "id", {"id": str}) as writer:
        writer.write([(str(number),) for number in range(1100)])
    assert all_of(url, "SELECT count(*) FROM long") == (("1100",),)


def test_an_interrupted_piece_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with upsert(read_target(f"{url}#ads"), "id", {"id": str}) as writer:
        insert = writer._engine.insert

        def interrupted(*given: object) -> None:
            insert(*given)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        monkeypatch.setattr(writer._engine, "insert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.write([("half",)])
    assert all_of(url, "SELECT id FROM ads WHERE id = 'half'") == ()


WRITING = """
import sys
from carspotter.data.database import read_target, upsert
with upsert(read_target(sys.argv[1]), "id", {"id": str, "n": int}) as writer:
    for piece in range(10_000):
        writer.write([(f"{piece:05}-{row}", piece) for row in range(20)])
        print(piece, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_writer_leaves_whole_pieces(kind: str, tmp_path: Path) -> None:
    address = f"{kind}:///{tmp_path / 'a.db'}"
    child = subprocess.Popen([sys.executable, "-c", WRITING, f"{address}#out"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        while int(child.stdout.readline()) < 5:
            pass
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split("\n")
    child.wait()
    acknowledged = max([5, *(int(line) for line in rest[:-1])])
    counts = all_of(address, "SELECT n, count(*) FROM out GROUP BY n ORDER BY n")
    assert [int(number) for number, _ in counts] == list(range(len(counts)))
    assert {times for _, times in counts} == {"20"}
    assert acknowledged + 1 <= len(counts) <= acknowledged + 2


# ---- addresses ------------------------------------------------------------------------------------------------------


def test_what_is_an_address() -> None:
    assert is_database("mysql://host/db")
    assert is_database("sqlite:///a.db")
    assert not is_database("ads.csv")
    assert not is_database("C:\\ads.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sqlite:///a.db", "names no table; write sqlite:///PATH#TABLE or the like"),
        ("sqlite:///a.db#", "'' is no name of a table; expected TABLE or SCHEMA.TABLE"),
        ("sqlite:///a.db#a.b.c", "'a.b.c' is no name of a table"),
        ("sqlite:///a.db#a\nb", r"'a\\nb' is no name of a table"),
        ("sqlite:///#t", "'sqlite:///' is no database that can be read; expected postgresql://USER@HOST/NAME, sqlite"),
        ("mysql://me:s3cret@host/db#t", r"'mysql://me:\*\*\*@host/db' is no database that can be read"),
        ("postgresql://me:s3@cret@host/db#t", r"'postgresql://\*\*\*' can be read in several ways"),
    ],
)
def test_a_target_that_is_none_is_refused_without_its_password(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as told:
        read_target(text)
    assert "cret" not in str(told.value)


def test_a_target_shows_no_password() -> None:
    target = read_target("postgresql+psycopg://me:s3cret@host/db?password=s3cret#shop.checked")
    assert target.table == ("shop", "checked")
    assert "s3cret" not in f"{target} {target!r}"
    assert str(target).endswith("@host/db?***#shop.checked")


def test_reading_and_writing_one_file_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = Target("sqlite:///a.db", ("t",))
    assert in_one_file(f"sqlite:///{tmp_path / 'a.db'}", target)
    assert not in_one_file("sqlite:///b.db", target)
    server = "postgresql://host/a"
    assert not in_one_file(server, Target(server, ("t",)))


@pytest.mark.parametrize(("module", "address"), [("duckdb", "duckdb:///a.db"), ("psycopg", "postgresql://h/db")])
def test_a_missing_client_is_one_line_with_the_pip_command(
    module: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install .carspotter\[sql\]"):
        next(rows(address, "SELECT 1"))


def test_a_server_out_of_reach_is_one_line_without_the_password() -> None:
    address = "postgresql://me:s3cret@127.0.0.1:1/db?connect_timeout=1&application_name=s3cret"
    said = refusal(address, "SELECT 1")
    assert said.startswith("postgresql://me:***@127.0.0.1:1/db?*** cannot be opened: ")
    assert said.endswith("; check the address, the rights, and that the server is up")
    assert "s3cret" not in said
