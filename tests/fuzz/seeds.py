"""Sound inputs, and the known bad ones beside the project, from which fuzzing starts."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from helpers.photos import KINDS, sound
from helpers.tiny import tiny_finder, tiny_onnx

LARGEST = 64 * 2**10
"""Bytes of a file that is worth mutating; larger ones are slow, and their bytes are pixels."""
SHARED = Path(os.environ.get("CARSPOTTER_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))

PHOTO_WORDS = (b"\xff\xd8", b"\xff\xe1", b"\xff\xda", b"Exif\0\0", b"IHDR", b"IDAT", b"iCCP", b"fcTL", b"VP8X", b"ANIM")
ZIP_WORDS = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"../", b"\x01\x00\x18\x00", b"up", b"\0\0\0\xa1")
TABLE_WORDS = (*b'" "" , ; PAR1 <c'.split(), b"\t", b"\r\n", b"\r", b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf")
RECIPE_WORDS = (
    *b'[[stage]] [stage] stage.0. lr= = . [ { """ nan inf 1e400 0x true 1979-05-27T07:32:00Z \\u0000'.split(),
    *(b"9" * 40, "²".encode(), b"\n"),
)
CARD_WORDS = (b"null", b"[", b"{", b'"', b"1e400", b"NaN", b"-1", b"\\ud800", b"\\u0000", b"..", b"9" * 40, b"true")


def photos() -> Iterator[bytes]:
    yield from (sound(kind) for kind in KINDS)
    for path in sorted((SHARED / "bad_photos").rglob("*")):
        if path.is_file() and path.stat().st_size <= LARGEST:
            yield path.read_bytes()


def zips() -> Iterator[bytes]:
    entries = [("a.png", sound("PNG")), ("б/c.jpg", sound("JPEG")), ("__MACOSX/x", b"x"), ("empty/", b"")]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield zipped(entries, method)
    yield zipped([("a" * 300, bytes(10_000))], zipfile.ZIP_DEFLATED)
    yield zipped([], zipfile.ZIP_STORED)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file, file.open("wide", "w", force_zip64=True) as entry:
        entry.write(b"wide")
    yield out.getvalue()


def zipped(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return out.getvalue()


def tables() -> Iterator[bytes]:
    text = 'Id,Category,model\n1.jpg,0,"a ""b"""\n007.jpg,1e5,Приора\n\n3.jpg,,=1+1\n'
    yield from (text.encode(code) for code in ("utf-8", "utf-8-sig", "utf-16", "cp1251"))
    yield text.replace(",", ";").replace("\n", "\r\n").encode()
    yield workbook()
    yield from parquets()


def workbook() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ("id", "label", "when"),
        ("1.jpg", 1, datetime(2026, 1, 1)),
        ("2.jpg", 1.5, time(1, 2)),
        ("=1+1", True, None),
    ):
        sheet.append(row)
    book.create_sheet("other")
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def parquets() -> Iterator[bytes]:
    columns: dict[str, list[Any]] = {
        "text": ["a", "b", None],
        "whole": [1, 2, None],
        "real": [1.5, float("nan"), None],
        "truth": [True, False, None],
        "day": [date(2026, 1, 1), None, date(1, 1, 1)],
        "moment": [datetime(2026, 1, 1, tzinfo=UTC), None, None],
        "clock": [time(1, 2, 3), None, None],
        "span": [timedelta(days=1), None, None],
        "money": [Decimal("1.50"), None, None],
    }
    yield parquet(columns)
    yield parquet({"id": ["1.jpg"] * 100, "label": list(range(100))}, compression="gzip", use_dictionary=True)
    yield parquet({"id": ["1.jpg"], "label": [3]}, compression="none", use_dictionary=False)


def parquet(columns: dict[str, list[Any]], **options: Any) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out, **options)
    return out.getvalue()


def recipes() -> Iterator[bytes]:
    for entry in (resources.files("carspotter") / "recipes").iterdir():
        if entry.name.endswith(".toml"):
            yield entry.read_bytes()
    yield b"--set\nstage.0.lr=3e-3\nbackbone=xception\nsplit.share=0.3\nstage.0.augment.flip=true"
    yield b'--set\nname="x"\nstage.1.schedule.kind=plateau\nhead={dropout=0.5}\nstage=[]'


def models() -> Iterator[bytes]:
    yield tiny_onnx().SerializeToString()
    yield tiny_finder()
