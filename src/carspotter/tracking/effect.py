"""What one setting did: runs that differ in it and in nothing else, with the spread of repeated seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import sqrt
from statistics import mean, stdev, variance
from typing import Any

from carspotter.errors import TrackingError
from carspotter.recipe import recipe_settings
from carspotter.records import Run
from carspotter.tracking.grounds import Ground, describe, sort_runs
from carspotter.tracking.sides import SHORT

COLUMNS = ("contrast", "value", "accuracy", "runs", "seeds", "spread", "ids")
DECIDE_NOTHING = ("name", "about", "seed", "threads")
"""Names, and what moves a figure by chance alone: seeds, and the rounding of another number of threads. The way of
splitting is no setting here either: runs on other validation photos are apart already."""
CANDIDATES = 8  # assumption: as many as one still reads in a one-line message


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
    def by_seed(self) -> tuple[float, ...]:
        """One per seed: runs of one seed are averaged, they are no repetition."""
        seeds = dict.fromkeys(run.recipe.seed for run in self.runs)
        some = [[run.accuracy.value for run in self.runs if run.recipe.seed == s and run.accuracy] for s in seeds]
        return tuple(mean(values) for values in some)

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds."""
        return mean(self.by_seed)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None with a single seed."""
        return stdev(self.by_seed) if len(self.by_seed) > 1 else None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Runs that differ in the axis only, on the same validation photos.

    Attributes:
        letter: its name in tables and pictures.
        title: the photos.
        levels: two or more values of the axis, in order.
        settings: what tells it from the other contrasts, dotted key → value.
    """

    letter: str
    title: str
    levels: tuple[Level, ...]
    settings: Mapping[str, Any]

    @property
    def noise(self) -> tuple[float, int] | None:
        """Standard deviation between seeds, pooled over the levels, and its degrees of freedom; None without any."""
        repeated = [level.by_seed for level in self.levels if len(level.by_seed) > 1]
        freedom = sum(len(values) - 1 for values in repeated)
        if not freedom:
            return None
        return sqrt(sum(variance(values) * (len(values) - 1) for values in repeated) / freedom), freedom

    def sentence(self) -> str:
        """How far apart the levels are, and how far seeds alone move a figure."""
        low, high = (pick(self.levels, key=lambda level: level.mean) for pick in (min, max))
        points = 100 * (high.mean - low.mean)
        lead = f"{self.letter}: {show_value(high.value)} is {points:.1f} points above {show_value(low.value)}"
        if self.noise is None:
            return f"{lead}; no seed was repeated, so how far chance alone moves a figure is unknown"
        spread, freedom = self.noise
        ways = f"{freedom} degree{'s' if freedom > 1 else ''} of freedom"
        return f"{lead}; another seed alone moves one run by {100 * spread:.1f} points (standard deviation, {ways})"

    def command(self) -> str:
        """What tests its lowest against its highest level photo by photo; empty for rows of a log, without photos."""
        if any(run.imported is not None for level in self.levels for run in level.runs):
            return ""
        ends = [pick(self.levels, key=lambda level: level.mean) for pick in (min, max)]
        words = (",".join(run.id[:SHORT] for run in level.runs) for level in ends)
        return f"carspotter runs compare {' '.join(words)}"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a setting did across all runs.

    Attributes:
        axis: the setting's dotted key.
        contrasts: those with most runs first.
        remarks: what was left out, and what else differed, a sentence each.
    """

    axis: str
    contrasts: tuple[Contrast, ...]
    remarks: tuple[str, ...]

    def rows(self) -> tuple[tuple[object, ...], ...]:
        """As `COLUMNS`, one per value of every contrast; accuracy and spread as shares."""
        return tuple(_row(contrast, level) for contrast in self.contrasts for level in contrast.levels)


def effect(runs: Sequence[Run], axis: str) -> Effect:
    """Group all runs into honest contrasts of one setting.

    Args:
        runs: any; those without a figure, or marked as excluded, are left out and counted.
        axis: a dotted key as `--set` names it, or an ending that only one key has.

    Raises:
        TrackingError: no such key, several keys with that ending, or no two runs that differ in it alone.
    """
    fit = sort_runs(runs)
    key = find_axis([run for some in fit.runs.values() for run in some], axis)
    remarks, groups = list(fit.left_out), _groups(fit.runs, key)
    stated = {group: [run for run in some if not _unstated(run, key)] for group, some in groups.items()}
    if unsaid := sum(map(len, groups.values())) - sum(map(len, stated.values())):
        remarks.append(f"left out: {unsaid} whose log does not state {key}")
    told = {group: levels for group, some in stated.items() if len(levels := _levels(some, key)) > 1}
    if lonely := sum(len(some) for group, some in stated.items() if group not in told):
        remarks.append(f"left out: {lonely} without a partner that differs in {key} alone")
    if not told:
        raise TrackingError(f"no two runs differ in {key} alone ({'; '.join(remarks)}); train one that does")
    contrasts = _contrasts(told, key)
    return Effect(key, contrasts, tuple(remarks) + tuple(_other_code(c) for c in contrasts if _other_code(c)))


def find_axis(runs: Sequence[Run], axis: str) -> str:
    """The setting's whole key.

    Raises:
        TrackingError: there is no such key among these runs, or several end so.
    """
    keys = dict.fromkeys(key for run in runs for key in recipe_settings(run.recipe))
    if axis in keys:
        return axis
    ends = [key for key in keys if key.endswith(f".{axis}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise TrackingError(f"{axis!r} is the end of {len(ends)} settings: {_some(ends)}; give one of them whole")
    near = get_close_matches(axis, keys, n=3) or list(keys)
    known = f"{_some(near)}, …" if near else "none, because no run has a figure yet"
    raise TrackingError(f"there is no setting {axis!r} among the runs' recipes; known are {known}")


def show_value(value: Any) -> str:
    """A setting as TOML and `--set` write it, without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


