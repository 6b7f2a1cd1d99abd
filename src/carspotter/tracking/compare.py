"""Runs side by side: what was set differently, what came out, and whether the two may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from carspotter.errors import TrackingError
from carspotter.evaluation.shares import wilson, witnesses
from carspotter.records import Figure, Run
from carspotter.tracking.contrast import pooled
from carspotter.tracking.differences import (
    ABSENT,
    data_changes,
    differing_settings,
    place_changes,
    setting,
    short_hash,
    split_changes,
)
from carspotter.tracking.sides import SHORT, Side
from carspotter.tracking.verdict import show_figure, verdicts

REPEATS = ("seed", "split.fold")
"""What differs among repetitions of one recipe."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        sides: in the order given; the first is what the others are compared with.
        settings: dotted key → its value in each run, only where they differ; None where a recipe has no such key,
            "unknown" where the log of an imported run does not name it.
        conditions: what else differed (data, split, code, machine), a sentence each, and what that means.
        verdicts: per further side, whether its accuracy differs from the first one's beyond chance.
    """

    sides: tuple[Side, ...]
    settings: Mapping[str, tuple[Any, ...]]
    conditions: tuple[str, ...]
    verdicts: tuple[str, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of all sides."""
        return tuple(run for side in self.sides for run in side.runs)

    @property
    def columns(self) -> tuple[str, ...]:
        """Head of the table: what is shown, then one column per side."""
        return ("", *(side.title for side in self.sides))

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The table as text: results, times, then the settings that differ."""
        results = [(name, *(show(side) for side in self.sides)) for name, show in RESULTS]
        phases = dict.fromkeys(phase for run in self.runs for phase in run.timings)
        times = [(f"{phase} time", *(_phase(side, phase) for side in self.sides)) for phase in phases]
        return (*results, *times, *((key, *self._cells(key)) for key in self.settings))

    def _cells(self, key: str) -> list[str]:
        """A setting's value in each side; several where its runs differ."""
        values = iter(self.settings[key])
        return [_join(_text(next(values)) for _ in side.runs) for side in self.sides]

    def __str__(self) -> str:
        table = (self.columns, *self.rows())
        widths = [max(len(row[i]) for row in table) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join((*lines, *self.conditions, *self.verdicts))


def compare(runs: Sequence[Run]) -> Comparison:
    """Put single runs side by side, by their figures alone; `compare_sides` knows their answers.

    Raises:
        TrackingError: fewer than two different runs.
    """
    return compare_sides([Side((run,)) for run in runs])


def compare_sides(sides: Sequence[Side]) -> Comparison:
    """Put sides side by side; the first is the one the others are compared with.

    Raises:
        TrackingError: fewer than two sides, or a run that stands in two places.
    """
    runs = [run for side in sides for run in side.runs]
    if len(sides) < 2 or len({run.id for run in runs}) < len(runs):
        raise TrackingError(f"comparing needs two or more different runs, got {[run.id[:SHORT] for run in runs]}")
    first, *others = sides
    between = [sentence for other in others for sentence in _conditions(first, other)]
    return Comparison(
        sides=tuple(sides),
        settings=_settings(runs),
        conditions=tuple(sentence for side in sides for sentence in _mixed(side)) + tuple(between),
        verdicts=verdicts(first, others) + _many(others),
    )


def _settings(runs: Sequence[Run]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for other in runs[1:] for key in differing_settings(runs[0], other))
    return {key: tuple(setting(run, key) for run in runs) for key in keys}


def _conditions(a: Side, b: Side) -> list[str]:
    """Differences that are no settings, and what they mean for the figures."""
    old = a.runs[0]
    found: dict[str, None] = {}
    for new in b.runs:
        split = split_changes(old, new) if len(a.runs) == len(b.runs) == 1 else []  # folds are meant to differ
        found |= dict.fromkeys([*data_changes(old, new), *split, *place_changes(old, new)])
    return [f"{a.title} / {b.title}: {sentence}." for sentence in (*found, *_photo_changes(a, b))]


def _photo_changes(a: Side, b: Side) -> list[str]:
    """What the validation photos of two sides mean for their figures."""
    if None in a.validations | b.validations:
        return ["which photos validated at least one is not known; the figures cannot be compared"]
    if a.validations != b.validations:
        return ["not the same validation photos; the figures cannot be compared directly"]
    if {run.dataset for run in a.runs} != {run.dataset for run in b.runs}:
        return ["the validation photos and their labels are nevertheless the same"]
    return []


def _mixed(side: Side) -> list[str]:
    """What should not differ among runs that are taken together."""
    first, *rest = side.runs
    keys = dict.fromkeys(key for run in rest for key in differing_settings(first, run) if key not in REPEATS)
    data = dict.fromkeys(sentence for run in rest for sentence in data_changes(first, run))
    if not keys and not data:
        return []
    return [f"{side.title} takes together what is not one recipe on one set: {', '.join((*keys, *data))}."]


# ---- text -----------------------------------------------------------------------------------------------------------


def _many(others: Sequence[Side]) -> tuple[str, ...]:
    if len(others) < 2:
        return ()
    return (f"Of {len(others) + 1} runs the best one is partly the luckiest one: its figure is a little too good.",)


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _join(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _seconds(values: Sequence[float | None]) -> str:
    """The sum, as far as it is known."""
    known = [value for value in values if value is not None]
    return f"{sum(known):.1f} s" if known else ABSENT


def _phase(side: Side, phase: str) -> str:
    return _seconds([run.timings.get(phase) for run in side.runs])


def _figure(of: Callable[[Run], Figure | float | None]) -> Callable[[Side], str]:
    """One run's figure as it is; folds as the one set they are; of other runs the mean and how far seeds move it."""

    def cell(side: Side) -> str:
        known = [figure for run in side.runs if (figure := of(run)) is not None]
        if len(known) < 2:
            return show_figure(known[0]) if known else ABSENT
        if not side.folds:
            return _spread([(run.validation, figure) for run in side.runs if (figure := of(run)) is not None])
        shares = [figure for figure in known if isinstance(figure, Figure)]
        return f"{show_figure(_pool(shares) if shares else mean(map(_value, known)))} ({len(known)} folds)"

    return cell


def _spread(known: Sequence[tuple[str | None, Figure | float]]) -> str:
    """Mean, and the standard deviation between runs on the same photos: that some photos are easier is none of it."""
    sets: dict[str | None, list[float]] = {}
    for photos, figure in known:
        sets.setdefault(photos, []).append(_value(figure))
    found = pooled(sets.values())
    shown = f"{mean(map(mean, sets.values())):.3f}" + (f" ± {found[0]:.3f}" if found else "")
    return f"{shown} ({len(known)} runs{f' on {len(sets)} sets of photos' if len(sets) > 1 else ''})"


def _value(figure: Figure | float) -> float:
    return figure.value if isinstance(figure, Figure) else figure


def _pool(shares: Sequence[Figure]) -> Figure:
    """The share over all folds' photos; what belongs together lies in one fold."""
    right = sum(round(figure.value * figure.n) for figure in shares)
    return wilson(right, sum(figure.n for figure in shares), sum(map(witnesses, shares)))


def _photos(side: Side) -> str:
    counts = [run.accuracy.n for run in side.runs if run.accuracy]
    if side.folds:
        return f"{sum(counts)} in {len(counts)} folds"
    return _join(map(str, counts)) or ABSENT


RESULTS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("status", lambda side: _join(run.status for run in side.runs)),
    ("accuracy", _figure(lambda run: run.accuracy)),
    ("top-3 accuracy", _figure(lambda run: run.evaluation.top3_accuracy if run.evaluation else None)),
    ("mean recall", _figure(lambda run: run.evaluation.macro_recall if run.evaluation else None)),
    ("log loss", _figure(lambda run: run.evaluation.log_loss if run.evaluation else None)),
    ("validation photos", _photos),
    ("epochs", lambda side: _join(str(len(run.history)) for run in side.runs)),
    ("whole time", lambda side: _seconds([run.seconds for run in side.runs])),
    ("bundle hash", lambda side: _join(short_hash(run) for run in side.runs)),
)
"""Rows that every comparison has; times of several runs are added up."""
