from __future__ import annotations

import csv
import io
import json
import os
import re
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carspotter.data import table as tables
from carspotter.data import workbook
from carspotter.data.table import neutral, read_table, write_table
from carspotter.errors import SourceError

TEXT = "Id,Category\n007,0\n1e5,Лада\n"
ROWS = (("007", "0"), ("1e5", "Лада"))


def put(folder: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def problems(path: Path, **options: int) -> tuple[str, ...]:
    with pytest.raises(SourceError) as caught:
        read_table(path, **options)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


# ---- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_usual_text_gives_the_same_table(tmp_path: Path, encoding: str, delimiter: str, newline: str) -> None:
    data = TEXT.replace(",", delimiter).replace("\n", newline).encode(encoding)
    table = read_table(put(tmp_path, data))
    assert table.columns == ("Id", "Category")
    assert table.rows == ROWS
    assert table.lines == (2, 3)
    assert bool(table.notes) == (encoding == "cp1251")


def test_utf16_big_endian(tmp_path: Path) -> None:
    assert read_table(put(tmp_path, b"\xfe\xff" + TEXT.encode("utf-16-be"))).rows == ROWS


def test_cells_stay_exactly_as_written(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, 'Id,x\n 007 ,"a,""b"\n1e5,"two\nlines"\nNA,\n'))
    assert table.rows == ((" 007 ", 'a,"b'), ("1e5", "two\nlines"), ("NA", ""))
    assert table.lines == (2, 3, 5)


def test_delimiter_is_the_one_rows_agree_on(tmp_path: Path) -> None:
    assert read_table(put(tmp_path, "Id;Price\na.jpg;1,5\nb.jpg;2,5\n")).columns == ("Id", "Price")
    assert read_table(put(tmp_path, "Id\na;b\n")).columns == ("Id",)


def test_nul_is_refused_with_its_line(tmp_path: Path) -> None:
    (problem,) = problems(put(tmp_path, b"Id,x\na,1\nb\0,2\n"))
    assert "line 3" in problem
    assert "NUL" in problem


def test_utf16_without_a_mark_is_refused(tmp_path: Path) -> None:
    assert "NUL" in problems(put(tmp_path, TEXT.encode("utf-16-le")))[0]


def test_binary_is_refused(tmp_path: Path) -> None:
    assert "control character" in problems(put(tmp_path, b"\xff\xd8\x01\x02,\n,\n"))[0]


def test_damaged_utf8_is_not_taken_for_cp1251(tmp_path: Path) -> None:
    data = ("Id,x\n" + "а.jpg,Лада Приора\n" * 5).encode()
    (problem,) = problems(put(tmp_path, data + b"b.jpg,\xff\n"))
    assert "line 7 is not utf-8" in problem


def test_all_problems_at_once_with_lines(tmp_path: Path) -> None:
    found = problems(put(tmp_path, "Id,Id,,x\na,b,c,d\na,b\n\nc,d,e,f,g\n"))
    assert len(found) == 3
    assert "no name to column 3" in found[0]
    assert "twice: Id" in found[1]
    assert "2 rows" in found[2]
    assert "line 3 has 2, line 5 has 5" in found[2]


@pytest.mark.parametrize(("data", "words"), [("", "is empty"), ("\n \n", "is empty"), ("Id,x\n", "header and no rows")])
def test_nothing_to_read(tmp_path: Path, data: str, words: str) -> None:
    assert words in problems(put(tmp_path, data))[0]


def test_open_quote_names_the_line(tmp_path: Path) -> None:
    (problem,) = problems(put(tmp_path, 'Id,x\na,1\nb,"2\nc,3\n'))
    assert "from line 3 on" in problem


def test_blank_rows_and_unnamed_empty_columns_are_left_out(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "Id,x,,\na,1,,\n,,,\nb,2,,\n"))
    assert table.columns == ("Id", "x")
    assert table.rows == (("a", "1"), ("b", "2"))
    assert table.lines == (2, 4)
    assert "1 row without any text" in table.notes[0]


def test_row_cap(tmp_path: Path) -> None:
    path = put(tmp_path, "Id\na\nb\nc\n")
    assert len(read_table(path, max_rows=3).rows) == 3
    assert "more than 2 rows" in problems(path, max_rows=2)[0]


def test_byte_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 10)
    assert "larger than 10 bytes" in problems(put(tmp_path, "Id\n" + "a" * 20))[0]


def test_column_cap(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(1_001))
    assert "1,001 columns" in problems(put(tmp_path, f"{header}\n{',' * 999}x,\n"))[0]


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a pipe" in problems(tmp_path / "pipe.csv")[0]
    assert "is a folder" in problems(tmp_path)[0]
    assert "No such file" in problems(tmp_path / "nope.csv")[0]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(tmp_path: Path, data: bytes) -> None:
    path = put(tmp_path, data)
    with suppress(SourceError):
        table = read_table(path)
        assert all(len(row) == len(table.columns) for row in table.rows)


# ---- workbooks and Parquet ------------------------------------------------------------------------------------------