# ---- groups ---------------------------------------------------------------------------------------------------------

_Group = tuple[Ground, str, tuple[str, ...], str]
"""Validation photos, training photos, outside photos, and all settings but the axis and chance, as JSON."""


def _groups(runs: Mapping[Ground, Sequence[Run]], axis: str) -> dict[_Group, list[Run]]:
    found: dict[_Group, list[Run]] = {}
    for ground, some in runs.items():
        for run in some:
            settings = json.dumps(_other_settings(run, axis), sort_keys=True)
            found.setdefault((ground, run.dataset, run.extra, settings), []).append(run)
    return found


def _other_settings(run: Run, axis: str) -> dict[str, Any]:
    settings = recipe_settings(run.recipe)
    return {
        key: value
        for key, value in settings.items()
        if key != axis and key not in DECIDE_NOTHING and not key.startswith("split.")
    }


def _unstated(run: Run, axis: str) -> bool:
    return run.imported is not None and axis not in run.imported.stated


def _levels(runs: Sequence[Run], axis: str) -> tuple[Level, ...]:
    found: dict[str, tuple[Any, list[Run]]] = {}
    for run in runs:
        value = recipe_settings(run.recipe).get(axis)
        found.setdefault(json.dumps(value), (value, []))[1].append(run)
    levels = [Level(value, tuple(some)) for value, some in found.values()]
    return tuple(sorted(levels, key=lambda level: value_order(level.value)))


def value_order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, show_value(value))


def _contrasts(told: Mapping[_Group, tuple[Level, ...]], axis: str) -> tuple[Contrast, ...]:
    ranked = sorted(told.items(), key=lambda item: -sum(len(level.runs) for level in item[1]))
    settings = [_other_settings(levels[0].runs[0], axis) | _conditions(group) for group, levels in ranked]
    keys = dict.fromkeys(key for some in settings for key in some)
    apart = [key for key in keys if len({json.dumps(some.get(key)) for some in settings}) > 1]
    return tuple(
        Contrast(_letter(n), describe(group[0], levels[0].runs), levels, {key: own.get(key) for key in apart})
        for n, ((group, levels), own) in enumerate(zip(ranked, settings, strict=True))
    )


def _conditions(group: _Group) -> dict[str, Any]:
    """What is no setting and still tells contrasts apart."""
    ground, dataset, extra, _ = group
    return {"validation": ground.photos[:SHORT], "data": dataset[:SHORT], "outside photos": " ".join(extra) or "none"}


def _letter(number: int) -> str:
    """A … Z, then A1 … Z1, and so on."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _other_code(contrast: Contrast) -> str:
    versions = {run.code_version for level in contrast.levels for run in level.runs}
    if len(versions) < 2:
        return ""
    return (
        f"{contrast.letter}: trained by {len(versions)} versions of the code, which may differ by more than the setting"
    )


def _row(contrast: Contrast, level: Level) -> tuple[object, ...]:
    spread = None if level.spread is None else round(level.spread, 4)
    ids = ",".join(run.id[:SHORT] for run in level.runs)
    value = show_value(level.value)
    return (contrast.letter, value, round(level.mean, 4), len(level.runs), len(level.by_seed), spread, ids)


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - CANDIDATES} more" if len(keys) > CANDIDATES else ""
    return ", ".join(keys[:CANDIDATES]) + more
