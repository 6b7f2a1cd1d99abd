"""The best runs, a table per set of validation photos, and which of them chance alone may have put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import log_softmax
from carspotter.evaluation.paired import ALPHA, bootstrap_mean, exchange, holm, show_p
from carspotter.records import HeldOut, Run
from carspotter.tracking.grounds import describe, sort_runs
from carspotter.tracking.sides import SHORT, make_side, match
from carspotter.tracking.verdict import show_figure

Measure = Literal["accuracy", "log_loss"]
COLUMNS = ("id", "name", "accuracy", "log loss", "minutes", "against the best")
LUCKY = "the best of them is partly the luckiest one: its figure is a little too good"


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Runs on the same validation photos, best first.

    Attributes:
        title: the photos, and whether outside photos trained too.
        rows: one per run, as `COLUMNS`.
        remarks: what to keep in mind, a sentence each.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]


def leaderboards(
    runs: Sequence[Run], answers: Mapping[str, HeldOut], by: Measure = "accuracy"
) -> tuple[tuple[Leaderboard, ...], tuple[str, ...]]:
    """A table per set of validation photos, the one with most runs first; with and without outside photos apart.

    Args:
        runs: any; those without a figure are left out and counted.
        answers: held-out answers by run id, where a run kept them; without them the intervals must do.
        by: accuracy (higher is better) or log loss (lower is better).

    Returns:
        The tables, and what was left out.
    """
    sorted_runs = sort_runs(runs)
    tables = [
        _table(describe(ground, some), some, answers, by)
        for ground, some in sorted(sorted_runs.runs.items(), key=lambda item: -len(item[1]))
    ]
    return tuple(tables), sorted_runs.left_out


def _table(title: str, runs: Sequence[Run], answers: Mapping[str, HeldOut], by: Measure) -> Leaderboard:
    ranked = sorted(runs, key=_rank_by_accuracy if by == "accuracy" else _rank_by_log_loss)
    best, *others = ranked
    ps = [_p(best, run, answers, by) for run in others]
    adjusted = iter(holm([p for p in ps if p is not None]))
    standing = [
        "best",
        *(_standing(best, run, None if p is None else next(adjusted), by) for run, p in zip(others, ps, strict=True)),
    ]
    rows = tuple(_row(run, answers, by, stands) for run, stands in zip(ranked, standing, strict=True))
    tested = sum(p is not None for p in ps)
    remarks = [f"p is raised for {tested} tests at once (Holm)"] if tested > 1 else []
    return Leaderboard(title, rows, tuple(remarks + ([LUCKY] if len(ranked) > 2 else [])))


def _rank_by_accuracy(run: Run) -> tuple[float, float]:
    return (-run.accuracy.value if run.accuracy else 0.0, _log_loss(run))


def _rank_by_log_loss(run: Run) -> tuple[float, float]:
    return (_log_loss(run), -run.accuracy.value if run.accuracy else 0.0)


def _log_loss(run: Run) -> float:
    return float("inf") if run.evaluation is None else run.evaluation.log_loss


def _p(best: Run, run: Run, answers: Mapping[str, HeldOut], by: Measure) -> float | None:
    """Of the paired test against the best; None where one of the two kept no answers."""
    if best.id not in answers or run.id not in answers:
        return None
    if by == "log_loss":
        return _p_of_losses(_losses(answers[best.id]), _losses(answers[run.id]))
    paired = match(make_side((best,), answers), make_side((run,), answers)).paired
    return None if paired is None else paired.p


def _p_of_losses(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    ahead = [loss - b[photo] for photo, loss in a.items() if photo in b]
    return exchange(ahead) if ahead else None


def _losses(kept: HeldOut) -> dict[str, float]:
    return dict(zip(kept.ids, map(float, _loss_of(kept)), strict=True))


def _loss_of(kept: HeldOut) -> npt.NDArray[np.float64]:
    """(N,) negative log-likelihood of the truth."""
    return -log_softmax(kept.logits)[np.arange(len(kept.labels)), kept.labels]


def _standing(best: Run, run: Run, p: float | None, by: Measure) -> str:
    if p is not None:
        return f"worse, p {show_p(p)}" if p < ALPHA else f"not distinguishable, p {show_p(p)}"
    if by == "accuracy" and best.accuracy and run.accuracy:
        overlap = best.accuracy.low <= run.accuracy.high
        return f"intervals {'overlap' if overlap else 'do not overlap'}, no answers to pair"
    return "no answers to pair"


def _row(run: Run, answers: Mapping[str, HeldOut], by: Measure, standing: str) -> tuple[str, ...]:
    accuracy = "" if run.accuracy is None else show_figure(run.accuracy)
    minutes = "" if run.seconds is None else f"{run.seconds / 60:.1f}"
    return (run.id[:SHORT], run.name, accuracy, _show_loss(run, answers, by), minutes, standing)


def _show_loss(run: Run, answers: Mapping[str, HeldOut], by: Measure) -> str:
    """With its interval where the table is about it, as far as the answers are there."""
    if run.evaluation is None:
        return ""
    shown = f"{run.evaluation.log_loss:.3f}"
    if by != "log_loss" or run.id not in answers:
        return shown
    low, high = bootstrap_mean(_loss_of(answers[run.id]))
    return f"{shown} [{low:.3f}, {high:.3f}]"