def book(folder: Path, rows: list[list[object]], name: str = "t.xlsx") -> Path:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    made.save(folder / name)
    return folder / name


def rezip(path: Path, name: str, edit: object) -> Path:
    """Rewrite one entry of a zip."""
    with zipfile.ZipFile(path) as old:
        entries = {n: old.read(n) for n in old.namelist()}
    entries[name] = edit(entries.get(name, b""))  # type: ignore[operator]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for n, data in entries.items():
            new.writestr(n, data)
    return path


def test_xlsx_cells_are_text(tmp_path: Path) -> None:
    table = read_table(book(tmp_path, [["Id", "n", "x"], ["007", 7, None], ["1e5", 0.5, "b"]]))
    assert table.columns == ("Id", "n", "x")
    assert table.rows == (("007", "7", ""), ("1e5", "0.5", "b"))


def test_xlsx_formulas_are_never_evaluated(tmp_path: Path) -> None:
    table = read_table(book(tmp_path, [["Id", "x"], ["a", "=1+1"], ["b", '=HYPERLINK("http://x")']]))
    assert table.rows == (("a", ""), ("b", ""))


def test_xlsx_names_the_sheets_it_did_not_read(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.active.append(["Id"])
    made.active.append(["a"])
    made.create_sheet("Old prices")
    made.save(tmp_path / "t.xlsx")
    assert "Old prices" in read_table(tmp_path / "t.xlsx").notes[0]


def test_xlsx_with_a_far_row_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = book(tmp_path, [["Id"], ["a"]])
    rezip(path, "xl/worksheets/sheet1.xml", lambda data: data.replace(b'r="2"', b'r="5000"'))
    assert "beyond line 101" in problems(path, max_rows=100)[0]


def test_xlsx_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path, [["Id"], ["a"]])
    monkeypatch.setattr(workbook, "MAX_INSIDE_BYTES", 1_000)
    assert "unpacks to" in problems(path)[0]


def test_xlsx_with_many_entries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path, [["Id"], ["a"]])
    monkeypatch.setattr(workbook, "MAX_ENTRIES", 5)
    assert "unpacks to" in problems(path)[0]


def test_xlsx_with_nested_entities_is_refused(tmp_path: Path) -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    for i in range(9):
        bomb += f'<!ENTITY a{i} "{(f"&a{i - 1};" if i else "&a;") * 10}">'.encode()
    bomb += (
        b"]><worksheet><sheetData><row r='1'><c t='inlineStr'><is><t>&a8;</t></is></c></row></sheetData></worksheet>"
    )
    path = rezip(book(tmp_path, [["Id"], ["a"]]), "xl/worksheets/sheet1.xml", lambda _: bomb)
    assert len(problems(path)) == 1


def test_damaged_workbooks_are_one_line(tmp_path: Path) -> None:
    data = book(tmp_path, [["Id"], ["a"]]).read_bytes()
    assert problems(put(tmp_path, data[:-50], "cut.xlsx"))
    assert problems(put(tmp_path, data[:2000] + b"\0" * 40 + data[2040:], "flip.xlsx"))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", b"x")
    assert "zip without a workbook" in problems(tmp_path / "photos.zip")[0]
    assert "old format" in problems(put(tmp_path, b"\xd0\xcf\x11\xe0" + b"x" * 50, "t.xls"))[0]


def test_parquet_cells_are_text(tmp_path: Path) -> None:
    made = pyarrow.table({"Id": ["007", "1e5", None], "n": [7, 8, 9], "f": [0.5, None, 1.0]})
    pyarrow.parquet.write_table(made, tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.columns == ("Id", "n", "f")
    assert table.rows == (("007", "7", "0.5"), ("1e5", "8", ""), ("", "9", "1.0"))
    assert table.lines == (2, 3, 4)


def test_a_text_stored_once_and_named_in_every_row_is_capped(tmp_path: Path) -> None:
    """8 KB of Parquet that spelled out would be 300 MB of cells, and could as well be 300 GB."""
    path = tmp_path / "bomb.parquet"
    made = {"id": [str(i) for i in range(3000)], "label": ["x" * 100_000] * 3000}
    pyarrow.parquet.write_table(pyarrow.table(made), path, compression="zstd")
    assert path.stat().st_size < 20_000
    data = path.read_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="its cells hold 200,"):
            workbook.read_parquet(data, "bomb", 10_000)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_shared_text_of_a_workbook_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "label"], *([str(i), "LONG"] for i in range(30))):
        book.active.append(row)
    book.save(tmp_path / "plain.xlsx")
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    with (
        zipfile.ZipFile(tmp_path / "plain.xlsx") as plain,
        zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as shared,
    ):
        for name in plain.namelist():
            text = plain.read(name).decode()
            if name.endswith("sheet1.xml"):
                text, swapped = re.subn(r't="inlineStr"><is><t>LONG</t></is>', 't="s"><v>0</v>', text)
                assert swapped == 30
            if name == "[Content_Types].xml":
                text = text.replace(
                    "</Types>", f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
                )
            shared.writestr(name, text)
        shared.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}"><si><t>{"x" * 5_000}</t></si></sst>')
    monkeypatch.setattr(workbook, "MAX_INSIDE_BYTES", 100_000)
    assert "up to line 21 its cells hold 100," in problems(tmp_path / "t.xlsx")[0]


