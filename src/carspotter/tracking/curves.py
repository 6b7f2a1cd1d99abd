"""Loss and accuracy per epoch, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carspotter.errors import TrackingError
from carspotter.records import EpochRecord, Run
from carspotter.tracking.picture import new_picture, plain_legend, write_picture

SIZE = (12.0, 5.0)  # inches; a picture of 1440x600 pixels, legible in a README
PANELS = (("loss", "train_loss", "val_loss"), ("accuracy", "train_accuracy", "val_accuracy"))
MAX_RUNS = 10  # matplotlib's colours before they begin again
MAX_NAME = 24  # characters in the legend: four of them fit beside one another (seen)
DOTTED_UP_TO = 40  # epochs; more marks run into one another (seen)


def draw_curves(runs: Sequence[Run], path: Path | str) -> None:
    """Draw loss and accuracy of every epoch, training dashed and validation solid, a colour per run.

    Thin lines in a run's colour are the boundaries of its stages; their names stand on top when one run is drawn or
    all have the same stages.

    Args:
        runs: at least one with an epoch.
        path: the picture; written whole or not at all.

    Raises:
        TrackingError: no run has an epoch, there are more than ten, or the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    drawn = [run for run in runs if run.history]
    if not drawn:
        raise TrackingError("there is no curve to draw: no run has finished an epoch; train for one epoch or more")
    if len(drawn) > MAX_RUNS:
        raise TrackingError(f"{len(drawn)} runs in one picture cannot be told apart; name {MAX_RUNS} or fewer")
    figure = new_picture(*SIZE)
    panels = figure.subplots(1, len(PANELS))
    for axes, (title, *fields) in zip(panels, PANELS, strict=True):
        for number, run in enumerate(drawn):
            _draw_run(axes, run, fields, colour=f"C{number}")
        _name_stages(axes, drawn)
        _label(axes, title)
    _legend(figure, panels[0], len(drawn))
    write_picture(figure, path)


def _draw_run(axes: Any, run: Run, fields: Sequence[str], colour: str) -> None:
    mark = "." if len(run.history) <= DOTTED_UP_TO else None
    for field, style, kind in zip(fields, ("--", "-"), ("training", "validation"), strict=True):
        points = [
            (number, value)
            for number, record in enumerate(run.history, start=1)
            if (value := getattr(record, field)) is not None
        ]
        if points:
            label = f"{run.name[:MAX_NAME]} {run.id[:8]}, {kind}"
            alpha = 0.6 if kind == "training" else 1.0
            axes.plot(*zip(*points, strict=True), style, color=colour, marker=mark, alpha=alpha, label=label)
    for begin, _ in _stages(run.history)[1:]:
        axes.axvline(begin + 0.5, color=colour, linewidth=0.8, alpha=0.5)


def _stages(history: Sequence[EpochRecord]) -> list[tuple[int, str]]:
    """(epochs before it, name) of every stage, in order."""
    return [
        (number, record.stage)
        for number, record in enumerate(history)
        if number == 0 or record.stage != history[number - 1].stage
    ]


def _name_stages(axes: Any, runs: Sequence[Run]) -> None:
    layouts = [_stages(run.history) for run in runs]
    if any(layout != layouts[0] for layout in layouts):
        return  # names of several layouts would stand on one another
    ends = [begin for begin, _ in layouts[0][1:]] + [max(len(run.history) for run in runs)]
    for row, ((begin, name), end) in enumerate(zip(layouts[0], ends, strict=True)):
        text = axes.annotate(
            name,
            ((begin + end + 1) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + 11 * (row % 2)),  # two heights, so that names of short stages pass one another
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="0.35",
        )
        text.set_parse_math(False)


def _label(axes: Any, title: str) -> None:
    axes.set_title(title, pad=28)
    axes.set_xlabel("epoch, over all stages")
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if title == "accuracy":
        axes.set_ylim(0, 1.02)
    else:
        axes.set_ylim(bottom=0)


def _legend(figure: Any, axes: Any, runs: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    # Columns are filled from the top: with one per run its two curves stand below each other.
    plain_legend(figure, handles, labels, loc="outside lower center", ncols=min(4, runs), fontsize=8)
