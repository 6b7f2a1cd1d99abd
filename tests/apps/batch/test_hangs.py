"""`batch` of photos that hang: on a disk that never answers, in a decoder that never comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carspotter.apps.batch import answerer
from carspotter.apps.cli import main
from carspotter.errors import EXIT_FAULT, EXIT_SOME_REFUSED
from helpers.absent import absent
from helpers.hanging import hanging_disk, silent_server
from helpers.lots import put_hanging_decoder, put_lot, put_manifest, read_parts

PATIENCE = 2
"""Seconds; a busy machine has long read every other photo by then."""
LATE = f"timeout: reading it took longer than {PATIENCE} s; check its disk, or ask again later"


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    return put_lot(tmp_path, rows=5)


def words(lot: Path, out: str, *more: str) -> list[str]:
    places = [str(lot / "tiny"), str(lot / "m.parquet"), "-o", str(lot / out)]
    return ["batch", *places, "--patience", str(PATIENCE), *more]


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.mark.slow
def test_a_disk_that_hangs_costs_its_own_photos(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once it answers the same command ends in the bytes of a batch that never met it."""
    put_manifest(lot / "m.parquet", ["red.png", "away/a.png", "blue.png", "away/lot.zip!b.png", "green.png"], 25)
    with hanging_disk(lot / "away"):
        assert main(words(lot, "out", "--chunk", "10")) == EXIT_SOME_REFUSED
    assert "10 could not be had (10 timeout): the same command asks for them again" in capsys.readouterr().err
    table = read_parts(lot / "out")
    assert table.column("label").to_pylist() == ["red", None, "blue", None, "green"] * 5
    assert {reason for reason in table.column("reason").to_pylist() if reason} == {LATE}
    (lot / "away" / "a.png").write_bytes((lot / "green.png").read_bytes())
    assert main(words(lot, "out", "--chunk", "10")) == EXIT_SOME_REFUSED  # there is no such zip
    assert main(words(lot, "whole", "--chunk", "10")) == EXIT_SOME_REFUSED
    assert parts(lot / "out") == parts(lot / "whole")


def test_where_all_photos_hang_the_batch_stops_soon(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_manifest(lot / "m.parquet", ["away/a.png"], 200)
    began = time.monotonic()
    with hanging_disk(lot / "away"):
        assert main(words(lot, "out")) == EXIT_FAULT
    assert time.monotonic() - began < 60  # not 200 times the patience
    assert f"32 photos in a row up to car 31 could not be had ({LATE})" in capsys.readouterr().err
    assert list((lot / "out").glob("part-*")) == []


@pytest.mark.slow
def test_a_decoder_that_never_comes_back_costs_its_own_photo(
    lot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answerer, "WORK_SECONDS", 10.0)  # which a busy machine needs for the others
    monkeypatch.syspath_prepend(put_hanging_decoder(lot))
    put_manifest(lot / "m.parquet", ["red.png", "hang.bmp", "blue.png", "green.png"], 4)
    assert main(words(lot, "out")) == EXIT_SOME_REFUSED
    table = read_parts(lot / "out")
    assert table.column("label").to_pylist() == ["red", None, "blue", "green"]
    assert table.column("reason").to_pylist()[1] == (
        "timeout: the process that was to answer fell silent for 12 s; ask again, or leave it out"
    )
    assert "1 could not be had (1 timeout)" in capsys.readouterr().err


@pytest.fixture
def unkillable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a kill only stops, as one that hangs inside the system; those that were killed so."""
    killed: list[subprocess.Popen[bytes]] = []

    def stop(process: subprocess.Popen[bytes]) -> None:
        killed.append(process)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped

    monkeypatch.setattr(subprocess.Popen, "kill", stop)
    monkeypatch.setattr(answerer, "END_SECONDS", 0.2)
    monkeypatch.setattr(answerer, "LEFT", 2)
    yield killed
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_processes_that_nothing_ends_are_left_and_counted(
    lot: Path, unkillable: list[subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    with silent_server() as address:
        put_manifest(lot / "m.parquet", ["red.png", f"{address}/a.png"], 10)
        assert main(words(lot, "out", "--chunk", "2")) == EXIT_FAULT
    assert "2 processes that answered hang inside the system, and cannot be ended" in capsys.readouterr().err
    assert len(unkillable) == 2
    assert read_parts(lot / "out").column("label").to_pylist() == ["red", None] * 2


@pytest.mark.slow
def test_both_engines_say_the_same_of_what_hangs(lot: Path) -> None:
    if subprocess.run([sys.executable, "-c", "import ray.data"], check=False, capture_output=True).returncode:
        absent("no Ray; pip install 'carspotter[ray]'", "CARSPOTTER_REQUIRE_SERVERS")
    put_manifest(lot / "m.parquet", ["red.png", "away/a.png", "blue.png"], 15)
    with hanging_disk(lot / "away"):
        assert main(words(lot, "local", "--chunk", "5")) == EXIT_SOME_REFUSED
        ray = [sys.executable, "-m", "carspotter", *words(lot, "ray", "--chunk", "5"), "--ray", "local"]
        done = subprocess.run(ray, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == EXIT_SOME_REFUSED, done.stderr
    assert read_parts(lot / "local").column("reason").to_pylist().count(LATE) == 5
    assert parts(lot / "ray") == parts(lot / "local")
