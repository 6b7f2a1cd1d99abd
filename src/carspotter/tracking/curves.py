"""Loss and accuracy of every epoch, drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from carspotter.errors import TrackingError
from carspotter.records import EpochRecord, Run
from carspotter.tracking.picture import COLOURS, new_picture, plain_legend, tidy, write_picture
from carspotter.tracking.sides import SHORT

SIZE = (12.0, 5.0)  # inches; a picture of 1440x600 pixels, legible in a README
PANELS = (("loss", "train_loss", "val_loss"), ("accuracy", "train_accuracy", "val_accuracy"))
MAX_RUNS = len(COLOURS)
MAX_NAME = 24  # characters of a run's name in a legend: four of them fit beside one another (seen)
DOTTED_UP_TO = 40  # epochs; more marks run into one another (seen)
KEY = "dashed: training; solid: held out; ring: first epoch of a stage"


def draw_curves(runs: Sequence[Run], path: Path | str) -> None:
    """Draw loss and accuracy over epochs, a colour per run.

    Args:
        runs: at least one with an epoch.
        path: the picture; written whole or not at all.

    Raises:
        TrackingError: no run has an epoch, there are more than seven, or the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    drawn = with_curves(runs)
    figure = new_picture(*SIZE)
    panels = figure.subplots(1, len(PANELS))
    draw_panels(panels, drawn, lambda run: range(1, len(run.history) + 1), f"epoch ({KEY})")
    for axes in panels:
        axes.xaxis.get_major_locator().set_params(integer=True)
    plain_legend(
        figure, *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(drawn)), fontsize=8
    )
    write_picture(figure, path)


def with_curves(runs: Iterable[Run]) -> list[Run]:
    """The runs that have an epoch.

    Raises:
        TrackingError: none has, or there are more than colours.
    """
    drawn = [run for run in runs if run.history]
    if not drawn:
        raise TrackingError("there is no curve to draw: no run has finished an epoch; train for one epoch or more")
    if len(drawn) > MAX_RUNS:
        raise TrackingError(f"{len(drawn)} runs in one picture cannot be told apart; name {MAX_RUNS} or fewer")
    return drawn


def draw_panels(
    panels: Sequence[Any], runs: Sequence[Run], places: Callable[[Run], Sequence[float]], below: str
) -> None:
    """Draw a panel of losses and one of accuracies. Stages are named where all runs have the same in the same places.

    Args:
        panels: two axes of matplotlib.
        runs: with epochs, not more than colours.
        places: of each epoch of a run on the horizontal axis.
        below: what that axis is.
    """
    spans = [_spans(run.history, places(run)) for run in runs]
    for axes, (title, training, validation) in zip(panels, PANELS, strict=True):
        for run, colour in zip(runs, COLOURS, strict=False):
            _draw_run(axes, run, places(run), (training, validation), colour)
        tidy(axes, title, below)
        axes.set_ylim(0, 1.02) if title == "accuracy" else axes.set_ylim(bottom=0)
        if all(one == spans[0] for one in spans):
            _name_stages(axes, title, spans[0])


def _draw_run(axes: Any, run: Run, places: Sequence[float], fields: tuple[str, str], colour: str) -> None:
    training, held_out = (_values(run.history, field) for field in fields)
    label = f"{run.name[:MAX_NAME]} {run.id[:SHORT]}"
    mark = "." if len(run.history) <= DOTTED_UP_TO else None
    axes.plot(places, training, "--", color=colour, marker=mark, alpha=0.6, linewidth=1)
    axes.plot(places, held_out, color=colour, marker=mark, linewidth=1.8, label=label)
    begins = [i for i, record in enumerate(run.history) if i and record.stage != run.history[i - 1].stage]
    ring = {"color": colour, "markerfacecolor": "white", "markersize": 5}
    axes.plot([places[i] for i in begins], [held_out[i] for i in begins], "o", **ring)


def _values(history: Sequence[EpochRecord], field: str) -> list[float]:
    return [float("nan") if (value := getattr(record, field)) is None else float(value) for record in history]


def _spans(history: Sequence[EpochRecord], places: Sequence[float]) -> list[tuple[str, float, float]]:
    """The name of every stage, and where its first and its last epoch are."""
    found = []
    for name, members in groupby(zip(history, places, strict=True), key=lambda pair: pair[0].stage):
        at = [place for _, place in members]
        found.append((name, at[0], at[-1]))
    return found


def _name_stages(axes: Any, title: str, spans: Sequence[tuple[str, float, float]]) -> None:
    """Names above the panel, on two heights so that short stages pass one another."""
    for row, (name, first, last) in enumerate(spans):
        place = ((first + last) / 2, 1.01 + 0.035 * (row % 2))
        text = axes.text(*place, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=8, color="0.35")
        text.set_parse_math(False)
    axes.set_title(title, pad=28)
