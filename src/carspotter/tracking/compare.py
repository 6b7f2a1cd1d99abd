"""Runs side by side: what was set differently, what came out, and whether the two may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe, recipe_differences, recipe_settings
from carspotter.records import Figure, Machine, Run
from carspotter.tracking.curves import draw_curves

__all__ = ["Comparison", "compare", "draw_curves", "rerun_differences"]

ABSENT = "–"
SHORT = 8  # characters of an id or hash: enough among thousands of runs


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order given; the first is what the others are compared with.
        settings: dotted key → its value in each run, only where they differ; None where a recipe has no such key.
        conditions: what else differed (data, split, code, machine), a sentence each, and what that means.
        verdicts: per further run, whether its accuracy differs from the first one's beyond chance.
    """

    runs: tuple[Run, ...]
    settings: Mapping[str, tuple[Any, ...]]
    conditions: tuple[str, ...]
    verdicts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Head of the table: what is shown, then one column per run."""
        return ("", *(_title(run) for run in self.runs))

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The table as text: results, times, then the settings that differ."""
        results = [(name, *(show(run) for run in self.runs)) for name, show in RESULTS]
        phases = dict.fromkeys(phase for run in self.runs for phase in run.timings)
        times = [(f"{phase} time", *(_seconds(run.timings.get(phase)) for run in self.runs)) for phase in phases]
        settings = [(key, *(_text(value) for value in values)) for key, values in self.settings.items()]
        return (*results, *times, *settings)

    def __str__(self) -> str:
        table = (self.columns, *self.rows())
        widths = [max(len(row[i]) for row in table) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join((*lines, *self.conditions, *self.verdicts))


def compare(runs: Sequence[Run]) -> Comparison:
    """Put runs side by side; the first is the one the others are compared with.

    Raises:
        TrackingError: fewer than two different runs.
    """
    if len({run.id for run in runs}) < max(2, len(runs)):
        raise TrackingError(f"comparing needs two or more different runs, got {[run.id[:SHORT] for run in runs]}")
    first, *others = runs
    return Comparison(
        runs=tuple(runs),
        settings=_settings(runs),
        conditions=tuple(sentence for other in others for sentence in _conditions(first, other)),
        verdicts=tuple(_verdict(first, other) for other in others) + _many(others),
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
    changed += [*_data_changes(old, new), *_code_changes(old, new), *_machine_changes(old.machine, new.machine)]
    if not changed and old.validation != new.validation:
        changed = ["not the same validation photos, although the data and the way of splitting are"]
    hashes = f"the bundle hash is {_hash(new)} instead of {_hash(old)}"
    return tuple(changed) or (f"nothing recorded changed, and yet {hashes}: the training does not repeat itself",)


# ---- what differs ---------------------------------------------------------------------------------------------------

DECIDE_NOTHING = ("name", "about")


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


def _conditions(a: Run, b: Run) -> list[str]:
    """Differences that are no settings, and what they mean for the figures."""
    found = [*_data_changes(a, b), *_code_changes(a, b), *_machine_changes(a.machine, b.machine)]
    if a.validation is None or b.validation is None:
        found.append("at least one has no split; the figures cannot be compared")
    elif a.validation != b.validation:
        found.append("not the same validation photos; the figures cannot be compared directly")
    elif a.dataset != b.dataset:
        found.append("the validation photos and their labels are nevertheless the same")
    return [f"{_pair(a, b)}: {sentence}." for sentence in found]


def _data_changes(a: Run, b: Run) -> list[str]:
    found = []
    if a.dataset != b.dataset:
        prints = f"fingerprints {a.dataset[:SHORT]} and {b.dataset[:SHORT]}"
        found.append(f"not the same data ({a.photos} and {b.photos} photos, {prints})")
    if a.classes != b.classes:
        found.append(f"not the same classes ({len(a.classes)} and {len(b.classes)})")
    if a.split != b.split:
        found.append(f"not split the same way ({a.split or 'not at all'}; {b.split or 'not at all'})")
    return found


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


# ---- what it means --------------------------------------------------------------------------------------------------


def _verdict(a: Run, b: Run) -> str:
    """Whether the accuracy intervals overlap, and no more than that says."""
    if a.evaluation is None or b.evaluation is None:
        return f"{_pair(a, b)}: at least one has no result."
    x, y = a.evaluation.accuracy, b.evaluation.accuracy
    overlap = x.low <= y.high and y.low <= x.high
    shown = f"{_pair(a, b)}: accuracy {_figure(x)} and {_figure(y)}, 95 % intervals"
    if a.validation is None or a.validation != b.validation:
        return f"{shown} on different photos: no verdict."
    if overlap:
        return (
            f"{shown} overlap: these {x.n} photos do not show which is better. Both answered the same photos, so a "
            "paired test could see a smaller difference than the intervals do."
        )
    better = b if y.value > x.value else a
    return (
        f"{shown} do not overlap: on photos like these {x.n}, {_title(better)} is better beyond chance. "
        "This is one training each; another seed moves either figure."
    )


def _many(others: Sequence[Run]) -> tuple[str, ...]:
    if len(others) < 2:
        return ()
    return (f"Of {len(others) + 1} runs the best one is partly the luckiest one: its figure is a little too good.",)


# ---- text -----------------------------------------------------------------------------------------------------------


def _title(run: Run) -> str:
    return f"{run.name} {run.id[:SHORT]}"


def _pair(a: Run, b: Run) -> str:
    return f"{_title(a)} / {_title(b)}"


def _hash(run: Run) -> str:
    return ABSENT if run.bundle_hash is None else run.bundle_hash[:SHORT]


def _figure(figure: Figure) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _seconds(seconds: float | None) -> str:
    return ABSENT if seconds is None else f"{seconds:.1f} s"


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _accuracy(run: Run) -> str:
    return ABSENT if run.evaluation is None else _figure(run.evaluation.accuracy)


def _top3(run: Run) -> str:
    return ABSENT if run.evaluation is None else _figure(run.evaluation.top3_accuracy)


RESULTS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("status", lambda run: run.status),
    ("accuracy", _accuracy),
    ("top-3 accuracy", _top3),
    ("mean recall", lambda run: ABSENT if run.evaluation is None else f"{run.evaluation.macro_recall:.3f}"),
    ("log loss", lambda run: ABSENT if run.evaluation is None else f"{run.evaluation.log_loss:.3f}"),
    ("validation photos", lambda run: ABSENT if run.evaluation is None else str(run.evaluation.accuracy.n)),
    ("epochs", lambda run: str(len(run.history))),
    ("whole time", lambda run: _seconds(run.seconds)),
    ("bundle hash", _hash),
)
"""Rows that every comparison has."""
