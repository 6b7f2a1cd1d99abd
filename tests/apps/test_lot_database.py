"""`lot` and `predict` between databases: the same answers as between files, one row out per row in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.data.clients import find_engine
from carspotter.data.database import read_query, read_target, upsert
from carspotter.data.table import Cell, read_table
from helpers.tiny import colour_photo, write_tiny_bundle

ADS: tuple[tuple[Cell, ...], ...] = (
    ("1", "red", "red1.png;red2.png", 1000.0, "cheap"),
    ("2", "blue", "red1.png", 2000.0, None),
    ("3", "green", "green.png", 3000.0, None),
    ("4", "red", "red2.png | gone.png", 4000.0, None),
    ("5", "red", None, None, None),
)
COLUMNS = {"id": str, "model": str, "photos": str, "price": float, "reason": str}
QUERY = "SELECT * FROM ads ORDER BY id"
KINDS = ["sqlite", pytest.param("duckdb", marks=pytest.mark.slow)]
NEW = ("verdict", "recognised", "probability", "suspicion", "carspotter_reason")


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "model")
    for name, colour in {"red1": (250, 0, 0), "red2": (200, 10, 0), "green": (0, 250, 0)}.items():
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(colour_photo(*colour))
    write_ads(f"sqlite:///{tmp_path / 'ads.db'}")
    return tmp_path


def write_ads(address: str) -> None:
    with upsert(read_target(f"{address}#ads"), "id", COLUMNS) as writer:
        writer.write(ADS)


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time, to read and to write."""
    monkeypatch.setattr("carspotter.apps.lot_check.CHUNK", 2)
    monkeypatch.setattr("carspotter.apps.places.CHUNK", 2)


def check(lot: Path, ads: str, output: str, *more: str) -> int:
    words = ["lot", str(lot / "model"), ads, "--photos", str(lot / "photos"), "--model-column", "model"]
    return main([*words, "-o", output, *more])


def table_of(address: str, name: str = "checked") -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    found = read_query(address, f"SELECT * FROM {name} ORDER BY id", max_rows=100)  # noqa: S608
    return found.columns, found.rows


