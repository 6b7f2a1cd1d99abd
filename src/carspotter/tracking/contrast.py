"""Runs that differ in one setting alone: how far its values part, and how far repeated seeds part by themselves."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, variance
from typing import Any

from carspotter.evaluation.paired import holm, percent_points, separate
from carspotter.evaluation.shares import wilson, witnesses
from carspotter.records import Figure, HeldOut, Run
from carspotter.tracking.sides import Match, make_side, match

Repeats = Mapping[str | None, tuple[float, ...]]
"""Validation set → mean accuracy of each seed."""


@dataclass(frozen=True, slots=True)
class Level:
    """One value of the axis.

    Attributes:
        value: of the setting, as its recipe has it.
        runs: oldest first.
    """

    value: Any
    runs: tuple[Run, ...]

    @property
    def accuracies(self) -> tuple[float, ...]:
        """One per run."""
        return tuple(run.accuracy.value for run in self.runs if run.accuracy)

    @property
    def seeds(self) -> int:
        """How many different seeds trained."""
        return len({seed_of(run) for run in self.runs})

    @property
    def repeats(self) -> Repeats:
        """Runs of one seed on one validation set are averaged, they are no repetition."""
        found: dict[str | None, dict[Hashable, list[float]]] = {}
        for run in self.runs:
            if run.accuracy:
                found.setdefault(run.validation, {}).setdefault(seed_of(run), []).append(run.accuracy.value)
        return {photos: tuple(map(mean, seeds.values())) for photos, seeds in found.items()}

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds, then over the validation sets."""
        return mean(mean(values) for values in self.repeats.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None where no seed was repeated."""
        found = pooled_spread([self])
        return None if found is None else found[0]


def pooled_spread(levels: Sequence[Level]) -> tuple[float, int] | None:
    """Standard deviation between seeds on the same photos, and its degrees of freedom; None without any."""
    return pooled(some for level in levels for some in level.repeats.values())


def pooled(groups: Iterable[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation within groups, and its degrees of freedom; None where none has two values."""
    repeated = [some for some in groups if len(some) > 1]
    freedom = sum(len(some) - 1 for some in repeated)
    if not freedom:
        return None
    return sqrt(sum(variance(some) * (len(some) - 1) for some in repeated) / freedom), freedom


def seed_of(run: Run) -> Hashable:
    """What makes a run a repetition; a row of a log that names no seed is one of its own, ours was not its."""
    return run.recipe.seed if run.imported is None or "seed" in run.imported.stated else run.id


@dataclass(frozen=True, slots=True)
class Contrast:
    """Runs that differ in the axis only, on the same validation photos.

    Attributes:
        letter: its name in tables and pictures.
        title: the photos.
        levels: two or more values of the axis, in order.
        settings: what tells it from the other contrasts, dotted key → value.
        base: the value that the others are compared with: the one with most runs, so that no result has chosen it.
        differences: by how much each other value is ahead of the base, in order; None where no photos say it.
        sentences: what that means, a sentence each.
        tests: how many values were tested photo by photo; their p are corrected for one another (Holm).
    """

    letter: str
    title: str
    levels: tuple[Level, ...]
    settings: Mapping[str, Any]
    base: Level
    differences: tuple[Figure | None, ...]
    sentences: tuple[str, ...]
    tests: int

    @property
    def noise(self) -> tuple[float, int] | None:
        """How far another seed alone moves a figure, pooled over the levels; see `pooled_spread`."""
        return pooled_spread(self.levels)

    def difference(self, level: Level) -> str:
        """As a table has it."""
        if level is self.base:
            return "base"
        found = self.differences[[other for other in self.levels if other is not self.base].index(level)]
        return "unknown" if found is None else percent_points(found)


def contrast(
    letter: str, title: str, levels: Sequence[Level], settings: Mapping[str, Any], answers: Mapping[str, HeldOut]
) -> Contrast:
    """Compare every value with the one that has most runs, photo by photo where all of them kept their answers."""
    base = max(levels, key=lambda level: len(level.runs))
    others = [level for level in levels if level is not base]
    pairings = [_pair(base, level, answers) for level in others]
    raised = iter(holm([found.paired.p for *_, found in pairings if found and found.paired]))
    tests = sum(1 for *_, found in pairings if found and found.paired)
    differences, sentences = [], []
    for level, (some, more, found) in zip(others, pairings, strict=True):
        names = show_value(base.value), show_value(level.value)
        if found and found.paired:
            difference: Figure | None = found.paired.difference
            said = found.paired.sentence(*names, tests=tests, raised=next(raised))
        else:
            difference = _separately(some, more)
            said = _unpaired(difference, *names)
        differences.append(difference)
        sentences.append(f"{letter}: {said}; {_counted(some, more)}")
    sentences.append(f"{letter}: {_noise(pooled_spread(levels))}")
    return Contrast(letter, title, tuple(levels), settings, base, tuple(differences), tuple(sentences), tests)


def show_value(value: Any) -> str:
    """A setting as TOML and `--set` write it, without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


# ---- pairing --------------------------------------------------------------------------------------------------------

_Runs = tuple[Run, ...]


def _pair(base: Level, level: Level, answers: Mapping[str, HeldOut]) -> tuple[_Runs, _Runs, Match | None]:
    """The runs of both that belong together, and what their photos say; None where answers are missing."""
    chosen = list(_together(base.runs, level.runs))
    some, more = (tuple(run for pair in chosen for run in pair[side]) for side in (0, 1))
    sides = make_side(some, answers), make_side(more, answers)
    return some, more, match(*sides) if chosen and all(side.answers for side in sides) else None


def _together(some: Sequence[Run], more: Sequence[Run]) -> Iterator[tuple[_Runs, _Runs]]:
    """Set by set the runs of shared seeds; all of the set where no seed is shared."""
    for photos in dict.fromkeys(run.validation for run in some):
        here, there = ([run for run in runs if run.validation == photos] for runs in (some, more))
        shared = {seed_of(run) for run in here} & {seed_of(run) for run in there}
        if shared:
            here, there = ([run for run in runs if seed_of(run) in shared] for runs in (here, there))
        if there:
            yield tuple(here), tuple(there)


def _separately(some: _Runs, more: _Runs) -> Figure | None:
    """The difference as of two separate samples; None where the number of photos is not known."""
    if not some or not all(run.accuracy and run.accuracy.n for run in (*some, *more)):
        return None
    return separate(_average(some), _average(more))


def _average(runs: _Runs) -> Figure:
    """Mean accuracy over runs that repeat each other on their photos, with the interval that these photos allow."""
    sets = {run.validation: run.accuracy.n for run in runs if run.accuracy}
    values = {photos: mean(r.accuracy.value for r in runs if r.accuracy and r.validation == photos) for photos in sets}
    n = sum(sets.values())
    value = sum(values[photos] * count for photos, count in sets.items()) / n
    seen = {run.validation: witnesses(run.accuracy) for run in runs if run.accuracy}
    nearest = wilson(round(value * n), n, sum(seen.values()))
    shift = value - nearest.value
    return Figure(value=value, low=nearest.low + shift, high=nearest.high + shift, n=n)


# ---- text -----------------------------------------------------------------------------------------------------------


def _unpaired(difference: Figure | None, base: str, other: str) -> str:
    if difference is None:
        return f"{other} and {base} have no number of photos in common that is known: no interval"
    return (
        f"{other} minus {base} is {percent_points(difference)}, as of two separate samples of {difference.n} photos, "
        "because not every run kept its answers"
    )


def _counted(some: _Runs, more: _Runs) -> str:
    seeds = len({seed_of(run) for run in some} & {seed_of(run) for run in more})
    return f"{len(more)} and {len(some)} runs, {seeds or 'no'} shared {'seed' if seeds == 1 else 'seeds'}"


def _noise(found: tuple[float, int] | None) -> str:
    lead = "intervals speak for other photos with these trainings"
    if found is None:
        return f"{lead}; no seed was repeated, so how far chance alone moves a figure is unknown"
    spread, freedom = found
    ways = f"{freedom} degree{'s' if freedom > 1 else ''} of freedom"
    return f"{lead}; another seed alone moves one run by {100 * spread:.1f} points (standard deviation, {ways})"
