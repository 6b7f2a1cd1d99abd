"""What one setting did: runs that differ in it and in nothing else, with the spread of repeated seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from carspotter.data.wording import count
from carspotter.data.wording import some as first_few
from carspotter.errors import TrackingError
from carspotter.recipe import recipe_settings
from carspotter.records import HeldOut, Run
from carspotter.tracking.contrast import Contrast, Level, contrast, show_value
from carspotter.tracking.differences import UNKNOWN, all_settings, known_settings
from carspotter.tracking.grounds import Ground, describe, sort_runs
from carspotter.tracking.seed.columns import COLUMNS as LOG_COLUMNS
from carspotter.tracking.seed.columns import canonical
from carspotter.tracking.seed.settings import DOUBLE_SCALING, keys_of, scales_twice
from carspotter.tracking.sides import SHORT, division

COLUMNS = ("contrast", "value", "accuracy", "runs", "seeds", "spread", "difference", "ids")
DECIDE_NOTHING = ("name", "about", "seed", "threads")
"""Names, and what moves a figure by chance alone: seeds, and the rounding of another number of threads. The way of
splitting is no setting here either: runs on other validation photos are apart already."""
EACH_ALONE = (
    "p is corrected for the values of one contrast, not for the {} contrasts at once: the more there are, the likelier "
    "one of them is distinguishable by luck"
)
TRAINED_PART = "stage.0.trains"
"""The most telling of what the seed's log leaves open: it trained a head first and the whole network later."""
CANDIDATES = 8  # assumption: as many as one still reads in a one-line message


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


def effect(runs: Sequence[Run], axis: str, answers: Mapping[str, HeldOut] | None = None) -> Effect:
    """Group all runs into honest contrasts of one setting.

    Args:
        runs: any; those without a figure, or marked as excluded, are left out and counted.
        axis: a dotted key as `--set` names it, or an ending that only one key has.
        answers: held-out answers by run id, where a run kept them; without them differences have wider intervals.

    Raises:
        TrackingError: no such key, several keys with that ending, or no two runs that differ in it alone.
    """
    fit = sort_runs(runs)
    key = find_axis([run for some in fit.runs.values() for run in some], axis)
    sound = {ground: [run for run in some if not _saw_nothing(run)] for ground, some in fit.runs.items()}
    remarks, groups = list(fit.left_out), _groups(sound, key)
    if blind := sum(map(len, fit.runs.values())) - sum(map(len, sound.values())):
        remarks.append(f"left out: {count(blind, 'run')} with a {DOUBLE_SCALING}")
    stated = {group: [run for run in some if not _unstated(run, key)] for group, some in groups.items()}
    if unsaid := sum(map(len, groups.values())) - sum(map(len, stated.values())):
        remarks.append(f"left out: {unsaid} whose log does not state {key}")
    told = {group: levels for group, some in stated.items() if len(levels := _levels(some, key)) > 1}
    partnered = sum(len(level.runs) for levels in told.values() for level in levels)
    if lonely := sum(map(len, stated.values())) - partnered:
        remarks.append(f"left out: {lonely} without a partner that differs in {key} alone")
    if not told:
        raise TrackingError(f"no two runs differ in {key} alone ({'; '.join(remarks)}); train one that does")
    contrasts = _contrasts(told, key, answers or {})
    tested = sum(contrast.tests > 0 for contrast in contrasts)
    if tested > 1:
        remarks.append(EACH_ALONE.format(tested))
    doubts = [sentence for c in contrasts for sentence in (_other_code(c), _left_open(c, key)) if sentence]
    return Effect(key, contrasts, (*remarks, *doubts))


