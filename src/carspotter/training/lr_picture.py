"""The range test, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carspotter.data.disk import whole_file
from carspotter.training.lr_finder import RangeTest

HEADROOM = 1.4
"""Times the loss at the beginning that the picture shows: what blows up at the end would press the fall flat."""


def draw_range_test(test: RangeTest, path: Path) -> None:
    """The curve with its suggestion, as PNG or whatever the ending says.

    Raises:
        SourceError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="0.75", linewidth=1, label="each batch")
    axes.plot(test.rates, test.smooth, color="tab:blue", label="evened out")
    _mark_fall(axes, test)
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="loss", title=f"Stage {test.stage}, {test.name}")
    axes.set_ylim(0, min(1.05 * test.losses.max(), HEADROOM * test.start))
    axes.legend(frameon=False, loc="lower left")
    with whole_file(path) as part:
        figure.savefig(part, format=path.suffix.removeprefix(".") or "png", dpi=120)


def _mark_fall(axes: Any, test: RangeTest) -> None:
    fall = test.fall
    if fall is None:
        axes.plot([], [], " ", label="too flat for a suggestion")
        return
    axes.axvspan(fall.begin, fall.end, color="tab:orange", alpha=0.12, label="the fall, 10 to 90 %")
    axes.axvline(fall.middle, color="tab:orange", linewidth=1.5, label=f"middle, suggested {fall.middle:.1e}")
    axes.axvline(fall.steepest, color="tab:orange", linewidth=1, linestyle="--", label=f"steepest {fall.steepest:.1e}")
