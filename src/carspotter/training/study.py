"""Optuna behind one seam: which settings come next, which trials are given up, and a memory that outlives a kill.

Whoever works on a study holds a claim that ends with its process (`claim.py`), and every trial notes whose it is. A
trial that still runs although nobody alive has it was left by a dead process: it is marked failed, and its settings are
queued again. On a server several workers share one study; trials are begun and given up in turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from carspotter.errors import TrackingError
from carspotter.training.claim import Claim, claimed
from carspotter.training.space import Axis, Space, Value
from carspotter.training.storage import Measure, check_storage, clear, default_storage, loaded

if TYPE_CHECKING:
    import optuna

__all__ = ["Ask", "Measure", "Study", "Tried", "check_storage", "default_storage", "open_study"]

State = Literal["finished", "pruned", "failed", "repeated", "running", "waiting"]
RETRIES = 2
"""Times that settings are tried again after their process died: one kill is bad luck, three are not (assumption)."""
WORKER, FINAL = "worker", "final"
"""What a trial notes for us: whose it is; that it shall not be tried again."""
GONE = "its process is gone"


@dataclass(frozen=True, slots=True)
class Ask:
    """A trial that was begun.

    Attributes:
        number: in the study, from 0.
        values: of every axis, by its key.
    """

    number: int
    values: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial as the study remembers it.

    Attributes:
        number: in the study, from 0.
        state: `finished`, `pruned` or `failed`; `repeated`: failed and queued again; `running`; `waiting`: to be tried
            again.
        value: what is searched for, where finished.
        values: of every axis, by its key.
        facts: what the trial left: run, seconds, accuracy, reason, …
    """

    number: int
    state: State
    value: float | None
    values: dict[str, Value]
    facts: dict[str, Any]


@contextmanager
def open_study(
    name: str, space: Space, conditions: Mapping[str, Any], *, by: Measure, seed: int, storage: str
) -> Iterator[Study]:
    """A study, new or continued; in a file nobody else may work on it until it is left.

    Args:
        name: of the study.
        space: its axes are what the sampler draws from.
        conditions: what must be equal for two trials to be compared; JSON values.
        by: what is searched for.
        seed: of the sampler.
        storage: `sqlite:///PATH` or `postgresql://…`.

    Raises:
        TrackingError: the database cannot be used, another process has this study in its file, or it has other
            conditions.
    """
    address = check_storage(storage)
    with clear(address), claimed(address, name) as claim, loaded(address, name, by) as found:
        study = Study(found, space, claim, seed)
        with claim.turn():
            study.refuse_other(conditions)
            study.requeue_left()
        study.reseed()
        yield study