def file_of(lot: Path, ads: str, *more: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    assert check(lot, ads, str(lot / "c.csv"), "--query", QUERY, "--as-given", *more) == 3  # a photo is missing
    found = read_table(lot / "c.csv")
    return found.columns, found.rows


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_becomes_a_table_piece_by_piece(lot: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    ads, out = f"sqlite:///{lot / 'ads.db'}", f"{kind}:///{lot / 'out.db'}"
    for _ in range(2):
        assert check(lot, ads, f"{out}#checked", "--query", QUERY) == 3
        said, remarks = capsys.readouterr()
        assert f"5 ads in {out}#checked" in said
        assert "1 ad with photos that are missing" in remarks
    columns, rows = table_of(out)
    assert columns == (*COLUMNS, *NEW)
    assert [row[0] for row in rows] == list("12345")
    assert [row[5] for row in rows] == ["match", "mismatch", "match", "match", "cannot tell"]
    assert (columns, rows) == file_of(lot, ads)


@pytest.mark.slow
@pytest.mark.usefixtures("short_pieces")
def test_a_table_of_postgresql_becomes_another(lot: Path, postgresql: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_ads(postgresql)
    for _ in range(2):
        assert check(lot, postgresql, f"{postgresql}#checked", "--query", QUERY) == 3
    said, remarks = capsys.readouterr()
    assert "5 ads in postgresql://me:***@/test_" in said
    assert "s3cret" not in said + remarks
    assert table_of(postgresql) == file_of(lot, postgresql)


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_may_be_read_and_written(lot: Path, kind: str) -> None:
    address = f"{kind}:///{lot / 'both.db'}"
    write_ads(address)
    assert check(lot, address, f"{address}#checked", "--query", QUERY) == 3
    assert len(table_of(address)[1]) == 5


@pytest.mark.usefixtures("short_pieces")
def test_prices_are_compared_over_all_pieces(lot: Path) -> None:
    ads, out = f"sqlite:///{lot / 'ads.db'}", f"sqlite:///{lot / 'out.db'}"
    assert check(lot, ads, f"{out}#checked", "--query", QUERY, "--price-column", "price") == 3
    columns, rows = table_of(out)
    assert (columns[-1], [row[-1] for row in rows]) == ("price_gap", ["0.5", "0.0", "", "-1.0", ""])
    assert (columns, rows) == file_of(lot, ads, "--price-column", "price")


def test_a_file_becomes_a_table_by_its_key(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lot / "ads.csv").write_text("ad,model,photos\na,red,red1.png\nb,red,red2.png\nb,red,red2.png\n")
    out = f"sqlite:///{lot / 'out.db'}"
    assert check(lot, str(lot / "ads.csv"), f"{out}#t") == 2
    assert "there is no column 'id' among ad, model, photos" in capsys.readouterr().err
    assert check(lot, str(lot / "ads.csv"), f"{out}#t", "--key-column", "ad") == 2
    assert "ad does not tell the rows apart ('b' in 2 rows)" in capsys.readouterr().err
    (lot / "ads.csv").write_text("ad,model,photos\na,red,red1.png\nb,red,red2.png\n")
    assert check(lot, str(lot / "ads.csv"), f"{out}#t", "--key-column", "ad") == 0
    assert read_query(out, "SELECT ad, verdict FROM t ORDER BY ad", max_rows=9).rows == (("a", "match"), ("b", "match"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_columns_keep_their_kinds_and_what_is_null(lot: Path, kind: str, request: pytest.FixtureRequest) -> None:
    address = f"duckdb:///{lot / 'typed.db'}" if kind == "duckdb" else request.getfixturevalue(kind)
    with closing(find_engine(address).connect(read_only=False)) as base:
        base.execute(
            "CREATE TABLE ads (id BIGINT, model TEXT, photos TEXT, price DOUBLE PRECISION, cost NUMERIC(9, 2))"
        )
        base.execute(
            "INSERT INTO ads VALUES (1, 'red', 'red1.png', 1000.5, NULL), (20, 'green', 'green.png', NULL, 2.5)"
        )
    for _ in range(2):  # into a table that is made, and into one that is there
        assert check(lot, address, f"{address}#checked", "--query", QUERY) == 0
    joined = "SELECT checked.id, checked.price, checked.cost FROM ads JOIN checked ON ads.id = checked.id ORDER BY 1"
    found = read_query(address, joined, max_rows=9)
    assert found.rows == (("1", "1000.5", ""), ("20", "", "2.5"))
    assert found.kinds == (int, float, float)
    nulls = read_query(address, "SELECT id FROM checked WHERE price IS NULL", max_rows=9)
    assert nulls.rows == (("20",),)


def test_an_empty_cell_of_a_file_is_null_in_a_table(lot: Path) -> None:
    (lot / "ads.csv").write_text("id,model,photos,price\n7,red,red1.png,\n8,red,red2.png,1.5\n")
    out = f"sqlite:///{lot / 'out.db'}"
    assert check(lot, str(lot / "ads.csv"), f"{out}#t") == 0
    assert read_query(out, "SELECT typeof(price) FROM t ORDER BY id", max_rows=9).rows == (("null",), ("text",))


def test_no_ads_are_no_fault(lot: Path) -> None:
    ads, out, none = f"sqlite:///{lot / 'ads.db'}", f"sqlite:///{lot / 'out.db'}", "SELECT * FROM ads WHERE 1 = 0"
    assert check(lot, ads, f"{out}#checked", "--query", none) == 0
    assert table_of(out) == ((*COLUMNS, *NEW), ())
    assert check(lot, ads, str(lot / "c.csv"), "--query", none) == 0
    assert (lot / "c.csv").read_text().splitlines() == [",".join((*COLUMNS, *NEW))]


@pytest.mark.parametrize(
    ("ads", "output", "more", "said"),
    [
        ("sqlite:///DIR/ads.db", "c.csv", (), "is a database; say what to read with --query"),
        ("DIR/ads.csv", "c.csv", ("--query", "SELECT 1"), "is no database; leave --query out"),
        (
            "sqlite:///DIR/ads.db",
            "sqlite:///DIR/o.db",
            ("--query", QUERY),
            "names no table; write sqlite:///PATH#TABLE",
        ),
        ("sqlite:///DIR/ads.db", "c.txt", ("--query", QUERY), "the ending must be"),
        ("sqlite:///DIR/ads.db", "c.csv", ("--query", "SELECT id FROM ads"), "the query gives"),
        ("mysql://me:s3cret@h/d", "c.csv", ("--query", QUERY), "is no database that can be read"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_work(
    lot: Path, ads: str, output: str, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    placed = output.replace("DIR", str(lot)) if "://" in output else str(lot / output)
    assert check(lot, ads.replace("DIR", str(lot)), placed, *more) == 2
    told = capsys.readouterr().err
    assert said in told or "has no column 'model'" in told
    assert "s3cret" not in told
    assert "Traceback" not in told
    assert not (lot / "c.csv").exists()


def test_answers_go_into_a_table_too(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lot / "photos" / "broken.png").write_bytes(b"\x89PNG broken")
    out = f"sqlite:///{lot / 'out.db'}"
    words = ["predict", str(lot / "model"), str(lot / "photos"), "-o"]
    for _ in range(2):
        assert main([*words, f"{out}#answers"]) == 3
    assert f"4 answers in {out}#answers" in capsys.readouterr().out
    assert main([*words, str(lot / "a.csv")]) == 3
    written = read_table(lot / "a.csv")
    columns, rows = table_of(out, "answers")
    assert columns == written.columns
    assert sorted(written.rows) == list(rows)
    with_numbers = read_query(out, "SELECT typeof(probability) FROM answers WHERE id = 'red1.png'", max_rows=9)
    assert with_numbers.rows == (("real",),)


def test_answers_go_into_a_table_piece_by_piece(
    lot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was answered before a fault stays: here a table that takes no `red2.png`."""
    monkeypatch.setattr("carspotter.apps.answering.CHUNK", 2)
    out = f"sqlite:///{lot / 'out.db'}"
    with closing(find_engine(out).connect(read_only=False)) as base:
        probabilities = "probability REAL, probability2 REAL, probability3 REAL"
        texts = "verdict TEXT, label TEXT, label2 TEXT, label3 TEXT, 'group' TEXT, reason TEXT"
        base.execute(f"CREATE TABLE a (id TEXT PRIMARY KEY CHECK (id <> 'red2.png'), {texts}, {probabilities})")
    assert main(["predict", str(lot / "model"), str(lot / "photos"), "-o", f"{out}#a"]) == 2
    assert "refused the rows: CHECK constraint failed" in capsys.readouterr().err
    assert [row[0] for row in table_of(out, "a")[1]] == ["green.png", "red1.png"]
