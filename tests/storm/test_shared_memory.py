"""Shared memory has no room left, as in a small container: training, prediction and sweeps do without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.storm.harness import carspotter, need

from carspotter.data.table import read_table
from carspotter.records import Dataset
from helpers.colours import RECIPE, write_colours
from helpers.storms import Storm
from helpers.tiny import colour_photo, write_tiny_bundle

pytestmark = [pytest.mark.storm, pytest.mark.slow, pytest.mark.usefixtures("runs_db")]
FULL = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero >/dev/shm/filler && exec "$@"'


@pytest.fixture
def full() -> list[str]:
    """The words before a command that sees a full /dev/shm of its own."""
    words = [need("unshare"), "--mount", "sh", "-c", FULL, "sh"]
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no /dev/shm of its own can be had here: {done.stderr.strip()}")
    return words


def test_a_training_in_two_shards(
    lot: Dataset, tmp_path: Path, recipe_file: Path, full: list[str], storm: Storm
) -> None:
    words = ["train", tmp_path / "lot", "--recipe", recipe_file, "-o", tmp_path / "m", "--set", "threads=2"]
    with storm("full /dev/shm: a training in two threads") as tally:
        done = carspotter(*words, before=full)
        tally.count(None if done.returncode == 0 else done.stderr)


def test_a_sweep_in_processes_of_its_own(tmp_path: Path, full: list[str], storm: Storm) -> None:
    (tmp_path / "base.toml").write_text(RECIPE, encoding="utf-8")
    axis = '[axes]\n"stage.0.lr" = { low = 5e-3, high = 2e-2 }\n'
    (tmp_path / "space.toml").write_text(f'recipe = "{tmp_path / "base.toml"}"\n{axis}', encoding="utf-8")
    words = ["sweep", write_colours(tmp_path / "colours"), "--space", tmp_path / "space.toml", "--trials", "1"]
    with storm("full /dev/shm: a sweep, whose trials are processes") as tally:
        done = carspotter(*words, before=full)
        tally.count(None if done.returncode == 0 else done.stderr)


def test_a_prediction(tmp_path: Path, full: list[str], storm: Storm) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    (tmp_path / "photo.png").write_bytes(colour_photo(250, 5, 5))
    with storm("full /dev/shm: a prediction") as tally:
        done = carspotter("predict", model, tmp_path / "photo.png", "-o", tmp_path / "a.csv", before=full)
        right = done.returncode == 0 and read_table(tmp_path / "a.csv").rows[0][2] == "red"
        tally.count(None if right else done.stderr)
