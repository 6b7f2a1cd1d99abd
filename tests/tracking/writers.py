"""Writers of runs in processes of their own: `python writers.py WHAT NUMBER`.

race    NUMBER processes write five runs each, all at once
killed  writes NUMBER epochs, says so, and waits to be killed
kill9   three processes write three runs each beside a fourth that is killed at random moments, four times; NUMBER seeds
        the moments. Says `ID EPOCH` for every epoch and `ID` for every run that was acknowledged
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable

from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, EpochRecord, Photo
from carspotter.tracking.runs import open_store

RECIPE = Recipe(name="writer", stage=(Stage(name="head", epochs=2, height=64, width=64, lr=0.01),))
DATASET = Dataset(
    photos=(Photo("1.jpg", b"", label="a", digest="0" * 64), Photo("2.jpg", b"", label="b", digest="1" * 64)),
    classes=("a", "b"),
)


def epoch(number: int) -> EpochRecord:
    return EpochRecord(stage="head", epoch=number, lr=0.01, train_loss=1.0, train_accuracy=0.5, seconds=1.0)


def write_five() -> None:
    for _ in range(5):
        with open_store().start(RECIPE, DATASET) as run:
            for number in range(3):
                run.epoch(epoch(number))
            run.finish()
        os.write(1, f"{run.id}\n".encode())  # acknowledged; one call, so lines of three processes never mix


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child


def worst_exit(children: list[int]) -> int:
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def race(processes: int) -> None:
    sys.exit(worst_exit([forked(write_five) for _ in range(processes)]))


def write_telling() -> None:
    for _ in range(3):
        with open_store().start(RECIPE, DATASET) as run:
            for number in range(3):
                run.epoch(epoch(number))
                os.write(1, f"{run.id} {number}\n".encode())
            run.finish()
        os.write(1, f"{run.id}\n".encode())


def kill9(seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311
    steady = [forked(write_telling) for _ in range(3)]
    for _ in range(4):
        victim = forked(write_telling)
        time.sleep(moments.uniform(0.05, 0.6))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    sys.exit(worst_exit(steady))


def killed(epochs: int) -> None:
    with open_store().start(RECIPE, DATASET) as run:
        for number in range(epochs):
            run.epoch(epoch(number))
        os.write(1, f"{run.id}\n".encode())
        time.sleep(60)


if __name__ == "__main__":
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - once, before the fork

    {"race": race, "killed": killed, "kill9": kill9}[sys.argv[1]](int(sys.argv[2]))
