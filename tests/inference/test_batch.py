"""One chunk of a manifest answered, wherever its photos are."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pyarrow
import pyarrow.parquet
import pytest

from carspotter.data import remote
from carspotter.data.manifest import Manifest, open_manifest
from carspotter.errors import BatchError, Reason
from carspotter.evaluation.parts import open_parts
from carspotter.inference.batch import FETCHED, answer_photos, make_part
from carspotter.inference.bundle import Bundle
from carspotter.inference.predictor import Predictor, load
from carspotter.records import Batch
from helpers.tiny import colour_photo

RED, BLUE = colour_photo(200, 10, 10), colour_photo(10, 10, 200)


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return load(tiny_bundle.folder, threads=2)


def listed(folder: Path, uris: list[str], chunk_rows: int = 100) -> Manifest:
    ids = [f"car {at}" for at in range(len(uris))]
    pyarrow.parquet.write_table(pyarrow.table({"id": ids, "uri": uris}), folder / "m.parquet")
    return open_manifest(folder / "m.parquet", chunk_rows=chunk_rows)


def put_in_memory(name: str, data: bytes) -> str:
    import fsspec

    fsspec.filesystem("memory").pipe(name, data)
    return f"memory://{name}"


def test_every_row_is_answered_in_its_order_wherever_it_is(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(RED)
    with ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("in/b.png", BLUE)
    uris = ["memory://gone/a.png", "a b.png", "photos.zip!in/b.png", put_in_memory("lot/c.png", RED), "gone.png"]
    uris += [f"file://{tmp_path}/a%20b.png", put_in_memory("lot/d.png", b"no photo"), "photos.zip!gone.png"]
    answers = answer_photos(predictor, listed(tmp_path, uris).read(0))
    assert [answer.id for answer in answers] == [f"car {at}" for at in range(8)]
    found = [answer.top[0].label if answer.top else answer.code for answer in answers]
    missing = Reason.MISSING
    assert found == [missing, "red", "blue", "red", missing, "red", Reason.NOT_A_PHOTO, missing]


def test_more_stored_photos_than_are_fetched_at_once(predictor: Predictor, tmp_path: Path) -> None:
    uris = [put_in_memory(f"many/{at}.png", RED if at % 3 else BLUE) for at in range(2 * FETCHED + 5)]
    told: list[tuple[int, int]] = []
    photos = listed(tmp_path, uris).read(0)
    answers = answer_photos(predictor, photos, progress=lambda _p, done, total, said="": told.append((done, total)))
    assert [answer.top[0].label for answer in answers] == ["red" if at % 3 else "blue" for at in range(len(uris))]
    assert told == [(FETCHED, len(uris)), (2 * FETCHED, len(uris)), (len(uris), len(uris))]


def batch_of(manifest: Manifest) -> Batch:
    return Batch(
        carspotter="0.1.0",
        bundle="b",
        manifest=manifest.fingerprint,
        rows=manifest.rows,
        chunk_rows=manifest.chunk_rows,
        tta=1,
        runtime="onnxruntime",
    )


def test_no_part_is_written_when_the_network_is_gone(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSES", ())
    nowhere = ["http://127.0.0.1:9/a.png", "http://127.0.0.1:9/b.png"]
    manifest = listed(tmp_path, [*nowhere, nowhere[0], "gone.png"], chunk_rows=2)
    parts = open_parts(tmp_path / "out", batch_of(manifest))
    with pytest.raises(BatchError, match="none of 2 photos from 'car 0' on can be reached"):
        make_part(predictor, manifest, parts, 0)
    assert parts.there() == []
    assert make_part(predictor, manifest, parts, 1) == {"bad_photo": 2}  # a file that is not there is an answer