def test_parquet_faults(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": [[1], [2]], "b": [b"x", b"y"]}), tmp_path / "odd.parquet")
    assert "a (list" in problems(tmp_path / "odd.parquet")[0]
    pyarrow.parquet.write_table(pyarrow.table({"a": ["x"] * 9}), tmp_path / "long.parquet")
    assert "9 rows" in problems(tmp_path / "long.parquet", max_rows=8)[0]
    data = (tmp_path / "long.parquet").read_bytes()
    assert "damaged" in problems(put(tmp_path, data[:-20], "cut.parquet"))[0]


# ---- out ------------------------------------------------------------------------------------------------------------

COLUMNS = ("id", "label", "probability", "n")
CELLS = (("a.jpg", "Лада", 0.25, 3), ("=cmd()", None, -0.5, -1))


def test_csv_out(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", COLUMNS, CELLS)
    written = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert written == "id,label,probability,n\na.jpg,Лада,0.25,3\n'=cmd(),,-0.5,-1\n"


def test_jsonl_out(tmp_path: Path) -> None:
    write_table(tmp_path / "a.jsonl", COLUMNS, CELLS)
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [dict(zip(COLUMNS, row, strict=True)) for row in CELLS]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(2**31 - 1, pyarrow.date32()), (2**62, pyarrow.timestamp("us")), (2**62, pyarrow.duration("s"))],
    ids=str,
)
def test_a_moment_beyond_the_calendar_is_a_fault(tmp_path: Path, number: int, kind: pyarrow.DataType) -> None:
    whole = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
    made = pyarrow.table({"id": ["1.jpg"], "when": pyarrow.array([number], whole).cast(kind)})
    pyarrow.parquet.write_table(made, tmp_path / "t.parquet")
    (sentence,) = problems(tmp_path / "t.parquet")
    assert "damaged Parquet file (OverflowError)" in sentence


def test_parquet_out(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", COLUMNS, CELLS)
    made = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert [str(field.type) for field in made.schema] == ["string", "string", "double", "int64"]
    assert made.to_pylist() == [dict(zip(COLUMNS, row, strict=True)) for row in CELLS]


@pytest.mark.parametrize("cell", ["=1", "+SUM(A1)", "-cmd", "@x", "\tx", "\rx", "\nx", "-1+1", "=", "+7 900 1"])
def test_cells_a_spreadsheet_would_run_are_neutralised(tmp_path: Path, cell: str) -> None:
    write_table(tmp_path / "a.csv", (cell,), [(cell,)])
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline="")))
    assert rows == [["'" + cell], ["'" + cell]]


@pytest.mark.parametrize("cell", ["-0.5", "+1", "-1,5", "a=1", "", -0.5, 3, None, "'=1"])
def test_what_is_no_formula_stays(cell: str | float | None) -> None:
    assert neutral(cell) == cell


def test_exact_leaves_ids_alone(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ("Id",), [("-1.jpg",), ("=a.jpg",)], exact=True)
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "Id\n-1.jpg\n=a.jpg\n"


def test_not_a_number_is_empty(tmp_path: Path) -> None:
    for ending in tables.ENDINGS:
        write_table(tmp_path / f"a{ending}", ("id", "x"), [("a", float("nan")), ("b", float("inf"))])
    assert (tmp_path / "a.csv").read_text() == "id,x\na,\nb,\n"
    assert "NaN" not in (tmp_path / "a.jsonl").read_text()


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    for ending in tables.ENDINGS:
        write_table(tmp_path / f"a{ending}", ("id",), [("\udce9.jpg",)])
    assert read_table(tmp_path / "a.csv").rows == (("\\udce9.jpg",),)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.xlsx", "a.csv.gz"])
def test_unknown_ending_names_the_three(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"\.csv, \.jsonl or \.parquet"):
        write_table(tmp_path / name, ("id",), [])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = put(tmp_path, "old", "a.parquet")
    with pytest.raises(OverflowError):  # an int that no Parquet column holds
        write_table(target, ("id",), [(2**80,)])
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_table(tmp_path / "x" / "y" / "a.csv", ("id",), [("a",)])
    assert read_table(tmp_path / "x" / "y" / "a.csv").rows == (("a",),)


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    put(tmp_path, "x", "file")
    for target in (tmp_path / "folder.csv", tmp_path / "file" / "a.csv", Path("/proc/nowhere/a.csv")):
        with pytest.raises(SourceError, match="cannot write") as caught:
            write_table(target, ("id",), [("a",)])
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), st.text("ab\n\"',;")),
        min_size=1,
    )
)
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [("x" + a, "y" + b) for a, b in rows]
    write_table(tmp_path / "a.csv", ("id", "x"), rows)
    assert list(read_table(tmp_path / "a.csv").rows) == rows
