"""Interrupted at the command line, and what a resumed or repeated run reads again. `kill -9`: tests/storm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.training.test_resume import RECIPE

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.errors import EXIT_INTERRUPTED, EXIT_UNUSABLE
from carspotter.records import Dataset
from carspotter.tracking.decisions import COLUMNS
from carspotter.tracking.runs import open_store

DRIVER = Path(__file__).with_name("killed.py")

pytestmark = pytest.mark.usefixtures("runs_db")


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    return path


def begin(folder: Path, *words: str | Path) -> subprocess.Popen[bytes]:
    with (folder / "said").open("wb") as said:
        return subprocess.Popen([sys.executable, DRIVER, *map(str, words)], stderr=said)


def await_steps(folder: Path, seconds: float) -> None:
    """Wait until a new checkpoint is there, and a while longer."""

    def checkpoints() -> set[Path]:
        return set(folder.rglob("checkpoints/*.safetensors"))

    before, until = checkpoints(), time.monotonic() + 120
    while time.monotonic() < until and checkpoints() <= before:
        time.sleep(0.02)
    time.sleep(seconds)


@pytest.mark.slow
def test_ctrl_c_leaves_one_line_that_goes_on(lot: Dataset, tmp_path: Path, recipe_file: Path) -> None:
    process = begin(tmp_path, "train", tmp_path / "lot", "--recipe", recipe_file, "-o", tmp_path / "m")
    await_steps(tmp_path, 0)
    os.kill(process.pid, signal.SIGINT)
    code, said = process.wait(), (tmp_path / "said").read_text()
    assert code == EXIT_INTERRUPTED, said
    command = re.search(r"go on with: carspotter (train --resume [0-9a-f]{8})\n", said)
    assert command is not None, said
    assert "Traceback" not in said
    assert main(command[1].split()) == 0
    assert open_store().list()[0].status == "finished"


def test_what_cannot_go_on_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "nowhere"]) == EXIT_UNUSABLE
    assert "there is no run 'nowhere'" in capsys.readouterr().err
    assert main(["train"]) == EXIT_UNUSABLE
    assert "name a source, or a run by --resume" in capsys.readouterr().err
    assert main(["train", "--resume", "x", "--extra", "y"]) == EXIT_UNUSABLE
    assert "leave them out" in capsys.readouterr().err


def test_a_rerun_reads_as_the_run_did_and_notices_other_photos(
    lot: Dataset, tmp_path: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with its own column names, and a relative path: nothing of it must be said again."""
    rows = [f"{photo.id};{photo.label}" for photo in lot.photos]
    (tmp_path / "cars.csv").write_text("\n".join(["which;what", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    decided = f"{','.join(COLUMNS[:-1])}\n{lot.photos[7].id},outlier,drop,,ann,2026-11-22,\n"
    (tmp_path / "decisions.csv").write_text(decided, encoding="utf-8")
    table = ["cars.csv", "--photos", "lot", "--id-column", "which", "--label-column", "what"]
    table += ["--decisions", "decisions.csv"]
    assert main(["train", *table, "--recipe", str(recipe_file), "--set", "stage.2.epochs=0", "-o", "m"]) == 0
    monkeypatch.chdir("/")
    (run,) = open_store().list()
    assert run.birth is not None
    assert run.birth.source is not None
    assert run.birth.source.label_column == "what"
    assert run.birth.source.decisions == str(tmp_path / "decisions.csv")
    assert run.photos == len(lot.photos) - 1
    (tmp_path / "decisions.csv").write_text(decided.replace("drop", "keep"), encoding="utf-8")
    assert main(["runs", "rerun", run.id[:8]]) == EXIT_UNUSABLE
    assert f"{run.photos} photos then" in capsys.readouterr().err
    (tmp_path / "decisions.csv").write_text(decided, encoding="utf-8")
    (tmp_path / "lot" / "red" / "3.png").write_bytes((tmp_path / "lot" / "red" / "4.png").read_bytes())
    capsys.readouterr()
    assert main(["runs", "rerun", run.id[:8]]) == EXIT_UNUSABLE
    assert "cannot be repeated, its photos or labels changed" in capsys.readouterr().err
    assert open_store().list() == (run,)
