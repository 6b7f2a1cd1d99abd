"""The best runs, a table per set of validation photos, and which of them chance alone may have put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from carspotter.evaluation.contenders import MOST, may_be_best
from carspotter.evaluation.metrics import best_first, log_losses
from carspotter.evaluation.paired import ALPHA, bootstrap_mean, show_p
from carspotter.records import HeldOut, Run
from carspotter.tracking.grounds import describe, sort_runs
from carspotter.tracking.held_out import groups_of
from carspotter.tracking.sides import SHORT
from carspotter.tracking.verdict import show_figure

Measure = Literal["accuracy", "log_loss"]
COLUMNS = ("id", "name", "accuracy", "log loss", "minutes", "against the best")
CHOSEN = (
    "p allows for choosing the best among {} by these photos: in 95 of 100 such tables none of the truly best is "
    "called worse"
)
APPROXIMATE = (
    "p of log losses is approximate: with few photos, a net that is seldom but badly wrong makes an equally good one "
    "look worse too often"
)
NEAR = (
    "`runs compare` may say otherwise of a pair whose p is near .05: it tests pairs named beforehand, by the method "
    "that gives its interval"
)
NEARLY = (0.01, 0.2)
"""The p for which the two methods were seen on different sides of .05, with room (assumption)."""
BEYOND = "only the first {} of {} with answers are tested against one another"
UNTESTED = "not tested"
UNPAIRED = "intervals allow for no choice among {}: without answers, even those that do not overlap may be luck"
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
    kept = [run for run in ranked if run.id in answers]
    ps = _ps(kept[:MOST], answers, by)
    beyond = {run.id for run in kept[MOST:]}
    rows = tuple(
        _row(run, answers, by, UNTESTED if run.id in beyond else _standing(ranked[0], run, ps, by)) for run in ranked
    )
    remarks = _remarks(ps, by)
    if beyond:
        remarks.append(BEYOND.format(MOST, len(kept)))
    if by == "accuracy" and len(ranked) > max(2, len(kept) if ps else 0):
        remarks.append(UNPAIRED.format(len(ranked)))
    return Leaderboard(title, rows, tuple(remarks + ([LUCKY] if len(ranked) > 2 else [])))


def _remarks(ps: Mapping[str, float], by: Measure) -> list[str]:
    """What the p say, and what they do not."""
    if len(ps) < 2:
        return []
    remarks = [CHOSEN.format(len(ps))]
    if by == "log_loss":
        remarks.append(APPROXIMATE)
    elif any(NEARLY[0] < p < NEARLY[1] for p in ps.values()):
        remarks.append(NEAR)
    return remarks


def _rank_by_accuracy(run: Run) -> tuple[float, float]:
    return (-run.accuracy.value if run.accuracy else 0.0, _log_loss(run))


def _rank_by_log_loss(run: Run) -> tuple[float, float]:
    return (_log_loss(run), -run.accuracy.value if run.accuracy else 0.0)


def _log_loss(run: Run) -> float:
    return float("inf") if run.evaluation is None else run.evaluation.log_loss


def _ps(runs: Sequence[Run], answers: Mapping[str, HeldOut], by: Measure) -> dict[str, float]:
    """By run id, the p of being (one of) the best, on the photos that all of them answered; empty where there is none.

    Args:
        runs: with answers, best first.
        answers: by run id.
        by: what the best is best in.
    """
    kept = [answers[run.id] for run in runs]
    losses = [_losses(some, by) for some in kept]
    common = sorted(set.intersection(*map(set, losses))) if losses else []
    if not common:
        return {}
    ps = may_be_best([[some[photo] for photo in common] for some in losses], groups_of(common, kept))
    return dict(zip((run.id for run in runs), ps.tolist(), strict=True))


def _losses(kept: HeldOut, by: Measure) -> dict[str, float]:
    """By photo: 1 where the answer is wrong, or the log loss."""
    wrong = best_first(kept.logits, 1)[:, 0] != kept.labels
    costs = wrong if by == "accuracy" else log_losses(kept.logits, kept.labels)
    return dict(zip(kept.ids, map(float, costs), strict=True))


def _standing(best: Run, run: Run, ps: Mapping[str, float], by: Measure) -> str:
    p = ps.get(run.id)
    if p is not None and p < ALPHA:
        return f"worse, p {show_p(p)}"
    if run is best:
        return "best"
    if p is not None and best.id in ps:
        return f"not distinguishable, p {show_p(p)}"
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
    kept = answers[run.id]
    low, high = bootstrap_mean(log_losses(kept.logits, kept.labels), kept.groups)
    return f"{shown} [{low:.3f}, {high:.3f}]"
