"""Two processes take up one run at the same moment: one goes on, the other says so in a line and touches nothing."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest
from tests.storm.harness import Driver, is_clear
from tests.storm.test_training_kills import difference, undisturbed

from carspotter.errors import EXIT_UNUSABLE
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from helpers.storms import Storm, hardness

pytestmark = [pytest.mark.storm, pytest.mark.slow, pytest.mark.usefixtures("runs_db")]
LATE = r"another process is at work|is under way in another process|has finished and is never edited"


def test_two_trainers_on_one_run(
    lot: Dataset, tmp_path: Path, recipe_file: Path, driver: Driver, second: Driver, storm: Storm
) -> None:
    chance, words = random.Random(5), (tmp_path / "lot", "--recipe", recipe_file)  # noqa: S311
    whole, seconds = undisturbed(driver, tmp_path, *words)
    with storm("two trainers take up one run at once") as tally:
        for number in range(max(2, hardness() // 10)):
            run_id = interrupted(driver, chance.uniform(0.3, 0.9) * seconds, *words, "-o", tmp_path / f"m{number}")
            trainers = [one.begin("train", "train", "--resume", run_id[:8]) for one in (driver, second)]
            codes = [trainer.wait() for trainer in trainers]
            said = [one.said.read_text() for one in (driver, second)]
            tally.count(wrong(codes, said) or difference(open_store().get(run_id), whole))


def interrupted(driver: Driver, seconds: float, *words: object) -> str:
    """A run that was stopped on its way; begun anew, and sooner stopped, where it had ended by then."""
    known = {run.id for run in open_store().list()}
    child = driver.begin("train", "train", *words)
    until = time.monotonic() + seconds
    while time.monotonic() < until or not born(known):
        time.sleep(0.02)
    child.kill(signal.SIGTERM)
    child.wait()
    (run,) = (run for run in open_store().list() if run.id not in known)
    if run.status == "finished":
        return interrupted(driver, seconds / 2, *words)
    return run.id


def born(known: set[str]) -> bool:
    return any(run.id not in known for run in open_store().list())


def wrong(codes: list[int], said: list[str]) -> str | None:
    """What does not fit: one of the two must have gone on, and the other have said why it did not."""
    if sorted(codes) != [0, EXIT_UNUSABLE]:
        return f"exit codes {codes}: {said}"
    loser = said[codes.index(EXIT_UNUSABLE)]
    return None if is_clear(loser) and re.search(LATE, loser) else f"no clear line: {loser}"
