"""Optuna behind one seam: which settings come next, which trials are given up, and a memory that outlives a kill.

A study has one owner at a time. Whoever opens it therefore knows that a trial still marked as running was left by a
process that is gone: it is marked failed, and its settings are queued again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from carspotter.data.address import SQLITE, hide_secrets
from carspotter.errors import MissingExtra, TrackingError
from carspotter.tracking.address import Address, read_address
from carspotter.tracking.first_use import RUNS, first_use
from carspotter.tracking.runs import DEFAULT_URI
from carspotter.training.claim import claimed
from carspotter.training.space import Axis, Space, Value

if TYPE_CHECKING:
    import optuna

Measure = Literal["log_loss", "accuracy"]
State = Literal["finished", "pruned", "failed", "repeated", "open"]
FILE = "sweeps.db"
PATIENCE = 20.0
"""Seconds to wait for another program that holds the SQLite file or makes the tables; as the run store does."""
MADE = "SELECT 1 FROM alembic_version WHERE EXISTS (SELECT 1 FROM version_info)"
"""Has a row once Optuna is done with a new database: its last step is to note the version of the tables."""
RETRIES = 2
"""Times that settings are tried again after their process died: one kill is bad luck, three are not (assumption)."""
STARTUP = 5
"""Trials that end before any is pruned; Optuna's default."""
PEERS = 3
"""Trials that must have come as far, before one is judged by their median (assumption)."""


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
        state: `finished`, `pruned` or `failed`; `repeated`: failed and queued again; `open`: not over.
        value: what is searched for, where finished.
        values: of every axis, by its key.
        facts: what the trial left: run, seconds, accuracy, reason, …
    """

    number: int
    state: State
    value: float | None
    values: dict[str, Value]
    facts: dict[str, Any]


def default_storage() -> str:
    """`sweeps.db` beside the run store."""
    runs = os.environ.get("CARSPOTTER_RUNS") or DEFAULT_URI
    file = read_address(runs, "run database", "runs.db", "CARSPOTTER_RUNS").file
    folder = Path("runs").absolute() if file is None else file.parent
    return f"{SQLITE}{folder / FILE}"


def check_storage(address: str) -> Address:
    """The address of a study database.

    Raises:
        TrackingError: it is of another kind.
    """
    return read_address(address, "study database", FILE, "--storage")


@contextmanager
def open_study(
    name: str, space: Space, conditions: Mapping[str, Any], *, by: Measure, seed: int, storage: str
) -> Iterator[Study]:
    """A study, new or continued, that nobody else may run until it is left.

    Args:
        name: of the study.
        space: its axes are what the sampler draws from.
        conditions: what must be equal for two trials to be compared; JSON values.
        by: what is searched for.
        seed: of the sampler.
        storage: `sqlite:///PATH` or `postgresql://…`.

    Raises:
        TrackingError: the database cannot be used, another process runs this study, or it has other conditions.
    """
    address = check_storage(storage)
    with _clear(address), claimed(address, name), _loaded(address, name, by) as loaded:
        study = Study(loaded, space)
        study.refuse_other(conditions)
        study.requeue_left()
        study.reseed(seed)
        yield study


class Study:
    """One study of Optuna; see `open_study`."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
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
        """Mark what a dead process left running as failed, and queue it again."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.fail(trial.number, "its process is gone", again=True)

    def reseed(self, seed: int) -> None:
        """The sampler's draws follow from the seed and the trials there are: a continued study repeats none."""
        from optuna.samplers import TPESampler

        # constant_liar: settings that others are trying at this moment are not drawn again.
        self._study.sampler = TPESampler(seed=seed + len(self._study.trials), constant_liar=True)

    def ask(self, held: Mapping[str, Value]) -> Ask:
        """Begin a trial.

        Args:
            held: values that it should have, unless settings wait to be tried again.
        """
        from optuna.trial import TrialState

        if held and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.enqueue_trial(dict(held))
        trial = self._study.ask({key: _distribution(axis) for key, axis in self._axes.items()})
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
        from optuna.trial import TrialState

        self._open.pop(number, None)
        trial = self._study.get_trials(deepcopy=False)[number]
        times = int(trial.user_attrs.get("times", 0)) + 1
        self._study.tell(number, state=TrialState.FAIL)
        if again and times <= RETRIES:
            note = {"times": times, "repeats": number, "because": reason}
            self._study.enqueue_trial(dict(trial.params), user_attrs=note)

    def tried(self) -> tuple[Tried, ...]:
        """Every trial, by number."""
        trials = self._study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get("repeats") for trial in trials}
        return tuple(_tried(trial, trial.number in repeated) for trial in trials)

    def _end(self, number: int, facts: Mapping[str, Any]) -> optuna.Trial:
        trial = self._open.pop(number)
        for key, value in facts.items():
            trial.set_user_attr(key, value)
        return trial


def _tried(trial: optuna.trial.FrozenTrial, repeated: bool) -> Tried:
    states: dict[str, State] = {
        "COMPLETE": "finished",
        "PRUNED": "pruned",
        "FAIL": "repeated" if repeated else "failed",
    }
    state = states.get(trial.state.name, "open")
    value = trial.value if state == "finished" else None
    return Tried(trial.number, state, value, dict(trial.params), dict(trial.user_attrs))


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


@contextmanager
def _logging_let_alone() -> Iterator[None]:
    """Optuna's tables come with logging for the whole program where it has none; warnings of ours would fall silent."""
    some, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(some)
    try:
        yield
    finally:
        root.removeHandler(some)


@contextmanager
def _loaded(address: Address, name: str, by: Measure) -> Iterator[optuna.Study]:
    import optuna
    from sqlalchemy import text

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its greetings are not ours
    options = {"connect_args": {"timeout": PATIENCE}} if address.file else {"pool_pre_ping": True}
    with _logging_let_alone(), first_use(address, "study database", text(MADE), patience=PATIENCE, foreign=RUNS):
        storage = optuna.storages.RDBStorage(address.uri, engine_kwargs=options)
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if by == "log_loss" else "maximize",
            # The median stopping rule of Golovin et al. 2017 (Google Vizier): it needs no budget of its own.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_min_trials=PEERS),
            load_if_exists=True,
        )
    finally:
        storage.engine.dispose()


@contextmanager
def _clear(address: Address) -> Iterator[None]:
    """One clear line instead of what Optuna, SQLAlchemy and the database say."""
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError:
        raise MissingExtra("searching settings", "train") from None
    address.need_driver()
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as fault:
        first = hide_secrets(next(iter(str(fault.__cause__ or fault).strip().splitlines()), type(fault).__name__))
        raise TrackingError(
            f"study database {address} refused: {first}; check it, or name another with --storage"
        ) from None
