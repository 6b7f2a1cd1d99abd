"""`batch` through the real entry, on the local engine: parts, going on, kills."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from carspotter.apps.batch.local import make_here
from carspotter.apps.batch.order import Order
from carspotter.apps.batch.run import carry_out, place_order
from carspotter.apps.cli import main
from carspotter.data.table import read_table
from carspotter.errors import EXIT_FAULT, EXIT_SOME_REFUSED, EXIT_UNUSABLE, BatchError, BundleError
from carspotter.progress import Progress
from helpers.lots import put_crashing_decoder, put_lot, put_manifest, read_parts
from helpers.tiny import write_tiny_bundle


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    """A model, photos of three colours, one that is broken, and a manifest of 23 rows that also names one not there."""
    return put_lot(tmp_path, rows=23)


def run(lot: Path, out: str, *words: str) -> int:
    return main(["batch", str(lot / "tiny"), str(lot / "m.parquet"), "-o", str(lot / out), "--chunk", "10", *words])


def test_one_row_out_for_each_row_in_and_the_columns_of_predict(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lot, "out") == EXIT_SOME_REFUSED
    said = capsys.readouterr()
    assert "out: 23 answers: 15 named, 8 bad_photo; " in said.out
    assert said.out.endswith(" photos/s\n")
    assert said.err == (
        "8 of 23 photos were refused; their rows say why; 4 could not be had (4 missing): the same command asks for "
        "them again\n"
    )
    assert [path.name for path in sorted((lot / "out").iterdir())] == [
        "batch.json",
        *(f"part-0000{at}.parquet" for at in range(3)),
    ]
    table = read_parts(lot / "out")
    assert table.column("id").to_pylist() == [f"car {at}" for at in range(23)]
    assert table.slice(0, 5).column("label").to_pylist() == ["red", "green", "blue", None, None]
    assert [reason.partition(":")[0] for reason in table.slice(3, 2).column("reason").to_pylist()] == [
        "not_a_photo",
        "missing",
    ]
    photos = [str(lot / f"{name}.png") for name in ("red", "green", "blue")]
    assert main(["predict", str(lot / "tiny"), *photos, "-o", str(lot / "a.parquet")]) == 0
    predicted = pyarrow.parquet.read_table(lot / "a.parquet").to_pydict()
    batched = table.slice(0, 3).to_pydict()
    assert {**batched, "id": None} == {**predicted, "id": None}


def test_the_same_command_again_makes_what_is_missing_or_damaged(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lot, "out") == EXIT_SOME_REFUSED
    before = {path.name: path.read_bytes() for path in (lot / "out").iterdir()}
    changed = {path.name: path.stat().st_mtime_ns for path in (lot / "out").iterdir()}
    (lot / "out" / "part-00000.parquet").unlink()
    (lot / "out" / "part-00001.parquet").write_bytes(before["part-00001.parquet"][:-9])
    capsys.readouterr()
    assert run(lot, "out") == EXIT_SOME_REFUSED
    said = capsys.readouterr()
    assert "23 answers: 15 named, 8 bad_photo; " in said.out
    assert said.out.endswith(" photos/s, 3 were there\n")
    assert "part-00001.parquet is damaged" in said.err
    assert {path.name: path.read_bytes() for path in (lot / "out").iterdir()} == before
    assert (lot / "out" / "part-00002.parquet").stat().st_mtime_ns == changed["part-00002.parquet"]
    assert run(lot, "out") == EXIT_SOME_REFUSED
    assert capsys.readouterr().out.endswith(" photos/s, 19 were there\n")  # what is missing is asked for again
    assert run(lot, "out", "--gone") == EXIT_SOME_REFUSED
    said = capsys.readouterr()
    assert said.out.endswith("; all were there\n")
    assert said.err == "8 of 23 photos were refused; their rows say why\n"
    assert {path.name: path.read_bytes() for path in (lot / "out").iterdir()} == before


def test_another_model_manifest_or_setting_is_refused_by_what_differs(
    lot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(lot, "out")
    capsys.readouterr()
    write_tiny_bundle(lot / "other", ("a", "b", "c"))
    words = ["-o", str(lot / "out"), "--chunk", "10"]
    assert main(["batch", str(lot / "other"), str(lot / "m.parquet"), *words]) == EXIT_UNUSABLE
    assert "holds a batch with bundle " in capsys.readouterr().err
    assert run(lot, "out", "--tta", "2") == EXIT_UNUSABLE
    assert "tta 1, this one has 2" in capsys.readouterr().err
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "uri": ["b"]}), lot / "m.parquet")
    assert run(lot, "out") == EXIT_UNUSABLE
    assert "manifest" in capsys.readouterr().err


def test_wrong_places_are_one_line_each(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", str(lot / "nowhere"), str(lot / "m.parquet"), "-o", str(lot / "out")]) == EXIT_UNUSABLE
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a", "a"], "uri": ["b", ""]}), lot / "m.parquet")
    assert run(lot, "out") == EXIT_UNUSABLE
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert not (lot / "out").exists()


def test_a_table_of_answers_reads_as_any_table(lot: Path) -> None:
    run(lot, "out")
    assert read_table(lot / "out" / "part-00002.parquet").column("id") == ("car 20", "car 21", "car 22")


def test_photos_that_are_away_and_come_back(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a disk that is not mounted: no part, and the same command once they are there."""
    put_manifest(lot / "m.parquet", ["in/red.png"], 25)
    assert run(lot, "out") == EXIT_FAULT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "10 photos in a row up to car 9 could not be had (missing: there is no such file" in line
    assert list((lot / "out").glob("part-*")) == []
    (lot / "in").mkdir()
    (lot / "red.png").rename(lot / "in" / "red.png")
    assert run(lot, "out") == 0
    (lot / "in" / "red.png").unlink()
    assert run(lot, "gone", "--gone") == EXIT_SOME_REFUSED
    assert "25 bad_photo" in capsys.readouterr().out


