"""Many short trainings in search of good settings: one process keeps the study, others train for it.

    sweep(dataset, load_space("seed"), Plan(trials=56), progress=…) -> Sweep

Only this process asks and tells the study, so a database that knows one writer is enough, and a trial's process may die
at any moment. Several processes each hold their own drawing of what decides the features, so none computes what another
computes at the same moment.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from carspotter.data.scan import Scan
from carspotter.errors import EXIT_TERMINATED, ManyProblems, RecipeError, TrainingError
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe, load_recipe, recipe_settings
from carspotter.records import Dataset, hash_json
from carspotter.training.space import Space, Value
from carspotter.training.study import Ask, Measure, Study, Tried, default_storage, open_study
from carspotter.training.trial import Looking, Milestone, Order, Outcome, work
from carspotter.workers import usable_cores

GOODBYE = 20.0
"""Seconds a process has to end its run when the sweep is interrupted; a batch and a few lines to disk (assumption)."""
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


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a study knows when a sweep ends.

    Attributes:
        study: its name.
        by: what was searched for.
        tried: every trial, by number.
        base: the recipe that was varied, by name or path.
        recipe: of the best.
        settings: `--set` texts that make it from the base recipe, fixed ones included.
        seconds: wall time of this session.
        session: numbers of the trials of this session.
        left_out: photos of the source that could not be used.
    """

    study: str
    by: Measure
    tried: tuple[Tried, ...]
    base: str
    recipe: Recipe
    settings: tuple[str, ...]
    seconds: float
    session: tuple[int, ...]
    left_out: int

    @property
    def best(self) -> Tried:
        """The finished trial with the best figure."""
        return _best(self.tried, self.by)

    def count(self, state: str) -> int:
        """Trials that ended so."""
        return sum(trial.state == state for trial in self.tried)

    @property
    def alike(self) -> int:
        """Other finished trials whose accuracy lies within the 95 % interval of the best one's."""
        low, high = self.best.facts["accuracy_low"], self.best.facts["accuracy_high"]
        return len([t for t in self.tried if t.state == "finished" and low <= t.facts["accuracy"] <= high]) - 1

    @property
    def stored(self) -> int:
        """Trials of this session that read all their features from disk."""
        return sum(bool(self.tried[number].facts.get("stored")) for number in self.session)

    @property
    def trial_seconds(self) -> float:
        """Median wall time of a trial of this session; 0 where none was run."""
        times = [self.tried[n].facts["seconds"] for n in self.session if "seconds" in self.tried[n].facts]
        return statistics.median(times) if times else 0.0


def sweep(dataset: Dataset, space: Space, plan: Plan, *, strict: bool = False, progress: Progress = silent) -> Sweep:
    """Search a space on a dataset, each trial a run of the run store.

    A study that exists is continued. Ctrl-C, SIGTERM or a kill leave it sound: finished trials stay, and settings that
    were being trained are queued again. Call it below `if __name__ == "__main__":`; it starts processes.

    Args:
        dataset: labelled photos, from `read_source`.
        space: what is tried.
        plan: how far.
        strict: refuse a source with unreadable photos instead of leaving them out.
        progress: told about photos, features and trials.

    Raises:
        SourceError: the photos cannot be used.
        TrackingError: the study or the run store cannot be used.
        TrainingError: no trial finished.
        ManyProblems: a trial met what no other would survive; all of it.
    """
    from carspotter.training.train import look

    base = load_recipe(space.recipe, space.fixed)
    if plan.study is not None:
        _check_name(plan.study)
    looked = look(dataset, strict=strict, progress=progress)
    conditions = _conditions(space, base, looked, plan.by)
    name = plan.study or f"{space.name}-{hash_json(conditions)[:8]}"
    storage = plan.storage or default_storage()
    started = time.monotonic()
    with open_study(name, space, conditions, by=plan.by, seed=base.seed, storage=storage) as study:
        session = _Session(study, space, plan, looked, name, progress)
        session.run(deadline=None if plan.minutes is None else started + 60 * plan.minutes)
        tried = study.tried()
    if not any(trial.state == "finished" for trial in tried):
        reasons = sorted({str(t.facts["reason"]) for t in tried if "reason" in t.facts})
        why = f": {reasons[0]}" if reasons else ""
        raise TrainingError(
            f"none of the {len(tried)} trials of study {name} finished{why}; allow more, or narrow the space"
        )
    settings = (*space.fixed, *space.settings(_best(tried, plan.by).values))
    return Sweep(
        study=name,
        by=plan.by,
        tried=tried,
        base=space.recipe,
        recipe=load_recipe(space.recipe, settings),
        settings=settings,
        seconds=time.monotonic() - started,
        session=tuple(session.numbers),
        left_out=len(looked.dataset.rejected),
    )


