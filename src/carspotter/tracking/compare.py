"""Runs side by side: what was set differently, what came out, and whether the two may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe, recipe_differences, recipe_settings
from carspotter.records import Figure, Machine, Run
from carspotter.tracking.curves import draw_curves
from carspotter.tracking.sides import SHORT, Side
from carspotter.tracking.verdict import show_figure, verdict

__all__ = ["Comparison", "compare", "compare_sides", "draw_curves", "rerun_differences"]

ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        sides: in the order given; the first is what the others are compared with.
        settings: dotted key → its value in each run, only where they differ; None where a recipe has no such key.
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
        verdicts=tuple(verdict(first, other) for other in others) + _many(others),
    )


def rerun_differences(old: Run, new: Run) -> tuple[str, ...]:
    """Why a repeated training gave another model; empty when it gave the same one.

    Returns:
        A sentence for each thing that changed, or one that says that nothing recorded did.
    """
    if old.bundle_hash is not None and old.bundle_hash == new.bundle_hash:
        return ()
    missing = [run for run in (old, new) if run.bundle_hash is None]
    if missing:
        return tuple(f"run {run.id[:SHORT]} is {run.status} and has no model to compare" for run in missing)
    settings = _differing(old.recipe, new.recipe)
    changed = [f"not the same settings ({', '.join(settings)})"] if settings else []
    changed += [
        *_data_changes(old, new),
        *_split_changes(old, new),
        *_code_changes(old, new),
        *_machine_changes(old.machine, new.machine),
    ]
    if not changed and old.validation != new.validation:
        changed = ["not the same validation photos, although the data and the way of splitting are"]
    hashes = f"the bundle hash is {_hash(new)} instead of {_hash(old)}"
    return tuple(changed) or (f"nothing recorded changed, and yet {hashes}: the training does not repeat itself",)


# ---- what differs ---------------------------------------------------------------------------------------------------

DECIDE_NOTHING = ("name", "about")
REPEATS = ("seed", "split.fold")
"""What differs among repetitions of one recipe."""


def _settings(runs: Sequence[Run]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for other in runs[1:] for key in _differing(runs[0].recipe, other.recipe))
    return {key: tuple(_setting(run.recipe, key) for run in runs) for key in keys}


def _differing(a: Recipe, b: Recipe) -> list[str]:
    """Keys of the settings that differ; a stage that only one recipe has is one key, not thirty."""
    shared = min(len(a.stage), len(b.stage))
    found: dict[str, None] = {}
    for key in recipe_differences(a, b):
        part, _, rest = key.partition(".")
        number = rest.partition(".")[0]
        found[f"stage.{number}" if part == "stage" and int(number) >= shared else key] = None
    return [key for key in found if key not in DECIDE_NOTHING]


def _setting(recipe: Recipe, key: str) -> Any:
    part, _, number = key.partition(".")
    if part != "stage" or not number.isdigit():
        return recipe_settings(recipe).get(key)
    if int(number) >= len(recipe.stage):
        return None
    stage = recipe.stage[int(number)]
    return f"{stage.name}: {stage.epochs} epochs of {stage.trains} at {stage.width}x{stage.height}"


def _conditions(a: Side, b: Side) -> list[str]:
    """Differences that are no settings, and what they mean for the figures."""
    old = a.runs[0]
    found: dict[str, None] = {}
    for new in b.runs:
        split = _split_changes(old, new) if len(a.runs) == len(b.runs) == 1 else []  # folds are meant to differ
        found |= dict.fromkeys([*_data_changes(old, new), *split])
        found |= dict.fromkeys([*_code_changes(old, new), *_machine_changes(old.machine, new.machine)])
    return [f"{a.title} / {b.title}: {sentence}." for sentence in (*found, *_photo_changes(a, b))]


def _photo_changes(a: Side, b: Side) -> list[str]:
    """What the validation photos of two sides mean for their figures."""
    if None in a.validations | b.validations:
        return ["at least one has no split; the figures cannot be compared"]
    if a.validations != b.validations:
        return ["not the same validation photos; the figures cannot be compared directly"]
    if {run.dataset for run in a.runs} != {run.dataset for run in b.runs}:
        return ["the validation photos and their labels are nevertheless the same"]
    return []


def _mixed(side: Side) -> list[str]:
    """What should not differ among runs that are taken together."""
    first, *rest = side.runs
    keys = dict.fromkeys(key for run in rest for key in _differing(first.recipe, run.recipe) if key not in REPEATS)
    data = dict.fromkeys(sentence for run in rest for sentence in _data_changes(first, run))
    if not keys and not data:
        return []
    return [f"{side.title} takes together what is not one recipe on one set: {', '.join((*keys, *data))}."]


def _data_changes(a: Run, b: Run) -> list[str]:
    found = []
    if a.dataset != b.dataset:
        prints = f"fingerprints {a.dataset[:SHORT]} and {b.dataset[:SHORT]}"
        found.append(f"not the same data ({a.photos} and {b.photos} photos, {prints})")
    if a.classes != b.classes:
        found.append(f"not the same classes ({len(a.classes)} and {len(b.classes)})")
    if a.extra != b.extra:
        shown = [" ".join(run.extra) or "none" for run in (a, b)]
        found.append(f"not the same outside photos in training ({shown[0]}; {shown[1]})")
    return found


def _split_changes(a: Run, b: Run) -> list[str]:
    if a.split == b.split:
        return []
    return [f"not split the same way ({a.split or 'not at all'}; {b.split or 'not at all'})"]


def _code_changes(a: Run, b: Run) -> list[str]:
    if a.code_version != b.code_version:
        return [f"not the same code ({a.code_version} and {b.code_version})"]
    if a.code_version.endswith(".dirty"):
        return [f"the code had changes that no commit holds ({a.code_version}), so it may differ"]
    return []


def _machine_changes(a: Machine, b: Machine) -> list[str]:
    fields = ("system", "processor", "cores", "threads", "device", "python")
    found = [
        f"not the same {name} ({getattr(a, name)} and {getattr(b, name)})"
        for name in fields
        if getattr(a, name) != getattr(b, name)
    ]
    names = sorted(name for name in {*a.packages, *b.packages} if a.packages.get(name) != b.packages.get(name))
    versions = [f"{name} {a.packages.get(name, ABSENT)} and {b.packages.get(name, ABSENT)}" for name in names]
    return [*found, f"not the same packages ({', '.join(versions)})"] if versions else found


# ---- text -----------------------------------------------------------------------------------------------------------


def _many(others: Sequence[Side]) -> tuple[str, ...]:
    if len(others) < 2:
        return ()
    return (f"Of {len(others) + 1} runs the best one is partly the luckiest one: its figure is a little too good.",)


def _hash(run: Run) -> str:
    return ABSENT if run.bundle_hash is None else run.bundle_hash[:SHORT]


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
    """One run's figure as it is; of several the mean and the standard deviation among them."""

    def cell(side: Side) -> str:
        known = [figure for run in side.runs if (figure := of(run)) is not None]
        if len(known) < 2:
            return show_figure(known[0]) if known else ABSENT
        values = [figure.value if isinstance(figure, Figure) else figure for figure in known]
        return f"{mean(values):.3f} ± {stdev(values):.3f} ({len(values)} runs)"

    return cell


def _photos(run: Run) -> str:
    return ABSENT if run.accuracy is None else str(run.accuracy.n)


RESULTS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("status", lambda side: _join(run.status for run in side.runs)),
    ("accuracy", _figure(lambda run: run.accuracy)),
    ("top-3 accuracy", _figure(lambda run: run.evaluation.top3_accuracy if run.evaluation else None)),
    ("mean recall", _figure(lambda run: run.evaluation.macro_recall if run.evaluation else None)),
    ("log loss", _figure(lambda run: run.evaluation.log_loss if run.evaluation else None)),
    ("validation photos", lambda side: _join(map(_photos, side.runs))),
    ("epochs", lambda side: _join(str(len(run.history)) for run in side.runs)),
    ("whole time", lambda side: _seconds([run.seconds for run in side.runs])),
    ("bundle hash", lambda side: _join(_hash(run) for run in side.runs)),
)
"""Rows that every comparison has; times of several runs are added up."""