def test_the_same_manifest_beside_other_photos_is_another_batch(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where its places are relative; where they are absolute the place of the manifest means nothing."""
    other = lot / "other"
    other.mkdir()
    for uris, code in ((["red.png"], EXIT_UNUSABLE), ([f"{lot}/red.png", f"file://{lot}/blue.png"], 0)):
        put_manifest(lot / "m.parquet", uris, 3)
        out = str(lot / f"out{code}")
        assert main(["batch", str(lot / "tiny"), str(lot / "m.parquet"), "-o", out]) == 0
        (other / "m.parquet").write_bytes((lot / "m.parquet").read_bytes())
        capsys.readouterr()
        assert main(["batch", str(lot / "tiny"), str(other / "m.parquet"), "-o", out]) == code
    assert "all were there" in capsys.readouterr().out


def test_a_part_that_was_made_elsewhere_is_not_believed(lot: Path) -> None:
    """An engine says that it is on disk; on this machine it is not."""
    order = place_order(lot / "tiny", lot / "m.parquet", lot / "out", chunk_rows=10)

    def elsewhere(order: Order, work: Mapping[int, int], progress: Progress) -> Iterator[int]:
        yield from work

    with pytest.raises(BatchError, match=r"made and is not here \(part-00000\.parquet is damaged \(FileNotFoundError"):
        carry_out(order, elsewhere)


# ---- photos that end a process --------------------------------------------------------------------------------------


def test_a_photo_that_ends_its_process_costs_its_own_row(
    lot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decoder that crashes, in a chunk of others."""
    monkeypatch.syspath_prepend(put_crashing_decoder(lot))
    put_manifest(lot / "m.parquet", ["red.png", "crash.bmp", "blue.png", "green.png"], 10)
    assert run(lot, "out") == EXIT_SOME_REFUSED
    table = read_parts(lot / "out")
    assert table.column("id").to_pylist() == [f"car {at}" for at in range(10)]
    labels = ["red", None, "blue", "green"]
    assert table.column("label").to_pylist() == [labels[at % 4] for at in range(10)]
    assert table.column("reason").to_pylist()[1].startswith("crashed: reading it ended a process 2 times")
    assert "3 could not be had (3 crashed)" in capsys.readouterr().err


def test_a_model_that_ends_every_process_is_one_line(
    lot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are its photos to blame."""
    order = place_order(lot / "tiny", lot / "m.parquet", lot / "out", chunk_rows=10)
    (lot / "lethal").mkdir()
    (lot / "lethal" / "onnxruntime.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.syspath_prepend(str(lot / "lethal"))
    with pytest.raises(BatchError, match=r"ended while it opened the model \(exit code -9\)"):
        carry_out(order, make_here)
    assert capsys.readouterr().err == ""
    assert order.parts.there() == []


def test_a_fault_of_the_child_is_told_as_it_is(lot: Path) -> None:
    order = place_order(lot / "tiny", lot / "m.parquet", lot / "out", chunk_rows=10)
    shutil.rmtree(lot / "tiny")
    with pytest.raises(BundleError, match="is no model folder"):
        carry_out(order, make_here)


# ---- kills ----------------------------------------------------------------------------------------------------------


ROWS = 400
PATIENCE = 600.0
"""Seconds; far more than it takes, for machines that do other work."""


def begin(lot: Path, out: str) -> subprocess.Popen[bytes]:
    """What it says goes to the file `said`."""
    command = [sys.executable, "-m", "carspotter", "batch", str(lot / "tiny"), str(lot / "m.parquet")]
    with (lot / "said").open("wb") as said:
        return subprocess.Popen([*command, "-o", str(lot / out), "--chunk", "20"], stdout=said, stderr=said)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_killed_in_mid_run_and_gone_on_with(tmp_path: Path, how: signal.Signals) -> None:
    """Each row exactly once, and the bytes of a run that nobody touched."""
    lot = put_lot(tmp_path, rows=ROWS, large=True)
    assert begin(lot, "whole").wait(timeout=PATIENCE) == EXIT_SOME_REFUSED
    kills = 0
    for parts in (2, 9):
        process = begin(lot, "out")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and len(list((lot / "out").glob("part-*"))) < parts:
            time.sleep(0.01)
        process.send_signal(how)
        code = process.wait(timeout=PATIENCE)
        kills += code in {-how, 128 + how}
    assert kills == 2
    code, said = begin(lot, "out").wait(timeout=PATIENCE), (lot / "said").read_text()
    assert code == EXIT_SOME_REFUSED, said
    assert "were there" in said
    assert read_parts(lot / "out").column("id").to_pylist() == [f"car {at}" for at in range(ROWS)]
    whole, again = ({path.name: path.read_bytes() for path in (lot / out).glob("[!.]*")} for out in ("whole", "out"))
    assert again == whole