def find_axis(runs: Sequence[Run], axis: str) -> str:
    """The setting's whole key; a column of a log stands for the key that it became.

    Raises:
        TrackingError: there is no such key among these runs, several end so, or the column is no single setting.
    """
    keys = dict.fromkeys(key for run in runs for key in recipe_settings(run.recipe))
    if axis in keys:
        return axis
    ends = [key for key in keys if key.endswith(f".{axis}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise TrackingError(f"{axis!r} is the end of {len(ends)} settings: {_some(ends)}; give one of them whole")
    if canonical(axis) in LOG_COLUMNS:
        return _key_of_column(runs, axis)
    near = get_close_matches(axis, keys, n=3) or list(keys)
    known = f"{_some(near)}, …" if near else "none, because no run has a figure yet"
    raise TrackingError(f"there is no setting {axis!r} among the runs' recipes; known are {known}")


def _key_of_column(runs: Sequence[Run], column: str) -> str:
    keys = keys_of(column, [run.imported.cells for run in runs if run.imported is not None])
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise TrackingError(f"the log's {column} became {len(keys)} settings: {_some(keys)}; give one of them")
    raise TrackingError(
        f"the log's {column} is no setting of a recipe, so runs that differ in it are only kept apart; name a setting"
    )


# ---- groups ---------------------------------------------------------------------------------------------------------

_Group = tuple[Ground, str, tuple[str, ...], str]
"""Validation photos (all folds of one division), training photos, outside photos, and all settings but the axis and
chance, as JSON."""


def _groups(runs: Mapping[Ground, Sequence[Run]], axis: str) -> dict[_Group, list[Run]]:
    found: dict[_Group, list[Run]] = {}
    for ground, some in runs.items():
        for run in some:
            settings = json.dumps(_other_settings(run, axis), sort_keys=True)
            place = ground if axis.startswith("split.") else _place(run, ground)
            found.setdefault((place, run.dataset, run.extra, settings), []).append(run)
    return found


def _place(run: Run, ground: Ground) -> Ground:
    """Folds of one division are taken together; runs pair up within each."""
    if len(whole := division(run)) == 1:
        return ground
    return Ground(str(whole[-1]), ground.outside)


def _other_settings(run: Run, axis: str) -> dict[str, Any]:
    return {
        key: value
        for key, value in all_settings(run).items()
        if key != axis and key not in DECIDE_NOTHING and not key.startswith("split.")
    }


def _saw_nothing(run: Run) -> bool:
    """A row of a log whose figure tells of a fault in it, whatever setting is asked for."""
    return run.imported is not None and scales_twice(run.imported.cells)


def _unstated(run: Run, axis: str) -> bool:
    return run.imported is not None and axis not in run.imported.stated


def _levels(runs: Sequence[Run], axis: str) -> tuple[Level, ...]:
    """By value; a validation set that only one value has cannot tell anything and is left out."""
    values = {run.id: json.dumps(recipe_settings(run.recipe).get(axis)) for run in runs}
    having: dict[str | None, set[str]] = {}
    for run in runs:
        having.setdefault(run.validation, set()).add(values[run.id])
    found: dict[str, list[Run]] = {}
    for run in runs:
        if len(having[run.validation]) > 1:
            found.setdefault(values[run.id], []).append(run)
    levels = [Level(json.loads(value), tuple(some)) for value, some in found.items()]
    return tuple(sorted(levels, key=lambda level: value_order(level.value)))


def value_order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, show_value(value))


def _contrasts(
    told: Mapping[_Group, tuple[Level, ...]], axis: str, answers: Mapping[str, HeldOut]
) -> tuple[Contrast, ...]:
    ranked = sorted(told.items(), key=lambda item: -sum(len(level.runs) for level in item[1]))
    settings = [_other_settings(levels[0].runs[0], axis) | _conditions(group) for group, levels in ranked]
    keys = dict.fromkeys(key for some in settings for key in some)
    apart = [key for key in keys if len({json.dumps(some.get(key)) for some in settings}) > 1]
    return tuple(
        contrast(_letter(n), _title(group[0], levels), levels, {key: own.get(key) for key in apart}, answers)
        for n, ((group, levels), own) in enumerate(zip(ranked, settings, strict=True))
    )


def _conditions(group: _Group) -> dict[str, Any]:
    """What is no setting and still tells contrasts apart."""
    ground, dataset, extra, _ = group
    photos = ground.photos if " " in ground.photos else ground.photos[:SHORT]  # a hash
    return {"validation": photos, "data": dataset[:SHORT], "outside photos": " ".join(extra) or "none"}


def _title(ground: Ground, levels: Sequence[Level]) -> str:
    sets = {run.validation: run.accuracy.n for level in levels for run in level.runs if run.accuracy}
    if len(sets) < 2:
        return describe(ground, levels[0].runs)
    outside = "with outside photos" if ground.outside else "no outside photos"
    return f"{sum(sets.values())} validation photos in {len(sets)} folds, {outside}"


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


def _left_open(contrast: Contrast, axis: str) -> str:
    """What rows of a log may differ in unseen; nothing of runs trained here, whose settings are all known."""
    logged = [run for level in contrast.levels for run in level.runs if run.imported is not None]
    silent = [key for key, value in known_settings(logged[0]).items() if value == UNKNOWN] if logged else []
    if not silent:
        return ""
    example = TRAINED_PART if TRAINED_PART in silent else silent[0]
    return (
        f"{contrast.letter}: rows of a log, which leaves {len(silent)} settings open ({example} among them); they may "
        f"differ in those as well as in {axis}"
    )


def _row(contrast: Contrast, level: Level) -> tuple[object, ...]:
    spread = None if level.spread is None else round(level.spread, 4)
    ids = ",".join(run.id[:SHORT] for run in level.runs)
    counts = (len(level.runs), level.seeds)
    shown = (contrast.letter, show_value(level.value), round(level.mean, 4))
    return (*shown, *counts, spread, contrast.difference(level), ids)


def _some(keys: Sequence[str]) -> str:
    return first_few(keys, CANDIDATES)
