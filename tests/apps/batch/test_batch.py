"""`batch` through the real entry, on the local engine: parts, going on, kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from carspotter.apps.cli import main
from carspotter.data.table import read_table
from carspotter.errors import EXIT_SOME_REFUSED, EXIT_UNUSABLE
from helpers.lots import put_lot, read_parts
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
    assert said.err == "8 of 23 photos were refused; their rows say why\n"
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
    assert capsys.readouterr().out.endswith("; all were there\n")


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
