"""Tables of a real PostgreSQL: cursors that stay on the server, transactions, rights, and a writer that is killed."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from carspotter.data.database import read_query, read_target, rows, upsert
from carspotter.errors import SourceError

pytestmark = pytest.mark.slow

PIECE, ENDLESS = 50, 10_000


@contextmanager
def asked(address: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def cells(address: str, query: str) -> tuple[tuple[str, ...], ...]:
    return read_query(address, query, max_rows=1000).rows


def refusal(address: str, query: str, key: str | None = None) -> str:
    with pytest.raises(SourceError) as told:
        list(rows(address, query, key=key))
    said = str(told.value)
    assert "\n" not in said
    assert "s3cret" not in said
    return said


def test_cells_are_text(postgresql: str) -> None:
    query = (
        "SELECT '007' AS id, NULL AS nothing, 1.50::numeric AS price, 2.5::float8 AS f, true AS b, "
        "date '2020-02-01' AS d, timestamp '2020-02-01 03:04' AS t, '50%s %'::text AS percent, 10::bigint AS n;"
    )
    (piece,) = rows(postgresql, query)
    assert piece.columns == ("id", "nothing", "price", "f", "b", "d", "t", "percent", "n")
    assert piece.kinds == (str, str, float, float, str, str, str, str, int)
    assert piece.rows == (("007", "", "1.50", "2.5", "True", "2020-02-01", "2020-02-01T03:04:00", "50%s %", "10"),)
    assert piece.path.startswith("postgresql://me:***@/test_")


def test_text_is_text_where_the_database_knows_no_encoding(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE DATABASE ascii_of_old ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        name = base.info.dbname
    try:
        assert cells(postgresql.replace(name, "ascii_of_old"), "SELECT 'ä' AS a") == (("ä",),)
    finally:
        with asked(postgresql) as base:
            base.execute("DROP DATABASE ascii_of_old")


def test_a_long_result_stays_on_the_server(postgresql: str) -> None:
    """A million rows of 200 bytes, of which 500 are here at a time."""
    pieces = rows(postgresql, "SELECT i AS id, repeat('x', 200) AS t FROM generate_series(1, 1000000) i")
    next(pieces)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for at, _ in enumerate(pieces):
        if at == 400:
            break
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB; 200,000 rows are 40 MB and more
    pieces.close()


def test_a_table_that_another_locks_is_waited_for_and_then_named(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carspotter.data.clients.PATIENCE", 0.1)
    with asked(postgresql) as base:
        base.execute("CREATE TABLE ads (id text)")
        base.execute("BEGIN; LOCK TABLE ads")
        assert "canceling statement due to lock timeout; check --query" in refusal(postgresql, "SELECT id FROM ads")


def test_keys_that_become_one_in_the_table_are_refused(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)")
        base.execute("CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        base.execute("CREATE TABLE u (id text COLLATE caseless PRIMARY KEY, n bigint)")
    for table, first, second in (("t", "7", "007"), ("u", "a", "A")):
        with upsert(read_target(f"{postgresql}#{table}"), "id", {"id": str, "n": int}) as writer:
            writer.write([(first, 1)])
            for piece in ([(second, 2)], [(first, 2), (second, 2)]):
                with pytest.raises(SourceError, match=f"{table} does not keep {second} as written, so that two rows"):
                    writer.write(piece)
        assert cells(postgresql, f"SELECT * FROM {table}") == ((first, "1"),)  # noqa: S608


def test_everything_that_is_asked_sees_one_moment(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE TABLE ads AS SELECT generate_series(1, 4) AS id")
        pieces = rows(postgresql, "SELECT id FROM ads ORDER BY id", key="id", chunk=2)
        first = next(pieces).rows
        base.execute("DELETE FROM ads")
        assert (first, next(pieces).rows) == ((("1",), ("2",)), (("3",), ("4",)))
        pieces.close()


def test_what_is_wrong_is_one_line_without_the_password(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE TABLE ads (id text)")
        base.execute("INSERT INTO ads VALUES ('a'), ('a')")
    assert 'refused the query: column "nope" does not exist; check --query' in refusal(
        postgresql, "SELECT nope FROM ads"
    )
    assert "refused the query: syntax error" in refusal(postgresql, "DELETE FROM ads")
    # A function that writes is no SELECT's business either.
    said = refusal(postgresql, "SELECT nextval('pg_temp.none')")
    assert "refused the query" in said
    deleting = "WITH gone AS (DELETE FROM ads RETURNING id) SELECT * FROM gone"
    assert "refused the query" in refusal(postgresql, deleting)
    assert "'a' in 2 rows" in refusal(postgresql, "SELECT id FROM ads", key="id")
    assert "holds neither text nor numbers (list)" in refusal(postgresql, "SELECT ARRAY[1] AS a")
    assert cells(postgresql, "SELECT count(*) FROM ads") == (("2",),)
    absent = postgresql.replace("/test_", "/absent_")
    assert "cannot be opened: connection failed: " in refusal(absent, "SELECT 1")
    other = postgresql.replace("me:s3cret@", "nobody:s3cret@")
    assert 'role "nobody" does not exist' in refusal(other, "SELECT 1")


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS id; COMMIT; DELETE FROM ads; SELECT 1 AS id",
        "SELECT 1 AS id) AS q; COMMIT; DELETE FROM ads; SELECT * FROM (SELECT 1 AS id",
    ],
)
def test_a_query_cannot_leave_its_transaction(postgresql: str, query: str, key: str | None) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE TABLE ads AS SELECT 1 AS id")
    assert "refused the query: " in refusal(postgresql, query, key)
    assert cells(postgresql, "SELECT id FROM ads") == (("1",),)


def test_the_reading_side_cannot_write(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute("CREATE TABLE ads (id int)")
        base.execute(
            "CREATE FUNCTION sly() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO ads VALUES (1) RETURNING id'"
        )
    assert "cannot execute INSERT in a read-only transaction" in refusal(postgresql, "SELECT sly()")


def test_a_role_that_may_not_make_tables_writes_into_one_that_is_there(postgresql: str) -> None:
    target = read_target(f"{postgresql}#checked")
    with upsert(target, "id", {"id": str, "n": int}):
        pass
    with asked(postgresql) as base:
        base.execute("CREATE ROLE clerk LOGIN")
        base.execute("GRANT SELECT, INSERT, UPDATE ON checked TO clerk")
    clerk = postgresql.replace("me:s3cret@", "clerk:s3cret@")
    try:
        with upsert(read_target(f"{clerk}#checked"), "id", {"id": str, "n": int}) as writer:
            writer.write([("a", 1)])
        with (
            pytest.raises(SourceError, match=r"refused the table other: permission denied for schema public; check"),
            upsert(read_target(f"{clerk}#other"), "id", {"id": str}),
        ):
            pass
    finally:
        with asked(postgresql) as base:
            base.execute("DROP OWNED BY clerk")
            base.execute("DROP ROLE clerk")
    assert cells(postgresql, "SELECT * FROM checked") == (("a", "1"),)


def test_schemas_per_cents_and_nul(postgresql: str) -> None:
    with asked(postgresql) as base:
        base.execute('CREATE SCHEMA "my shop"')
    for number in (1, 2):
        with upsert(read_target(f'{postgresql}#my shop.50% "off"'), "i%d", {"i%d": str, "%s": int}) as writer:
            writer.write([("a\0", number), ("b", None)])
    assert cells(postgresql, 'SELECT * FROM "my shop"."50% ""off""" ORDER BY "i%d"') == (("a\\x00", "2"), ("b", ""))


