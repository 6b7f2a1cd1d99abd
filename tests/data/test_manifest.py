"""Manifests: read a chunk at a time, and refused with row numbers before any work."""

from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from carspotter.data import manifest as manifests
from carspotter.data.manifest import open_manifest
from carspotter.errors import MissingExtra, SourceError
from carspotter.records import Location, Photo, Remote


def put(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = folder / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def rows(number: int) -> dict[str, list[str]]:
    return {"id": [f"car {at}" for at in range(number)], "uri": [f"{at}.jpg" for at in range(number)]}


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(SourceError) as caught:
        open_manifest(path, chunk_rows=10)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize("group", [1, 7, 10, 25, 1000])
def test_chunks_are_all_rows_in_their_order(tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file is cut into row groups, and these into batches."""
    monkeypatch.setattr(manifests, "BATCH_ROWS", 8)
    manifest = open_manifest(put(tmp_path, rows(25), row_group_size=group), chunk_rows=10)
    assert (manifest.rows, manifest.chunks) == (25, 3)
    read = [manifest.read(chunk) for chunk in range(3)]
    assert [len(chunk) for chunk in read] == [10, 10, 5]
    photos = [Photo(f"car {at}", Location(str(tmp_path / f"{at}.jpg"))) for at in range(25)]
    assert [photo for chunk in read for photo in chunk] == photos
    assert manifest.ids(2) == tuple(photo.id for photo in photos[20:])


def test_ids_are_text_to_the_letter_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    given = {"price": [1, 2], "uri": ["a.jpg", "memory://b/k"], "id": ["007", " 7"]}
    columns = {name: pyarrow.array(cells) for name, cells in given.items()}
    columns["id"] = columns["id"].dictionary_encode()
    manifest = open_manifest(put(tmp_path, columns), chunk_rows=2)
    assert [(photo.id, photo.where) for photo in manifest.read(0)] == [
        ("007", Location(str(tmp_path / "a.jpg"))),
        (" 7", Remote("memory://b/k")),
    ]


def test_it_may_be_sent_elsewhere(tmp_path: Path) -> None:
    manifest = open_manifest(put(tmp_path, rows(3)), chunk_rows=2)
    sent = pickle.loads(pickle.dumps(manifest))  # noqa: S301 - as Ray sends it
    assert sent.read(1) == manifest.read(1)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": ["a"]}, "no column uri, but id"),
        ({"Id": ["a"], "URI": ["b"]}, "no column id, but Id, URI"),
        ({"id": [1], "uri": ["b"]}, "int64 in its column id; expected text"),
        ({"id": [["a"]], "uri": ["b"]}, "in its column id; expected text"),
        ({"id": [b"a"], "uri": ["b"]}, "binary in its column id; expected text"),
        ({"id": pyarrow.array([], "string"), "uri": pyarrow.array([], "string")}, "no rows"),
    ],
)
def test_wrong_columns(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    assert said in problems(put(tmp_path, columns))[0]


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["id", "uri", "id"])
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    assert problems(tmp_path / "m.parquet")[0].endswith("has 2 columns called id; expected one")


def test_all_faults_of_rows_at_once_with_their_numbers(tmp_path: Path) -> None:
    given = rows(12)
    for at, blank in enumerate(("", " ", "\t", ""), 1):
        given["id"][at] = blank
    given["id"][10] = given["id"][0]
    given["uri"][5], given["uri"][6] = "", "file://elsewhere/x"
    columns = {name: pyarrow.array([cell or None for cell in cells]) for name, cells in given.items()}
    empty, no_uri, no_place, twice = problems(put(tmp_path, columns))
    assert empty.endswith("the id is empty in row 2, row 3, row 4 and 1 more")
    assert no_uri.endswith("the uri is empty in row 6")
    assert no_place.endswith("names no place in row 7 (file://elsewhere/x is a file of another machine, elsewhere)")
    assert twice.endswith("1 row with an id that stands before: row 11 (car 0, as row 1); ids must differ")


def test_a_hash_that_two_ids_share_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_hash", len)
    assert open_manifest(put(tmp_path, rows(12)), chunk_rows=5).rows == 12
    given = rows(12)
    given["id"][3] = given["id"][9]
    assert "row 10 (car 9, as row 4)" in problems(put(tmp_path, given))[0]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    names = pyarrow.array([b"a", b"\xff\xfe"]).view(pyarrow.string())
    assert problems(put(tmp_path, {"id": names, "uri": ["a", "b"]}))[0].endswith("the id is not UTF-8 in row 2")


def test_a_long_text_in_every_row_is_refused_without_being_spelled_out(tmp_path: Path) -> None:
    """A megabyte in each of 2,000 rows, stored once."""
    names = pyarrow.DictionaryArray.from_arrays(np.zeros(2000, dtype=np.int32), pyarrow.array(["x" * 10**6]))
    path = put(tmp_path, {"id": names, "uri": ["a.jpg"] * 2000})
    before = pyarrow.total_allocated_bytes()
    assert "the id of row 1 has 1,000,000 bytes; expected at most 4,096" in problems(path)[0]
    assert pyarrow.total_allocated_bytes() - before < 50e6
    assert pyarrow.default_memory_pool().max_memory() < 500e6


@pytest.mark.parametrize(
    ("limit", "said"), [("MAX_ROWS", "at most 5: split it"), ("MAX_GROUP_BYTES", "fewer rows in each")]
)
def test_beyond_a_cap(tmp_path: Path, limit: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, limit, 5)
    assert said in problems(put(tmp_path, rows(12)))[0]


@pytest.mark.parametrize("content", [b"", b"id,uri\na,b\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.parquet").write_bytes(content)
    assert "no sound Parquet file" in problems(tmp_path / "m.parquet")[0]


def test_a_damaged_row_group(tmp_path: Path) -> None:
    path = put(tmp_path, rows(5000), compression="gzip")
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(100)
    path.write_bytes(data)
    assert "no sound Parquet file" in problems(path)[0] or "cannot read" in problems(path)[0]


def test_a_pipe_or_nothing_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe" in problems(tmp_path / "pipe")[0]
    assert "cannot read" in problems(tmp_path / "absent")[0]


def test_a_manifest_that_changes_meanwhile(tmp_path: Path) -> None:
    path = put(tmp_path, rows(12))
    manifest = open_manifest(path, chunk_rows=5)
    put(tmp_path, rows(13))
    with pytest.raises(SourceError, match="changed while it was worked through"):
        manifest.read(0)


@pytest.mark.parametrize(("uri", "error"), [("s3://b/k", MissingExtra), ("nosuch://b/k", SourceError)])
def test_stores_that_cannot_be_read_are_known_before_the_work(
    tmp_path: Path, uri: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(error, match=r'pip install "carspotter\[s3\]"|no kind of store'):
        open_manifest(put(tmp_path, {"id": ["a"], "uri": [uri]}), chunk_rows=1)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Ten times the rows: ten times the hashes, and nothing else."""

    def peak(number: int, groups: Sequence[int] = (2000,)) -> int:
        path = put(tmp_path, rows(number), row_group_size=groups[0])
        tracemalloc.start()
        open_manifest(path, chunk_rows=100).read(5)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2000)
    assert peak(12_000) - peak(4_000) < 40 * 8_000  # hashes, sorted, and a mask: below 40 bytes a row
