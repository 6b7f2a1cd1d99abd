"""`kill -9` of a process that writes runs beside three others: every acknowledged row is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.tracking.test_mirror import status, steps

from carspotter.tracking.runs import open_store
from helpers.storms import Storm, hardness

WRITERS = Path(__file__).parents[1] / "tracking" / "writers.py"

pytestmark = [pytest.mark.storm, pytest.mark.slow]


def test_any_moment_of_a_writer(runs_db: Path, storm: Storm) -> None:
    kills = hardness()
    with storm("kill -9 of one of four writers of runs") as tally:
        done = subprocess.run(
            [sys.executable, str(WRITERS), "kill9", str(kills)],
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        lost = missing([line.split() for line in done.stdout.splitlines()], runs_db)
        tally.count(lost[0] if lost else None, kills)


def missing(said: list[list[str]], runs_db: Path) -> list[str]:
    """Sentences on what was acknowledged and is not there; `said` are ids of runs, with a number those of epochs."""
    store = open_store()
    runs = {run.id: run for run in store.list()}
    assert {run.status for run in runs.values()} <= {"finished", "interrupted"}
    lost = [f"epoch {words} is lost" for words in said if words[0] not in runs]
    # A writer killed before its run was on disk leaves a sentence, never an acknowledged run.
    lost += [sentence for sentence in store.damaged() if any(words[0] in sentence for words in said)]
    for run_id, *number in (words for words in said if words[0] in runs):
        run = runs[run_id]
        there = int(number[0]) in [r.epoch for r in run.history] if number else run.status == "finished"
        lost += [] if there else [f"run {run_id}, {number} was acknowledged and is not there"]
    for run in runs.values():
        mirrored = steps(runs_db, run.id), status(runs_db, run.id)
        expected = list(range(len(run.history))), {"finished": "FINISHED", "interrupted": "KILLED"}[run.status]
        lost += [] if mirrored == expected else [f"MLflow has {mirrored} of run {run.id}, expected {expected}"]
    return lost
