"""One process that trains trials on order and tells how they go; it knows neither the study nor the other processes."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from carspotter.data.scan import Scan
from carspotter.errors import EXIT_TERMINATED, CarspotterError, ManyProblems, TrainingError, TrainingStopped
from carspotter.recipe import Recipe
from carspotter.records import EpochRecord, Run

TENTHS = 10
FIRST_TENTH = 3
"""Of a stage's epochs before a trial is compared with others: before, it says little (assumption)."""


@dataclass(frozen=True, slots=True)
class Order:
    """A trial to train.

    Attributes:
        recipe: with its threads.
        judged: names of the stages on whose way it may be given up.
    """

    recipe: Recipe
    judged: frozenset[str]


@dataclass(frozen=True, slots=True)
class Milestone:
    """A trial on its way; the answer is a bool: whether to give up.

    Attributes:
        step: grows within a trial, and means the same share of the same stage in every trial: rates that fall along a
            schedule are then equally far down, however many epochs a trial has.
        log_loss: on the held-out photos.
        accuracy: on the held-out photos.
    """

    step: int
    log_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Looking:
    """The frozen backbone is run: no stored features fit this trial.

    Attributes:
        done: photos and views.
        total: of them.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        end: `finished`; `pruned`: given up; `diverged`: it could not go on; `refused`: the source, the store or the
            network cannot be used, so no other trial will fare better; `fault`: ours.
        seconds: wall time.
        stored: no features had to be computed.
        problems: why, unless finished.
        figures: log_loss, accuracy, accuracy_low, accuracy_high, photos and run, when finished.
    """

    end: Literal["finished", "pruned", "diverged", "refused", "fault"]
    seconds: float
    stored: bool
    problems: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)


def work(pipe: Connection, looked: Scan) -> None:
    """Train what is ordered until the other end closes; the main function of a process.

    Args:
        pipe: `Order`s come in, `Milestone`, `Looking` and one `Outcome` per order go out.
        looked: the photos.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # unwinds, so that the run is marked
    with suppress(EOFError, OSError):  # whoever ordered is gone
        while True:
            order: Order = pipe.recv()
            pipe.send(_outcome(pipe, looked, order))


def _outcome(pipe: Connection, looked: Scan, order: Order) -> Outcome:
    from carspotter.training.job import Job
    from carspotter.training.train import train

    started = time.perf_counter()
    teller = _Teller(pipe, order)

    def ended(end: Any, problems: tuple[str, ...] = (), figures: dict[str, Any] | None = None) -> Outcome:
        return Outcome(end, time.perf_counter() - started, teller.stored, problems, figures or {})

    try:
        run = train(looked, order.recipe, job=Job(deliver=False, watch=teller.watch), progress=teller.progress)
    except TrainingStopped as stop:
        return ended("pruned", (str(stop),))
    except TrainingError as fault:
        return ended("diverged", (str(fault),))
    except (CarspotterError, OSError) as fault:
        return ended("refused", fault.problems if isinstance(fault, ManyProblems) else (str(fault),))
    except Exception:  # noqa: BLE001 - the outermost frame of a process: the sweep tells the user
        return ended("fault", (traceback.format_exc(),))
    return ended("finished", figures=_figures(run))


def _figures(run: Run) -> dict[str, Any]:
    evaluation = run.evaluation
    if evaluation is None:
        raise ValueError(f"run {run.id} was not evaluated")
    accuracy = evaluation.accuracy
    return {
        "run": run.id,
        "log_loss": evaluation.log_loss,
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "photos": accuracy.n,
    }


class _Teller:
    """Tells the other end how a trial goes."""

    def __init__(self, pipe: Connection, order: Order) -> None:
        self.stored = True
        self._pipe = pipe
        self._stages = {stage.name: (number, stage.epochs) for number, stage in enumerate(order.recipe.stage)}
        self._judged = order.judged
        self._told = -1

    def progress(self, phase: str, done: int, total: int, said: str = "") -> None:  # noqa: ARG002
        if phase == "features":
            self.stored = False
            self._tell(Looking(done, total))

    def watch(self, record: EpochRecord) -> None:
        """After each epoch.

        Raises:
            TrainingStopped: the trial is given up.
        """
        number, epochs = self._stages[record.stage]
        tenth = TENTHS * (record.epoch + 1) // epochs
        step = number * TENTHS + tenth
        known = record.stage in self._judged and record.val_loss is not None and record.val_accuracy is not None
        # A stage's end is never judged: its epochs are paid for.
        if not known or not FIRST_TENTH <= tenth < TENTHS or step == self._told:
            return
        self._told = step
        self._tell(Milestone(step, record.val_loss or 0.0, record.val_accuracy or 0.0))
        if self._answer():
            raise TrainingStopped(
                f"pruned after epoch {record.epoch + 1} of {epochs} in stage {record.stage}: "
                "most other trials were better there"
            )

    def _answer(self) -> bool:
        try:
            return bool(self._pipe.recv())
        except (EOFError, OSError):
            sys.exit(EXIT_TERMINATED)

    def _tell(self, what: Looking | Milestone) -> None:
        try:
            self._pipe.send(what)
        except OSError:  # whoever ordered is gone: the run ends as interrupted
            sys.exit(EXIT_TERMINATED)
