"""A disk of one megabyte fills up: a clear line, the older version whole, and on it goes once there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storm.harness import carspotter, fill, is_clear, memory_disk
from tests.storm.saves import DATASET, RECIPE, SAVES, checkpoint, epoch

from carspotter.data.table import read_table, write_table
from carspotter.errors import EXIT_UNUSABLE, CarspotterError, SourceError
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training.checkpoint import Checkpoints
from helpers.storms import Storm, hardness

pytestmark = [pytest.mark.storm, pytest.mark.slow]
FULL = "No space left on device"
LARGE = 60_000
"""Values of a checkpoint: 240 KB, of which the disk takes two whole ones and the beginning of a further two."""


@pytest.fixture
def disk(tmp_path: Path) -> object:
    with memory_disk(tmp_path / "small", "1m") as place:
        yield place


@pytest.mark.parametrize("kind", SAVES)
def test_saves_on_a_full_disk(kind: str, disk: Path, storm: Storm) -> None:
    save, newest = SAVES[kind].begin(disk), SAVES[kind].newest
    save(0)
    version = 0
    with storm(f"disk full, 1 MB: a {kind}'s save") as tally:
        for _ in range(hardness()):
            filler = fill(disk)
            while not (said := refusal(save, version + 1)):
                version += 1  # what fits into the rest of a page is kept
            there = newest(disk)
            filler.unlink()
            save(version + 1)
            sound = (there, newest(disk)) == (version, version + 1) and FULL in said and "\n" not in said
            tally.count(None if sound else f"version {there} after {said!r}, expected {version}")
            version += 1


def refusal(save: Callable[[int], object], number: int) -> str:
    """What a save that is refused says, or nothing."""
    try:
        save(number)
    except CarspotterError as fault:
        return str(fault)
    return ""


def test_a_disk_that_fills_while_a_checkpoint_is_written(disk: Path, storm: Storm) -> None:
    """Half of it is on the disk when there is no more room."""
    files = Checkpoints(disk, print)
    files.write(checkpoint(0, LARGE))
    (disk / "other").write_bytes(bytes(600_000))
    with storm("disk full, 1 MB: in the middle of a checkpoint") as tally:
        for number in range(1, hardness() + 1):
            with pytest.raises(SourceError, match=FULL):
                files.write(checkpoint(number, LARGE))
            found = files.newest()
            whole = found is not None and found.facts["number"] == 0
            left = sorted(path.name for path in files.folder.iterdir())
            tally.count(None if whole and len(left) == 1 else f"after fault {number} there is {left}")


def test_a_disk_that_fills_with_runs(disk: Path, template: Path, storm: Storm) -> None:
    """Row after row until the disk is full; what was acknowledged can be read, with room and without."""
    (disk / "runs.db").write_bytes(template.read_bytes())
    store = open_store(f"sqlite:///{disk / 'runs.db'}")
    with storm("disk full, 1 MB: rows of runs") as tally:
        run = store.start(RECIPE, DATASET)
        rows = 0
        filler = fill(disk)
        with pytest.raises(CarspotterError) as refused:  # noqa: PT012 - which row is the first is the disk's affair
            for _ in range(10_000):
                run.epoch(epoch(rows))
                rows += 1
        full = len(store.get(run.id).history)
        filler.unlink()
        run.epoch(epoch(rows))
        ended = run.finish()
        sound = is_clear(str(refused.value)) and full == rows and len(ended.history) == rows + 1
        tally.count(None if sound else f"{rows} rows were acknowledged, {full} are there: {refused.value}")


def test_a_table_on_a_full_disk(disk: Path, storm: Storm) -> None:
    path = disk / "answers.csv"
    write_table(path, ("id",), [("old",)])
    with storm("disk full, 1 MB: a table of answers") as tally:
        fill(disk)
        for ending in (".csv", ".jsonl", ".parquet"):
            with pytest.raises(SourceError, match=FULL):
                write_table(path.with_suffix(ending), ("id",), [("new",)] * 100_000)
            kept = read_table(path).rows == (("old",),)
            left = sorted(entry.name for entry in disk.iterdir())
            tally.count(None if kept and left == ["answers.csv", "filler"] else f"{ending}: there is {left}")


@pytest.mark.usefixtures("runs_db")
def test_a_training_whose_model_does_not_fit(
    lot: Dataset, disk: Path, tmp_path: Path, recipe_file: Path, storm: Storm
) -> None:
    """It ends with a line and can be taken up with another disk in its place."""
    model = disk / "m"
    (disk / "other").write_bytes(bytes(700_000))
    done = carspotter("train", tmp_path / "lot", "--recipe", recipe_file, "-o", model)
    with storm("disk full, 1 MB: the model of a training") as tally:
        (run,) = open_store().list()
        sound = done.returncode == EXIT_UNUSABLE and FULL in done.stderr and is_clear(done.stderr)
        with memory_disk(disk, "64m"):
            again = carspotter("train", "--resume", run.id[:8])
            sound = sound and again.returncode == 0 and open_store().get(run.id).status == "finished"
        tally.count(None if sound else f"{done.stderr}\n{again.stderr}")
