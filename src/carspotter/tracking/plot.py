"""How runs learned and what they cost: loss and accuracy over wall minutes, and accuracy against minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carspotter.records import Run
from carspotter.tracking.curves import KEY, MAX_NAME, MAX_RUNS, draw_panels, with_curves
from carspotter.tracking.grounds import Ground, Sorted, describe, sort_runs
from carspotter.tracking.picture import COLOURS, MARKERS, new_picture, plain_legend, tidy, write_picture
from carspotter.tracking.sides import SHORT

MAX_TITLE = 110  # characters of a title over the whole width (seen)
MAX_TICKS = 8  # assumption: more numbers under an axis of this width touch
LOG_FROM = 20.0
"""Assumption: beyond this ratio of the longest to the shortest run, a linear axis presses the short ones together."""


def draw_plot(named: Sequence[Run], runs: Sequence[Run], path: Path | str) -> tuple[str, ...]:
    """Draw curves of some runs above, and all runs on the same validation photos below.

    Args:
        named: whose curves are drawn; where empty, the newest ones that have curves.
        runs: all, for the lower panel.
        path: the picture; written whole or not at all.

    Returns:
        What is not in the picture, a sentence each.

    Raises:
        TrackingError: more runs than colours, nothing to draw, or the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    fit = sort_runs(runs)
    curved = _curved(named, runs)
    ground = _ground(curved[0], fit)
    figure = new_picture(12.0, 10.0 if ground else 5.5)
    upper = figure.subplots(2, 2, squeeze=False) if ground else figure.subplots(1, 2, squeeze=False)
    draw_panels(upper[0], curved, clock, f"wall minutes ({KEY})")
    plain_legend(upper[0][0], *upper[0][0].get_legend_handles_labels(), fontsize=7, loc="upper right")
    if ground:
        lower = _one_panel(figure, upper)
        _draw_costs(lower, fit, ground, curved)
    write_picture(figure, path)
    return (*_missing(named, curved), *_elsewhere(fit, ground), *fit.left_out)


def clock(run: Run) -> tuple[float, ...]:
    """Minutes from the run's birth to the end of each epoch, as far as its timings tell.

    What a stage did before its first epoch (features, caches) is what its phase took beyond its epochs.
    """
    at, ends = run.timings.get("scan", 0.0), []
    for stage in dict.fromkeys(record.stage for record in run.history):
        epochs = [record.seconds for record in run.history if record.stage == stage]
        at += max(0.0, run.timings.get(f"stage {stage}", 0.0) - sum(epochs))
        for seconds in epochs:
            at += seconds
            ends.append(at / 60)
    return tuple(ends)


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Which (minutes, accuracy) points no other beats in both; positions, by rising minutes."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return tuple(front)


# ---- which runs -----------------------------------------------------------------------------------------------------


def _curved(named: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    newest = [run for run in runs if run.history and not run.excluded]
    return with_curves(named or newest[:MAX_RUNS])


def _ground(run: Run, fit: Sorted) -> Ground | None:
    """The photos of the lower panel: those of the first run drawn, else those that most runs share."""
    of_run = [ground for ground in fit.runs if run.validation is not None and ground.photos == run.validation]
    return next(iter(of_run or sorted(fit.runs, key=lambda ground: -len(fit.runs[ground]))), None)


def _missing(named: Sequence[Run], curved: Sequence[Run]) -> list[str]:
    without = [run.id[:SHORT] for run in named if run not in curved]
    return [f"without an epoch, so without a curve: {', '.join(without)}"] if without else []


def _elsewhere(fit: Sorted, ground: Ground | None) -> list[str]:
    others = sum(len(runs) for other, runs in fit.runs.items() if ground is None or other.photos != ground.photos)
    return [f"not in the lower panel: runs on other validation photos ({others})"] if others else []


# ---- panels ---------------------------------------------------------------------------------------------------------


def _one_panel(figure: Any, grid: Any) -> Any:
    """The lower row of a 2x2 grid as one wide panel."""
    place = grid[1][0].get_gridspec()
    for axes in grid[1]:
        axes.remove()
    return figure.add_subplot(place[1, :])


def _draw_costs(axes: Any, fit: Sorted, ground: Ground, curved: Sequence[Run]) -> None:
    """Every run's accuracy and minutes; runs with outside photos have a mark and a front of their own."""
    colour = {run.id: COLOURS[number] for number, run in enumerate(curved)}
    same = {outside: fit.runs.get(Ground(ground.photos, outside), ()) for outside in (False, True)}
    for outside, runs in same.items():
        timed = [run for run in runs if run.seconds is not None and run.accuracy is not None]
        if timed:
            _draw_points(axes, timed, outside, colour)
    title = describe(ground, fit.runs[ground]).rpartition(", ")[0]
    title = title if len(title) <= MAX_TITLE else f"{title[:MAX_TITLE]}…"
    tidy(axes, title, "wall minutes of the whole run", "accuracy")
    _scale(axes, [run.seconds / 60 for runs in same.values() for run in runs if run.seconds])
    plain_legend(axes, *axes.get_legend_handles_labels(), fontsize=8, loc="lower right")


def _draw_points(axes: Any, runs: Sequence[Run], outside: bool, colour: dict[str, str]) -> None:
    points = [(run.seconds / 60, run.accuracy.value) for run in runs if run.seconds is not None and run.accuracy]
    label = "with outside photos" if outside else "no outside photos"
    for run, (minutes, accuracy) in zip(runs, points, strict=True):
        own = colour.get(run.id, "0.45")
        if run.accuracy:
            axes.vlines(minutes, run.accuracy.low, run.accuracy.high, color=own, linewidth=0.8, alpha=0.35)
        face = "white" if outside else own
        axes.plot(
            minutes, accuracy, MARKERS[int(outside)], color=own, markerfacecolor=face, markersize=7, markeredgewidth=1.5
        )
    axes.plot([], [], MARKERS[int(outside)], color="0.45", markerfacecolor="white" if outside else "0.45", label=label)
    front = [points[i] for i in pareto_front(points)]
    style = ":" if outside else "-"
    axes.step(*zip(*front, strict=True), style, where="post", color="0.3", linewidth=1, label=f"Pareto front, {label}")
    _name_front(axes, [(runs[i], points[i]) for i in pareto_front(points)])


def _name_front(axes: Any, front: Sequence[tuple[Run, tuple[float, float]]]) -> None:
    """Up and left of each point, where a front leaves nothing; there the first one would leave the picture."""
    for number, (run, place) in enumerate(front):
        how = {"xytext": (-6, 5), "ha": "right"} if number else {"xytext": (6, -11), "ha": "left"}
        text = axes.annotate(
            f"{run.name[:MAX_NAME]} {run.id[:4]}", place, textcoords="offset points", fontsize=7, **how
        )
        text.set_parse_math(False)


def _scale(axes: Any, minutes: Sequence[float]) -> None:
    if minutes and max(minutes) > LOG_FROM * min(minutes):
        from matplotlib.ticker import FuncFormatter, LogLocator

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=MAX_TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    else:
        axes.set_xlim(left=0)