def test_several_may_make_the_table_at_the_same_moment(postgresql: str) -> None:
    code = (
        "import sys; from carspotter.data.database import read_target, upsert\n"
        "sys.stdin.readline()\n"
        "with upsert(read_target(sys.argv[1]), 'id', {'id': str}) as writer: writer.write([(sys.argv[2],), ('all',)])"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, f"{postgresql}#out", str(n)], stdin=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.close()
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0]
    assert cells(postgresql, "SELECT id FROM out ORDER BY id") == (("0",), ("1",), ("2",), ("all",))


WRITING = f"""
import sys
from carspotter.data.database import read_target, upsert
with upsert(read_target(sys.argv[1]), "id", {{"id": str, "n": int}}) as writer:
    for piece in range(int(sys.argv[2])):
        writer.write([(f"{{piece:05}}-{{row}}", piece) for row in range({PIECE})])
        print(piece, flush=True)
"""


@pytest.mark.parametrize("moment", [1, 17, 40])
def test_a_killed_writer_leaves_whole_pieces_and_a_second_run_completes(postgresql: str, moment: int) -> None:
    command = [sys.executable, "-c", WRITING, f"{postgresql}#out"]
    child = subprocess.Popen([*command, str(ENDLESS)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        while int(child.stdout.readline()) < moment:
            pass
        child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    counts = cells(postgresql, "SELECT n, count(*) FROM out GROUP BY n ORDER BY n")
    assert moment < len(counts) < ENDLESS
    assert {times for _, times in counts} == {str(PIECE)}
    more = len(counts) + 20
    subprocess.run([*command, str(more)], check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert cells(postgresql, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM out") == ((str(PIECE * more),) * 2,)


def test_a_server_that_goes_away_ends_in_one_line(postgresql: str) -> None:
    pieces = rows(postgresql, "SELECT i FROM generate_series(1, 10000) i", chunk=10)
    next(pieces)
    with asked(postgresql) as base:
        base.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        with pytest.raises(SourceError, match=r"^postgresql://me:\*\*\*@/test_\S+ refused the query: ") as told:
            list(pieces)
    assert "s3cret" not in str(told.value)
