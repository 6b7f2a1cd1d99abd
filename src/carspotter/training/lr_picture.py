"""The range test, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carspotter.tracking.picture import new_picture, write_picture
from carspotter.training.lr_finder import RangeTest

HEADROOM = 1.4
"""Times the loss at the beginning that the picture shows: what blows up at the end would press the fall flat."""


def draw_range_test(test: RangeTest, path: Path) -> None:
    """The curve with its suggestion.

    Raises:
        SourceError: it is the ending of no picture.
        TrackingError: the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    figure = new_picture(7, 4)
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="0.75", linewidth=1, label="each batch")
    axes.plot(test.rates, test.smooth, color="tab:blue", label="evened out")
    _mark_fall(axes, test)
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="loss", title=f"Stage {test.stage}, {test.name}")
    axes.set_ylim(0, min(1.05 * test.losses.max(), HEADROOM * test.start))
    axes.legend(frameon=False, loc="lower left")
    write_picture(figure, path)


def _mark_fall(axes: Any, test: RangeTest) -> None:
    fall = test.fall
    if fall is None:
        axes.plot([], [], " ", label="too flat for a suggestion")
        return
    axes.axvspan(fall.begin, fall.end, color="tab:orange", alpha=0.12, label="the fall, 10 to 90 %")
    axes.axvline(fall.middle, color="tab:orange", linewidth=1.5, label=f"middle, suggested {fall.middle:.1e}")
    axes.axvline(fall.steepest, color="tab:orange", linewidth=1, linestyle="--", label=f"steepest {fall.steepest:.1e}")
