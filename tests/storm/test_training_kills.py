"""`kill -9` at any moment of a training, and `train --resume` each time: the weights that nobody disturbed."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from tests.storm.harness import Child, Driver

from carspotter.records import Dataset, Run
from carspotter.tracking.runs import open_store
from helpers.storms import Storm, hardness

pytestmark = [pytest.mark.storm, pytest.mark.slow, pytest.mark.usefixtures("runs_db")]


class Training:
    """One training, begun and taken up again as often as it takes.

    Attributes:
        kills: that struck it.
    """

    def __init__(self, driver: Driver, out: Path, *words: object) -> None:
        self._driver = driver
        self._known = {run.id for run in open_store().list()}
        self._out = out
        driver.steps.unlink(missing_ok=True)
        self._words = ["train", *words, "-o", out]
        self.kills = 0

    def run(self) -> Run | None:
        """What the store says of it; None before it was born."""
        return next((run for run in open_store().list() if run.id not in self._known), None)

    def begin(self) -> Child:
        """A process that trains, from where the last one was stopped."""
        born = self.run()
        return self._driver.begin("train", *(["train", "--resume", born.id[:8]] if born else self._words))

    def go_on(self, seconds: float) -> bool:
        """Let it train for some seconds, then kill it; whether it has ended before."""
        child = self.begin()
        child.work_for(seconds)
        child.kill()
        self.kills += child.wait() == -signal.SIGKILL
        return self._finished()

    def end(self) -> str | None:
        """Let it train to its end; what went wrong, if anything did."""
        code = 0 if self._finished() else self.begin().wait()
        if code:
            return f"exit code {code}: {self._driver.said.read_text()}"
        return lost_step(self._driver.steps.read_text().splitlines())

    def _finished(self) -> bool:
        run = self.run()
        return run is not None and run.status == "finished"


def test_any_moment_of_a_training(
    lot: Dataset, tmp_path: Path, recipe_file: Path, driver: Driver, storm: Storm
) -> None:
    chance, source = random.Random(3), tmp_path / "lot"  # noqa: S311
    words = (source, "--recipe", recipe_file)
    whole, seconds = undisturbed(driver, tmp_path, *words)
    with storm("kill -9 of a training, then --resume") as tally:
        while tally.injected < hardness():
            training = Training(driver, tmp_path / f"m{tally.injected}", *words)
            while tally.injected + training.kills < hardness() and not training.go_on(chance.uniform(0, seconds)):
                pass
            if not training.kills:  # the machine was busier when nobody disturbed it
                seconds /= 2
            tally.count(training.end() or difference(training.run(), whole), training.kills)


def lost_step(said: list[str]) -> str | None:
    """A sentence where a resume began before a checkpoint that was acknowledged until then; see `driver.py`."""
    newest: list[int] = []
    for word, where in (line.split(" ", 1) for line in said):
        stands = json.loads(where)
        if word == "found" and stands < newest:
            return f"the training stood at {newest} (stage, epoch, step) and was taken up at {stands}"
        newest = max(newest, stands)
    return None


def test_a_lost_checkpoint_is_noticed() -> None:
    kept = ["kept [0, 0, 1]", "kept [0, 1, 0]", "kept [1, 0, 0]"]
    assert lost_step(["found []", *kept, "found [1, 0, 0]", "kept [1, 0, 1]"]) is None
    assert lost_step([*kept, "found [0, 1, 0]"]) == (
        "the training stood at [1, 0, 0] (stage, epoch, step) and was taken up at [0, 1, 0]"
    )
    assert lost_step([*kept, "found []"])


def undisturbed(driver: Driver, folder: Path, *words: object) -> tuple[Run, float]:
    """The training that nobody kills, and how long it takes."""
    training, began = Training(driver, folder / "whole", *words), time.monotonic()
    assert training.end() is None
    assert "kept [1, 0, 0]" in driver.steps.read_text().splitlines()  # whoever acknowledges nothing loses nothing
    run = training.run()
    assert run is not None
    return run, time.monotonic() - began


def difference(run: Run | None, whole: Run) -> str | None:
    """What tells a training that was killed from the one that was not; None where nothing does."""
    if run is None:
        return "the run is gone"
    fields = ("stage", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    ours, theirs = ([[getattr(r, f) for f in fields] for r in one.history] for one in (run, whole))
    if (run.status, run.bundle_hash) != ("finished", whole.bundle_hash):
        return f"run {run.id} is {run.status} with other weights: {run.bundle_hash}, not {whole.bundle_hash}"
    return None if ours == theirs else f"run {run.id} tells of other epochs"
