"""Many short trainings in search of good settings: one process keeps the study, others train for it.

    sweep(dataset, load_space("seed"), Plan(trials=56), progress=…) -> Sweep

Only this process asks and tells the study, so a database that knows one writer is enough, and a trial's process may die
at any moment; on a server others like it may work on the same study. Several processes each hold their own drawing of
what decides the features, so none computes what another computes at the same moment.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import Scan
from carspotter.errors import RecipeError, TrainingError
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe, load_recipe, recipe_settings
from carspotter.records import Dataset, hash_json
from carspotter.tracking.held_out import validation_hash
from carspotter.training.gather import divide
from carspotter.training.session import Plan, Session
from carspotter.training.space import Space
from carspotter.training.study import Measure, Tried, default_storage, open_study

__all__ = ["Plan", "Sweep", "sweep"]


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

    A study that exists is continued, on a server beside others who do. Ctrl-C, SIGTERM or a kill leave it sound:
    finished trials stay, and settings that were being trained are queued again. Call it below `if __name__ ==
    "__main__":`; it starts processes.

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
    from carspotter.training.look import look

    base = load_recipe(space.recipe, space.fixed)
    if plan.study is not None:
        _check_name(plan.study)
    looked = look(dataset, strict=strict, progress=progress)
    conditions = _conditions(space, base, looked, plan.by)
    name = plan.study or f"{space.name}-{hash_json(conditions)[:8]}"
    storage = plan.storage or default_storage()
    started = time.monotonic()
    with open_study(name, space, conditions, by=plan.by, seed=base.seed, storage=storage) as study:
        session = Session(study, space, plan, looked, name, progress)
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
    """What makes trials comparable. The order of axes and the number of threads are no part of it.

    The validation photos stand there themselves: near copies that are grouped in another way, by newer code, are
    divided in another way with the same settings.
    """
    divided = divide(looked.dataset, near_duplicates(looked.facts), base)
    axes = sorted((asdict(axis) for axis in space.axes), key=lambda axis: str(axis["key"]))
    settings = {key: value for key, value in recipe_settings(base).items() if key not in {"name", "about", "threads"}}
    return {
        "axes": hash_json(axes),
        "settings": hash_json(settings),
        "photos": looked.dataset.fingerprint,
        "validation photos": validation_hash(looked.dataset, divided),
        "measure": by,
    }
