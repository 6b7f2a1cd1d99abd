"""Pictures: made without a display, in colours that colour-blind eyes tell apart, written whole or not at all."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from carspotter.data.disk import whole_file
from carspotter.data.wording import brief
from carspotter.errors import MissingExtra, SourceError, TrackingError

DPI = 120  # ten inches are 1200 pixels: legible in a README
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito, "Color universal design" (2008), without the yellow, which is faint on white; the dark ones first."""
ENDINGS = (".png", ".svg", ".pdf")
"""Of the files that a picture can be."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One for each colour, so that a grey print tells them apart too."""


def check_picture(path: Path | str) -> None:
    """Pass when a picture of this name can be written; ask before the work, and before a table is overwritten.

    Raises:
        SourceError: another ending.
    """
    path = Path(path)
    if path.suffix.casefold() not in ENDINGS:
        better = f"; name it {brief(path.with_suffix('.png'))}" if path.name else ""
        raise SourceError(f"cannot draw {brief(path)}: a picture ends in {', '.join(ENDINGS)}{better}")


def new_picture(width: float, height: float) -> Any:
    """An empty matplotlib figure of so many inches; no global state is touched.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("drawing", "train") from None
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_picture(figure: Any, path: Path | str) -> None:
    """Write a figure as what its ending says.

    Raises:
        SourceError: it is the ending of no picture.
        TrackingError: the file cannot be written.
    """
    check_picture(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a run may be named in any script
        data = BytesIO()
        figure.savefig(data, format=Path(path).suffix.casefold().removeprefix("."))
    _write(Path(path), data.getvalue())


def plain_legend(holder: Any, handles: Any, labels: Any, **how: Any) -> None:
    """A legend whose texts are shown as they are: a name with two dollar signs is no formula."""
    legend = holder.legend(handles, labels, frameon=False, **how)
    for text in legend.get_texts():
        text.set_parse_math(False)


def tidy(axes: Any, title: str, xlabel: str, ylabel: str = "") -> None:
    """Titles, a faint grid, no box."""
    axes.set_title(title).set_parse_math(False)
    axes.set_xlabel(xlabel).set_parse_math(False)
    axes.set_ylabel(ylabel)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _write(path: Path, data: bytes) -> None:
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except SourceError as fault:
        raise TrackingError(str(fault)) from None