class Study:
    """One study of Optuna; see `open_study`."""

    def __init__(self, study: optuna.Study, space: Space, claim: Claim, seed: int) -> None:
        self.shared = claim.shared
        self._claim = claim
        self._seed = seed
        self._study = study
        self._axes = {axis.key: axis for axis in space.axes}
        self._hold = space.hold
        self._open: dict[int, optuna.Trial] = {}

    def refuse_other(self, conditions: Mapping[str, Any]) -> None:
        """Continue only what is the same search.

        Raises:
            TrackingError: a condition differs from those the study was begun with.
        """
        kept = self._study.user_attrs.get("conditions")
        given = json.loads(json.dumps(conditions))
        if kept is None:
            self._study.set_user_attr("conditions", given)
        elif kept != given:
            parts = [part for part in given if kept.get(part) != given[part]]
            raise TrackingError(
                f"study {self._study.study_name} was begun with other {' and other '.join(parts)}, "
                "so its trials cannot be compared with new ones; begin another with --study NAME"
            )

    def requeue_left(self) -> None:
        """Mark what dead processes left running as failed, and queue it again; to be called in a turn."""
        from optuna.trial import TrialState

        # A worker is known before its first trial is: whoever has one that we see here, and lives, is among these.
        alive = self._claim.others()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._open and trial.user_attrs.get(WORKER) not in alive:
                self._tell_failed(trial.number)
        self._repeat_owed(GONE)

    def reseed(self) -> None:
        """The sampler's draws follow from the seed and the trials there are: a continued study repeats none."""
        from optuna.samplers import TPESampler

        # constant_liar: settings that others are trying at this moment are not drawn again.
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = TPESampler(seed=self._seed + number, constant_liar=True)

    def begin(self, held: Mapping[str, Value], total: int) -> Ask | None:
        """Begin a trial, unless the study has begun enough of them.

        Args:
            held: values that it should have, unless settings wait to be tried again.
            total: trials that the study shall have, whoever runs them.
        """
        with self._claim.turn():
            if self.shared:
                self.requeue_left()
                self.reseed()  # else two workers of one seed draw the same
            return self.ask(held) if self.begun() < total else None

    def begun(self) -> int:
        """Trials that count: settings queued again count once."""
        return self.ended() + sum(trial.state == "running" for trial in self.tried())

    def ended(self) -> int:
        """Trials that are over and will not be repeated."""
        return sum(trial.state in {"finished", "pruned", "failed"} for trial in self.tried())

    def others_at_work(self) -> bool:
        """Whether another worker has a trial: should it die, the trial is ours to repeat."""
        return self.shared and any(t.state == "running" and t.number not in self._open for t in self.tried())

    def ask(self, held: Mapping[str, Value]) -> Ask:
        """Begin a trial.

        Args:
            held: values that it should have, unless settings wait to be tried again.
        """
        from optuna.trial import TrialState

        if held and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.enqueue_trial(dict(held))
        trial = self._study.ask({key: _distribution(axis) for key, axis in self._axes.items()})
        trial.set_user_attr(WORKER, self._claim.worker)
        self._open[trial.number] = trial
        return Ask(trial.number, dict(trial.params))

    def report(self, number: int, step: int, value: float) -> bool:
        """Keep a trial's figure on its way; whether it should be given up."""
        trial = self._open[number]
        trial.report(value, step)
        return trial.should_prune()

    def finish(self, number: int, value: float, facts: Mapping[str, Any]) -> None:
        """End a trial with its result."""
        self._study.tell(self._end(number, facts), value)

    def prune(self, number: int, facts: Mapping[str, Any]) -> None:
        """End a trial that was given up, or that could not go on: the sampler learns from it."""
        from optuna.trial import TrialState

        self._study.tell(self._end(number, facts), state=TrialState.PRUNED)

    def fail(self, number: int, reason: str, *, again: bool) -> None:
        """End a trial that says nothing about its settings.

        Args:
            number: of the trial.
            reason: one line.
            again: queue its settings, unless that was done often enough.
        """
        trial = self._open.pop(number)
        with self._claim.turn():
            if not again:
                trial.set_user_attr(FINAL, True)
            self._tell_failed(number)
            self._repeat_owed(reason)

    def give_up(self, number: int, reason: str) -> None:
        """End a trial as the sweep ends; where the database cannot be told, the next worker finds out by itself."""
        from sqlalchemy.exc import SQLAlchemyError

        with suppress(SQLAlchemyError, TrackingError):
            self.fail(number, reason, again=True)

    def _tell_failed(self, number: int) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with suppress(UpdateFinishedTrialError):  # at this very moment its worker, cut off for a while, ended it
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _repeat_owed(self, reason: str) -> None:
        """Queue the settings of failed trials again.

        What is owed follows from the trials themselves: whoever dies between a trial's end and this leaves it to the
        next one.
        """
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get("repeats") for trial in trials}
        for trial in trials:
            times = int(trial.user_attrs.get("times", 0)) + 1
            over = times > RETRIES or trial.number in repeated or trial.user_attrs.get(FINAL)
            if trial.state is TrialState.FAIL and not over:
                note = {"times": times, "repeats": trial.number, "because": reason}
                self._study.enqueue_trial(dict(trial.params), user_attrs=note)

    def tried(self) -> tuple[Tried, ...]:
        """Every trial, by number."""
        trials = self._study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get("repeats") for trial in trials}
        return tuple(_tried(trial, trial.number in repeated) for trial in trials)

    def _end(self, number: int, facts: Mapping[str, Any]) -> optuna.Trial:
        from optuna.exceptions import UpdateFinishedTrialError

        trial = self._open.pop(number)
        try:
            for key, value in facts.items():
                trial.set_user_attr(key, value)
        except UpdateFinishedTrialError:
            raise TrackingError(
                f"trial {number} was given up by another worker, because the connection to the study database had been "
                "lost; begin the sweep again"
            ) from None
        return trial


def _tried(trial: optuna.trial.FrozenTrial, repeated: bool) -> Tried:
    states: dict[str, State] = {
        "RUNNING": "running",
        "WAITING": "waiting",
        "COMPLETE": "finished",
        "PRUNED": "pruned",
        "FAIL": "repeated" if repeated else "failed",
    }
    state = states[trial.state.name]
    value = trial.value if state == "finished" else None
    facts = {key: fact for key, fact in trial.user_attrs.items() if key not in {WORKER, FINAL}}
    return Tried(trial.number, state, value, dict(trial.params), facts)


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
