"""One sitting over a study: who trains what, what is heard of it, and what becomes of trials whose process dies."""

from __future__ import annotations

import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from carspotter.data.scan import Scan
from carspotter.errors import EXIT_TERMINATED, ManyProblems, RecipeError, TrainingError
from carspotter.progress import Progress
from carspotter.recipe import Recipe
from carspotter.training.space import Space, Value
from carspotter.training.study import Ask, Measure, Study
from carspotter.training.trial import Looking, Milestone, Order, Outcome, work
from carspotter.workers import usable_cores

GOODBYE = 20.0
"""Seconds a process has to end its run when the sweep is interrupted; a batch and a few lines to disk (assumption)."""
POLL = 2.0
"""Seconds after which a worker without a trial looks again whether one of a dead worker's waits (assumption)."""
LACK = ", killed; often for lack of memory"
STAGE = re.compile(r"stage\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Plan:
    """How far and how a sweep goes.

    Attributes:
        trials: that the study shall have in the end, those of earlier sessions included.
        minutes: no trial begins after so many; None: no limit.
        jobs: processes that train, each on its share of the cores.
        by: what is searched for on the held-out photos. A hundred photos tell accuracies apart in steps of a point, and
            many trials tie; their log loss moves with every photo.
        study: a name, to continue or to begin anew; None: one that follows from the space, the recipe and the photos.
        storage: address of the study database; None: beside the run store.
    """

    trials: int
    minutes: float | None = None
    jobs: int = 1
    by: Measure = "log_loss"
    study: str | None = None
    storage: str | None = None


@dataclass(slots=True)
class _Hand:
    """A process that trains, and what it is at.

    Attributes:
        process: the process.
        pipe: to it.
        ask: the trial it trains, or None.
        held: values of the axes that decide features, from its last trial.
        left: trials that shall still have them.
    """

    process: BaseProcess
    pipe: Connection
    ask: Ask | None = None
    held: dict[str, Value] = field(default_factory=dict)
    left: int = 0


class Session:
    """One sitting over a study."""

    def __init__(self, study: Study, space: Space, plan: Plan, looked: Scan, name: str, progress: Progress) -> None:
        self.numbers: list[int] = []
        self._study = study
        self._space = space
        self._plan = plan
        self._looked = looked
        self._name = name
        self._progress = progress
        self._threads = max(1, usable_cores() // plan.jobs)
        self._holding = [axis.key for axis in space.axes if axis.decides_features] if space.hold > 1 else []

    def run(self, deadline: float | None) -> None:
        """Train until the study has its trials, or the time is up.

        Trials of other workers are waited for, because their settings come to us should a worker die.
        """
        missing = self._plan.trials - self._study.ended()
        if missing <= 0:
            return
        with _crew_of(min(self._plan.jobs, missing), self._looked) as crew:
            try:
                while self._employ(crew, deadline):
                    for pipe in wait([one.pipe for one in crew if one.ask], POLL if self._study.shared else None):
                        self._hear(next(one for one in crew if one.pipe is pipe))
            finally:
                for one in crew:
                    if one.ask is not None:
                        self._study.give_up(one.ask.number, "the sweep was interrupted")

    def _employ(self, crew: Sequence[_Hand], deadline: float | None) -> bool:
        """Give work to whoever has none; False when nobody has any, here or elsewhere."""
        for one in crew:
            while one.ask is None and not _is_over(deadline) and self._begin(one):
                pass
        return any(one.ask for one in crew) or (not _is_over(deadline) and self._study.others_at_work())

    def _begin(self, one: _Hand) -> bool:
        """Begin a trial, unless there are enough."""
        ask = self._study.begin(one.held if one.left > 0 else {}, self._plan.trials)
        if ask is None:
            return False
        self.numbers.append(ask.number)
        held = {key: ask.values[key] for key in self._holding}
        one.left = one.left - 1 if one.left > 0 and held == one.held else self._space.hold - 1
        one.held = held
        try:
            recipe = self._space.trial(ask.values)
        except RecipeError as fault:  # sound one by one, not together
            self._ended(ask, Outcome("diverged", 0.0, stored=True, problems=fault.problems))
            return True
        recipe = recipe.model_copy(update={"name": self._name, "threads": recipe.threads or self._threads})
        one.ask = ask
        self._tell(one, ask, Order(recipe, _judged(self._space, recipe)))
        return True

    def _hear(self, one: _Hand) -> None:
        """One message of a process, or its death."""
        ask = one.ask
        if ask is None:
            raise ValueError("a process without a trial has nothing to say")
        try:
            said = one.pipe.recv()
        except (EOFError, OSError):
            self._replace(one, ask)
            return
        if isinstance(said, Looking):
            self._progress("features", said.done, said.total)
        elif isinstance(said, Milestone):
            self._tell(one, ask, self._study.report(ask.number, said.step, getattr(said, self._plan.by)))
        else:
            one.ask = None
            self._ended(ask, said)

    def _tell(self, one: _Hand, ask: Ask, what: Order | bool) -> None:
        try:
            one.pipe.send(what)
        except OSError:
            self._replace(one, ask)

    def _replace(self, one: _Hand, ask: Ask) -> None:
        """A trial's process died: its settings are queued again, and another process takes its place."""
        one.process.join(GOODBYE)
        code = one.process.exitcode
        how = f"its process died (exit code {code}{LACK if code == -signal.SIGKILL else ''})"
        one.ask = None
        self._study.fail(ask.number, how, again=True)
        if code is not None and 0 < code != EXIT_TERMINATED:
            raise TrainingError(
                f"trial {ask.number}: {how}, which nobody killed; its message stands above "
                '(a program must call sweep below `if __name__ == "__main__":`)'
            )
        self._say(ask.number, how)
        one.pipe.close()
        one.process, one.pipe = _start(self._looked)

    def _ended(self, ask: Ask, outcome: Outcome) -> None:
        facts: dict[str, Any] = {"seconds": round(outcome.seconds, 2), "stored": outcome.stored, **outcome.figures}
        reason = "; ".join(outcome.problems)
        if outcome.end == "finished":
            self._study.finish(ask.number, outcome.figures[self._plan.by], facts)
            self._say(ask.number, _result(outcome))
        elif outcome.end in {"pruned", "diverged"}:
            self._study.prune(ask.number, facts | {"reason": reason})
            self._say(ask.number, f"{reason}; {outcome.seconds:.1f} s")
        else:
            self._study.fail(ask.number, reason.splitlines()[-1], again=outcome.end == "refused")
            if outcome.end == "fault":
                raise RuntimeError(f"{reason.splitlines()[-1]} in trial {ask.number}\n{reason}")
            raise ManyProblems([f"trial {ask.number}: {problem}" for problem in outcome.problems])

    def _say(self, number: int, what: str) -> None:
        self._progress("trials", self._study.ended(), self._plan.trials, f"trial {number}: {what}")


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _result(outcome: Outcome) -> str:
    figures, features = outcome.figures, "" if outcome.stored else ", features computed"
    return f"log loss {figures['log_loss']:.4f}, accuracy {figures['accuracy']:.3f}; {outcome.seconds:.1f} s{features}"


def _judged(space: Space, recipe: Recipe) -> frozenset[str]:
    """Stages in which trials differ by their own settings; in the others a trial's figure is mostly luck."""
    numbers = {int(found[1]) for axis in space.axes for key in axis.keys if (found := STAGE.match(key))}
    return frozenset(stage.name for number, stage in enumerate(recipe.stage) if number in numbers or not numbers)


@contextmanager
def _crew_of(size: int, looked: Scan) -> Iterator[list[_Hand]]:
    """Processes that train; ended when left, in order where time allows."""
    crew: list[_Hand] = []
    try:
        while len(crew) < size:
            crew.append(_Hand(*_start(looked)))
        yield crew
    finally:
        for one in crew:
            if one.ask is not None:
                one.process.terminate()  # who trains marks the run and ends
            one.pipe.close()  # who waits for an order ends
        for one in crew:
            one.process.join(GOODBYE)
            one.process.kill()


def _start(looked: Scan) -> tuple[BaseProcess, Connection]:
    """A fresh process: a forked one would inherit torch's threads as they happen to be."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, looked), name="carspotter-trial")
    with _sigint_ignored():  # Ctrl-C on a terminal reaches every process; the sweep alone decides what follows
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """What is started meanwhile inherits it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
