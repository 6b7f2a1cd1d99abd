"""One chunk of a manifest answered, wherever its photos are."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pyarrow
import pyarrow.parquet
import pytest

from carspotter.data import remote
from carspotter.data.manifest import Manifest, open_manifest
from carspotter.data.patient import PatientReader
from carspotter.errors import NOT_HAD, BatchError, Reason
from carspotter.evaluation.parts import Parts, open_parts
from carspotter.inference import batch
from carspotter.inference.batch import FETCHED, IN_A_ROW, Ask, answer_photos, make_part
from carspotter.inference.bundle import Bundle
from carspotter.inference.predictor import Predictor, load
from carspotter.records import Answer, Batch, Photo
from helpers.tiny import colour_photo

READ = PatientReader(60)
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
    answers = list(chain.from_iterable(answer_photos(predictor, listed(tmp_path, uris).read(0), READ)))
    assert [answer.id for answer in answers] == [f"car {at}" for at in range(8)]
    found = [answer.top[0].label if answer.top else answer.code for answer in answers]
    missing = Reason.MISSING
    assert found == [missing, "red", "blue", "red", missing, "red", Reason.NOT_A_PHOTO, missing]


@pytest.mark.parametrize("stored", [True, False])
def test_more_photos_than_are_answered_at_once(predictor: Predictor, tmp_path: Path, stored: bool) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "blue.png").write_bytes(BLUE)
    size = FETCHED if stored else 2 * FETCHED  # two threads
    uris = ["red.png" if at % 3 else "blue.png" for at in range(2 * size + 5)]
    if stored:
        uris = [put_in_memory(f"many/{at}.png", (tmp_path / uri).read_bytes()) for at, uri in enumerate(uris)]
    told = list(answer_photos(predictor, listed(tmp_path, uris, chunk_rows=1000).read(0), READ))
    assert [len(some) for some in told] == [size, size, 5]
    labels = [answer.top[0].label for some in told for answer in some]
    assert labels == ["red" if at % 3 else "blue" for at in range(len(uris))]


def test_large_photos_are_answered_fewer_at_a_time(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "HELD_BYTES", 3 * len(RED))
    (tmp_path / "red.png").write_bytes(RED)
    told: list[str] = []
    answers = answer_photos(
        predictor, listed(tmp_path, ["red.png"] * 7).read(0), READ, progress=lambda phase, *_: told.append(phase)
    )
    assert [len(some) for some in answers] == [3, 3, 1]
    assert sorted(told) == ["photos"] * 7 + ["read"] * 7  # nothing is silent for longer than one photo takes


# ---- parts ----------------------------------------------------------------------------------------------------------


class Store(BaseHTTPRequestHandler):
    """`/absent…` is not there, `/secret…` not allowed, `/busy…` fails; all else is a red photo."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        faults = {"/absent": 404, "/secret": 403, "/busy": 503}
        for name, code in faults.items():
            if self.path.startswith(name):
                return self.send_error(code)
        self.send_response(200)
        self.send_header("Content-Length", str(len(RED)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(RED)
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(remote, "PAUSES", ())
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def parts_of(manifest: Manifest, folder: Path, again: frozenset[Reason] = NOT_HAD) -> Parts:
    batch = Batch(
        carspotter="0.1.0",
        pillow="13.0.0",
        runtime_version="1.31.0",
        bundle="b",
        manifest=manifest.fingerprint,
        folder=manifest.folder,
        rows=manifest.rows,
        chunk_rows=manifest.chunk_rows,
        tta=1,
        runtime="onnxruntime",
    )
    return open_parts(folder, batch, again)


def asking(predictor: Predictor, asked: list[str]) -> Ask:
    """Answers here, and notes who was asked for."""

    def ask(photos: Sequence[Photo]) -> Generator[Answer]:
        for some in answer_photos(predictor, photos, READ):
            asked.extend(answer.id for answer in some)
            yield from some

    return ask


MANY = 3 * IN_A_ROW


@pytest.mark.parametrize("fault", ["absent", "secret", "busy", "gone.png", "gone.zip!a.png"])
def test_photos_in_a_row_that_cannot_be_had_stop_the_batch_at_once(
    fault: str, predictor: Predictor, tmp_path: Path, store: str
) -> None:
    """Whatever the reasons are, and whatever stands in the part before; a photo that is no photo was had."""
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "text.png").write_bytes(b"no photo")
    bad = fault if "gone" in fault else f"{store}/{fault}"
    uris = ["red.png", f"{store}/absent", "text.png", *[f"{store}/absent"] * 3, *[bad] * MANY, "red.png"]
    manifest = listed(tmp_path, uris, chunk_rows=1000)
    parts, asked = parts_of(manifest, tmp_path / "out"), list[str]()
    with pytest.raises(BatchError, match=f"{IN_A_ROW} photos in a row up to car 34 could not be had") as caught:
        make_part(asking(predictor, asked), manifest, parts, 0)
    assert parts.there() == []
    assert ("--gone" in str(caught.value)) == (fault == "absent" or "gone" in fault)
    assert len(asked) < MANY


def test_one_fewer_are_rows_and_asked_for_again_alone(predictor: Predictor, tmp_path: Path, store: str) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    uris = [*[f"{store}/busy"] * (IN_A_ROW - 1), "text.png", *["late.png"] * (IN_A_ROW - 1), "red.png"]
    (tmp_path / "text.png").write_bytes(b"no photo")
    manifest = listed(tmp_path, uris, chunk_rows=1000)
    parts, asked = parts_of(manifest, tmp_path / "out"), list[str]()
    make_part(asking(predictor, asked), manifest, parts, 0)
    others = {"not_a_photo": 1, "named": 1}
    assert parts.read(0) == {"unreachable": IN_A_ROW - 1, "missing": IN_A_ROW - 1, **others}
    assert len(asked) == len(uris)
    asked.clear()
    (tmp_path / "late.png").write_bytes(BLUE)
    make_part(asking(predictor, asked), manifest, parts, 0)
    assert parts.read(0, manifest.ids(0)) == {"unreachable": IN_A_ROW - 1, "not_a_photo": 1, "named": IN_A_ROW}
    assert set(asked) == {f"car {at}" for at in range(len(uris) - 1)} - {f"car {IN_A_ROW - 1}"}


def test_what_is_gone_for_good_stops_nothing(predictor: Predictor, tmp_path: Path) -> None:
    manifest = listed(tmp_path, ["gone.png"] * MANY, chunk_rows=1000)
    parts, asked = parts_of(manifest, tmp_path / "out", NOT_HAD - {Reason.MISSING}), list[str]()
    make_part(asking(predictor, asked), manifest, parts, 0)
    assert parts.read(0) == {"missing": MANY}
    assert None not in parts.final(0, manifest.ids(0))
