"""Which runs may stand in one table at all: judged on the same photos, and both with or both without outside photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carspotter.data.wording import count
from carspotter.records import Run
from carspotter.tracking.sides import SHORT


@dataclass(frozen=True, slots=True)
class Ground:
    """What the figures of one table have in common.

    Attributes:
        photos: hash of the validation photos; for runs of another program's log, the log and how it split.
        outside: whether photos of other sources trained as well.
    """

    photos: str
    outside: bool


@dataclass(frozen=True, slots=True)
class Sorted:
    """Runs that have a figure, by what it was measured on.

    Attributes:
        runs: ground → its runs, oldest first; the same model trained again stands there once.
        left_out: how many runs were left out and why, a sentence per reason.
    """

    runs: dict[Ground, tuple[Run, ...]]
    left_out: tuple[str, ...]


def sort_runs(runs: Sequence[Run]) -> Sorted:
    """Sort runs by what may be compared; whatever cannot be is counted."""
    found: dict[Ground, list[Run]] = {}
    left_out: dict[str, int] = {}
    models: set[tuple[Ground, str]] = set()
    for run in sorted(runs, key=lambda run: (run.started, run.id)):
        ground = _ground(run)
        reason = _unfit(run, ground) or _again(run, ground, models)
        if reason or ground is None:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            found.setdefault(ground, []).append(run)
    sentences = tuple(f"left out: {count(number, 'run')} {reason}" for reason, number in left_out.items())
    return Sorted({ground: tuple(some) for ground, some in found.items()}, sentences)


def describe(ground: Ground, runs: Sequence[Run]) -> str:
    """One line about the photos: `773 photos, set 1a2b3c4d (holdout …), no outside photos`."""
    first = runs[0]
    photos = first.accuracy.n if first.accuracy else 0
    where = "with outside photos" if ground.outside else "no outside photos"
    name = ground.photos if first.validation is None else f"set {first.validation[:SHORT]} ({first.split})"
    return f"{photos} validation photos, {name}, {where}"


def _ground(run: Run) -> Ground | None:
    if run.validation is not None:
        return Ground(run.validation, bool(run.extra))
    if run.imported is not None:
        return Ground(f"{run.imported.source}: {run.split}", bool(run.extra))
    return None


def _unfit(run: Run, ground: Ground | None) -> str:
    """Why a run has no place in any table; empty where it has."""
    if run.excluded:
        return "marked as no training of its own"
    if run.status != "finished":
        return f"{run.status}"
    if run.accuracy is None:
        return "without an accuracy"
    return "" if ground else "without validation photos"


def _again(run: Run, ground: Ground | None, models: set[tuple[Ground, str]]) -> str:
    if run.bundle_hash is None or ground is None:
        return ""
    key = (ground, run.bundle_hash)
    if key in models:
        return "that gave the same model as an earlier one, which is counted once"
    models.add(key)
    return ""