def _check_name(name: str) -> None:
    """Every run of a study bears its name, so the rules are a recipe's."""
    if not 0 < len(name) <= 80 or not name.isprintable() or "/" in name or "\\" in name:
        raise RecipeError(f"--study {name!r}: needs 1 to 80 printable characters without / and \\")


def _best(tried: Sequence[Tried], by: Measure) -> Tried:
    sign = 1 if by == "log_loss" else -1
    return min((t for t in tried if t.value is not None), key=lambda trial: sign * (trial.value or 0.0))


def _conditions(space: Space, base: Recipe, looked: Scan, by: Measure) -> dict[str, Any]:
    """What makes trials comparable. The order of axes and the number of threads are no part of it."""
    axes = sorted((asdict(axis) for axis in space.axes), key=lambda axis: str(axis["key"]))
    settings = {key: value for key, value in recipe_settings(base).items() if key not in {"name", "about", "threads"}}
    return {
        "axes": hash_json(axes),
        "settings": hash_json(settings),
        "photos": looked.dataset.fingerprint,
        "measure": by,
    }


@dataclass(slots=True)
class _Crew:
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


class _Session:
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
        """Train until the study has its trials, or the time is up."""
        missing = self._plan.trials - self._begun()
        if missing <= 0:
            return
        with _crew_of(min(self._plan.jobs, missing), self._looked) as crew:
            try:
                while self._employ(crew, deadline):
                    for pipe in wait([one.pipe for one in crew if one.ask]):
                        self._hear(next(one for one in crew if one.pipe is pipe))
            finally:
                for one in crew:
                    if one.ask is not None:
                        self._study.fail(one.ask.number, "the sweep was interrupted", again=True)

    def _begun(self) -> int:
        """Trials that count: settings queued again count once."""
        return sum(
            trial.state in {"finished", "pruned", "failed"} or trial.number in self.numbers
            for trial in self._study.tried()
            if trial.state != "repeated"
        )

    def _employ(self, crew: Sequence[_Crew], deadline: float | None) -> bool:
        """Give work to whoever has none; False when nobody has any."""
        for one in crew:
            while one.ask is None and not (deadline and time.monotonic() > deadline):
                if self._begun() >= self._plan.trials:
                    break
                self._begin(one)
        return any(one.ask for one in crew)

    def _begin(self, one: _Crew) -> None:
        ask = self._study.ask(one.held if one.left > 0 else {})
        self.numbers.append(ask.number)
        held = {key: ask.values[key] for key in self._holding}
        one.left = one.left - 1 if one.left > 0 and held == one.held else self._space.hold - 1
        one.held = held
        try:
            recipe = self._space.trial(ask.values)
        except RecipeError as fault:  # sound one by one, not together
            self._ended(ask, Outcome("diverged", 0.0, stored=True, problems=fault.problems))
            return
        recipe = recipe.model_copy(update={"name": self._name, "threads": recipe.threads or self._threads})
        one.ask = ask
        one.pipe.send(Order(recipe, _judged(self._space, recipe)))

    def _hear(self, one: _Crew) -> None:
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
            one.pipe.send(self._study.report(ask.number, said.step, getattr(said, self._plan.by)))
        else:
            one.ask = None
            self._ended(ask, said)

    def _replace(self, one: _Crew, ask: Ask) -> None:
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
            self._study.fail(ask.number, reason.splitlines()[-1], again=False)
            if outcome.end == "fault":
                raise RuntimeError(f"{reason.splitlines()[-1]} in trial {ask.number}\n{reason}")
            raise ManyProblems([f"trial {ask.number}: {problem}" for problem in outcome.problems])

    def _say(self, number: int, what: str) -> None:
        ended = sum(trial.state in {"finished", "pruned", "failed"} for trial in self._study.tried())
        self._progress("trials", ended, self._plan.trials, f"trial {number}: {what}")


def _result(outcome: Outcome) -> str:
    figures, features = outcome.figures, "" if outcome.stored else ", features computed"
    return f"log loss {figures['log_loss']:.4f}, accuracy {figures['accuracy']:.3f}; {outcome.seconds:.1f} s{features}"


def _judged(space: Space, recipe: Recipe) -> frozenset[str]:
    """Stages in which trials differ by their own settings; in the others a trial's figure is mostly luck."""
    numbers = {int(found[1]) for axis in space.axes for key in axis.keys if (found := STAGE.match(key))}
    return frozenset(stage.name for number, stage in enumerate(recipe.stage) if number in numbers or not numbers)


@contextmanager
def _crew_of(size: int, looked: Scan) -> Iterator[list[_Crew]]:
    """Processes that train; ended when left, in order where time allows."""
    crew: list[_Crew] = []
    try:
        while len(crew) < size:
            crew.append(_Crew(*_start(looked)))
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
