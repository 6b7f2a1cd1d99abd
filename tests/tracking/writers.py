"""Writers of runs in processes of their own: `python writers.py WHAT NUMBER`.

race    NUMBER processes write five runs each, all at once
first   NUMBER processes open the database at the same moment and write a run each
studies NUMBER processes open the study database of $STUDIES at the same moment and end one trial each
killed  writes NUMBER epochs, says so, and waits to be killed
kill9   three processes write runs beside a fourth that is killed at random moments, NUMBER times. Says `ID EPOCH` for
        every epoch and `ID` for every run that was acknowledged
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, EpochRecord, Photo
from carspotter.tracking.runs import open_store

PATIENCE = 240.0  # seconds; tables are made in two, on an idle machine
MORE_THAN_TIME_ALLOWS = 1000
"""Runs that a writer is to write until it is killed."""
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
    """Of those that did not end well, a signal's number negative; else 0."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return next(filter(None, codes), 0)


def race(processes: int) -> None:
    sys.exit(worst_exit([forked(write_five) for _ in range(processes)]))


def at_one_moment(processes: int, work: Callable[[int], None]) -> None:
    moment = multiprocessing.get_context("fork").Barrier(processes)

    def waiting(number: int) -> None:
        moment.wait()
        work(number)

    sys.exit(worst_exit([forked(partial(waiting, number)) for number in range(processes)]))


def first(processes: int) -> None:
    at_one_moment(processes, write_one)


def write_one(_: int) -> None:
    with open_store(patience=PATIENCE).start(RECIPE, DATASET) as run:
        run.epoch(epoch(0))
        run.finish()
    os.write(1, f"{run.id}\n".encode())


def studies(processes: int) -> None:
    import optuna.storages  # noqa: F401 - once, before the fork

    from carspotter.training import storage, study
    from carspotter.training.space import Axis, Space

    storage.PATIENCE = PATIENCE
    space = Space("s", "", "fast", (), (Axis("stage.0.lr", low=0.1, high=1.0),))

    def search(number: int) -> None:
        with study.open_study(f"s{number}", space, {}, by="log_loss", seed=0, storage=os.environ["STUDIES"]) as opened:
            opened.finish(opened.ask({}).number, 1.0, {})
            ends = [trial.state for trial in opened.tried()]
        os.write(1, f"s{number} {','.join(ends)}\n".encode())

    at_one_moment(processes, search)


def write_telling(runs: int = 3) -> None:
    for _ in range(runs):
        with open_store().start(RECIPE, DATASET) as run:
            for number in range(3):
                run.epoch(epoch(number))
                os.write(1, f"{run.id} {number}\n".encode())
            run.finish()
        os.write(1, f"{run.id}\n".encode())


def kill9(kills: int) -> None:
    moments = random.Random(kills)  # noqa: S311
    steady = [forked(partial(write_telling, kills)) for _ in range(3)]
    for _ in range(kills):
        victim = forked(partial(write_telling, MORE_THAN_TIME_ALLOWS))
        time.sleep(moments.uniform(0.05, 0.6))
        os.kill(victim, signal.SIGKILL)
        if (code := worst_exit([victim])) != -signal.SIGKILL:
            sys.exit(f"a writer ended by itself, with {code}, before it was killed")
    sys.exit(worst_exit(steady))


def killed(epochs: int) -> None:
    with open_store().start(RECIPE, DATASET) as run:
        for number in range(epochs):
            run.epoch(epoch(number))
        os.write(1, f"{run.id}\n".encode())
        time.sleep(60)


if __name__ == "__main__":
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - once, before the fork

    kinds = {"race": race, "first": first, "studies": studies, "killed": killed, "kill9": kill9}
    kinds[sys.argv[1]](int(sys.argv[2]))
