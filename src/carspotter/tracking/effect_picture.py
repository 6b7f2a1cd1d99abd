"""What a setting did, drawn: a point per run, the mean of each value, and the spread of repeated seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carspotter.tracking.contrast import Contrast, show_value
from carspotter.tracking.effect import Effect, value_order
from carspotter.tracking.picture import COLOURS, MARKERS, new_picture, plain_legend, tidy, write_picture

WIDTH = 0.5
"""Share of the room of one value over which its contrasts stand side by side."""
MAX_LABEL = 100  # characters of a contrast's settings in the legend: one line of the picture (seen)
MAX_TICK = 22  # characters of a value below the axis: six of them fit beside one another (seen)


def draw_effect(effect: Effect, path: Path | str) -> tuple[str, ...]:
    """Draw every contrast in a colour and a mark of its own.

    Thin points are runs, full marks are means over seeds, then folds; bars are one standard deviation either way, and
    stand only where a seed was repeated.

    Returns:
        A sentence where there are more contrasts than colours.

    Raises:
        TrackingError: the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    drawn, left = effect.contrasts[: len(COLOURS)], len(effect.contrasts) - len(COLOURS)
    values = sorted(
        {show_value(level.value): level.value for c in drawn for level in c.levels}.values(), key=value_order
    )
    at = {show_value(value): place for place, value in enumerate(values)}
    figure = new_picture(max(8.0, min(16.0, 2.0 + 1.6 * len(values))), 5.0 + 0.2 * len(drawn))
    axes = figure.subplots()
    for number, contrast in enumerate(drawn):
        shift = WIDTH * ((number + 0.5) / len(drawn) - 0.5)
        _draw(axes, contrast, {value: place + shift for value, place in at.items()}, number)
    tidy(axes, f"Accuracy by {effect.axis}, all else equal", effect.axis, "accuracy on held-out photos")
    axes.set_xticks(range(len(values)), [_cut(show_value(value), MAX_TICK) for value in values])
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    _no_taller_than_noise(axes, drawn)
    axes.set_xlim(-0.6, len(values) - 0.4)
    _explain(figure, axes, drawn)
    write_picture(figure, path)
    return (f"{left} contrasts with fewer runs are not drawn: colours for {len(COLOURS)}",) if left > 0 else ()


def _draw(axes: Any, contrast: Contrast, at: dict[str, float], number: int) -> None:
    colour, mark = COLOURS[number], MARKERS[number]
    places = [at[show_value(level.value)] for level in contrast.levels]
    for place, level in zip(places, contrast.levels, strict=True):
        axes.plot([place] * len(level.runs), level.accuracies, mark, color=colour, alpha=0.45, markersize=4)
        if level.spread is not None:
            axes.errorbar(place, level.mean, yerr=level.spread, color=colour, capsize=5, linewidth=1.5)
    means = [level.mean for level in contrast.levels]
    axes.plot(places, means, marker=mark, color=colour, linewidth=1, markersize=9, label=_label(contrast))


def _no_taller_than_noise(axes: Any, drawn: tuple[Contrast, ...]) -> None:
    """The axis spans one run's 95 % interval or more, or differences within chance would fill the picture."""
    figures = [run.accuracy for contrast in drawn for level in contrast.levels for run in level.runs if run.accuracy]
    least = max(figure.high - figure.low for figure in figures)
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def _label(contrast: Contrast) -> str:
    settings = ", ".join(f"{key} = {show_value(value)}" for key, value in contrast.settings.items())
    return _cut(f"{contrast.letter}  {settings}".rstrip(), MAX_LABEL)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _explain(figure: Any, axes: Any, drawn: tuple[Contrast, ...]) -> None:
    """What the bars are, or that there are none and why; a legend where it tells something apart."""
    spreads = [level.spread is not None for contrast in drawn for level in contrast.levels]
    text = "small: one run; large: mean over seeds, then folds"
    text += "; bars: ± 1 standard deviation over seeds" if any(spreads) else ""
    text += "" if all(spreads) else "; without a bar: no repeated seed, spread unknown"
    axes.text(0.5, 1.01, text, transform=axes.transAxes, ha="center", fontsize=8, color="0.35")
    axes.set_title(axes.get_title(), pad=18).set_parse_math(False)
    if len(drawn) > 1:
        plain_legend(figure, *axes.get_legend_handles_labels(), fontsize=8, loc="outside lower center")
