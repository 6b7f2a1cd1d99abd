"""The disk cannot be read (EIO): a photo costs its own row, a model folder is refused; the rest goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.storm.harness import carspotter, is_clear, need

from carspotter.data.table import read_table
from carspotter.errors import EXIT_SOME_REFUSED, EXIT_UNUSABLE, Reason
from carspotter.records import Dataset
from helpers.storms import Storm
from helpers.tiny import COLOURS, colour_photo, write_tiny_bundle

pytestmark = [pytest.mark.storm, pytest.mark.slow]


def failing(path: Path, calls: str) -> list[str]:
    """The words before a command for which these calls fail on this file."""
    return [need("strace"), "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"inject={calls}:error=EIO"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, one of each colour."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for at, name in enumerate(COLOURS):
        (folder / f"{name}.png").write_bytes(colour_photo(*(250 if at == i else 5 for i in range(3))))
    return folder


@pytest.fixture(autouse=True)
def _may_trace() -> None:
    done = subprocess.run([need("strace"), "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.decode().strip()}")


def test_a_photo_that_cannot_be_read(photos: Path, tmp_path: Path, storm: Storm) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    with storm("EIO on reading a photo") as tally:
        for calls in ("openat", "read"):
            answers = tmp_path / f"{calls}.csv"
            done = carspotter("predict", model, photos, "-o", answers, before=failing(photos / "red.png", calls))
            rows = {row[0]: row for row in read_table(answers).rows}
            sound = (
                done.returncode == EXIT_SOME_REFUSED
                and {name: row[1] for name, row in rows.items()}
                == {"red.png": "bad_photo", "green.png": "named", "blue.png": "named"}
                and Reason.UNREACHABLE in " ".join(rows["red.png"])
                and is_clear(done.stderr)
            )
            tally.count(None if sound else f"{calls}: {done.returncode} {rows} {done.stderr}")


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "model.safetensors"])
def test_a_model_that_cannot_be_read(name: str, photos: Path, tmp_path: Path, storm: Storm) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    with storm(f"EIO on reading {name}") as tally:
        for calls in ("openat", "read"):
            answers = tmp_path / f"{calls}.csv"
            done = carspotter("predict", model, photos, "-o", answers, before=failing(model / name, calls))
            sound = done.returncode == EXIT_UNUSABLE and name in done.stderr and "Input/output" in done.stderr
            sound = sound and is_clear(done.stderr) and not answers.exists()
            tally.count(None if sound else f"{calls}: exit code {done.returncode}: {done.stderr}")


@pytest.mark.usefixtures("runs_db")
def test_a_training_with_a_photo_that_cannot_be_read(
    lot: Dataset, tmp_path: Path, recipe_file: Path, storm: Storm
) -> None:
    """It is left out and named; with --strict nothing is trained."""
    victim = tmp_path / "lot" / "red" / "3.png"
    words = ["train", tmp_path / "lot", "--recipe", recipe_file, "-o", tmp_path / "m"]
    with storm("EIO on reading a photo that should train") as tally:
        for more, code in (((), EXIT_SOME_REFUSED), (("--strict",), EXIT_UNUSABLE)):
            done = carspotter(*words, *more, before=failing(victim, "read"))
            sound = done.returncode == code and "red/3.png" in done.stderr and is_clear(done.stderr)
            tally.count(None if sound else f"{more}: exit code {done.returncode}: {done.stderr}")
