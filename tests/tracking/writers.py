"""Writers of runs in processes of their own: `python writers.py WHAT NUMBER`.

race    NUMBER processes write five runs each, all at once
killed  writes NUMBER epochs, says so, and waits to be killed
"""

from __future__ import annotations

import os
import sys
import time

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


def race(processes: int) -> None:
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            write_five()
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


def killed(epochs: int) -> None:
    with open_store().start(RECIPE, DATASET) as run:
        for number in range(epochs):
            run.epoch(epoch(number))
        os.write(1, f"{run.id}\n".encode())
        time.sleep(60)


if __name__ == "__main__":
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - once, before the fork

    {"race": race, "killed": killed}[sys.argv[1]](int(sys.argv[2]))
