"""What of a photo is shown to the network: all of it, or the part that holds the car.

An ad's photo is half yard and sky. Cut to the car, a rectangle with fewer pixels than the photo shows more of it
(docs/log.md, 2026-11-25). Where the car is, a finder says (`inference/finder.py`); what is done with it is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from carspotter.data.views import fit
from carspotter.records import Geometry, Pixels

STRONG = 0.3
"""Share of the strongest cell from which on a cell is of the car. Chosen by eye on two dozen ads (docs/log.md)."""
MARGIN = 0.05
"""By how much the box is widened. Assumption, between 0 and .15, which a head on frozen features was tried with: 0 was
better there, and a training's views also move the edges (docs/log.md, 2026-11-25)."""
SMALLEST = 0.35
"""Least share of a side that is kept. Assumption: a finder that points at less has found a detail, not a car."""
LET_GO = 0.5
"""Percent of the values at either end that a stretch lets go: a lamp and a shadow shall not decide. As it was measured
(docs/log.md, 2026-11-26)."""
FINER = 3
"""How many times finer than the rectangle a photo is decoded before it is cut; no cut keeps less than a third."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a photo, as shares of its width and height from the top left; the default is all of it."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


class Finder(Protocol):
    """Finds the car in a photo; safe to call from several threads.

    Attributes:
        name: tells its answers from those of another finder, in the keys of caches.
    """

    name: str

    def find(self, pixels: Pixels) -> Box:
        """Where the car is in a photo (H, W, 3) of any size; all of it where no place stands out."""
        ...


def framed(pixels: Pixels, geometry: Geometry, finder: Finder | None) -> Pixels:
    """The photo as the network sees it, (geometry.height, geometry.width, 3).

    Raises:
        ValueError: the geometry wants the car and there is no finder.
    """
    if geometry.light == "stretched":
        pixels = stretched(pixels)
    if geometry.frame == "whole":
        return fit(pixels, geometry)
    if finder is None:
        raise ValueError(f"{geometry} shows the car, and nobody was given who finds it")
    return fit(cut(pixels, finder.find(pixels), geometry.width / geometry.height), geometry)


def stretched(pixels: Pixels) -> Pixels:
    """The darkest of a photo to black, the brightest to white, all channels alike, so that colours stay.

    Of either end half a percent of the values is let go, as auto-contrast usually does; a photo of one value stays as
    it is.
    """
    low, high = np.percentile(pixels, (LET_GO, 100 - LET_GO))
    if high <= low:
        return pixels
    table = np.clip(np.round((np.arange(256) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
    return np.asarray(table[pixels])


def decode_size(geometry: Geometry) -> tuple[int, int]:
    """(height, width) below which a photo must not be decoded for this geometry."""
    times = 1 if geometry.frame == "whole" else FINER
    return times * geometry.height, times * geometry.width


def box_around(cells: npt.NDArray[np.floating]) -> Box:
    """The smallest box around the strong cells of a map.

    Args:
        cells: (h, w), higher where the car is; where none is above 0, no place stands out.
    """
    strongest = float(cells.max())
    if not strongest > 0:
        return Box()
    rows, columns = np.nonzero(cells >= STRONG * strongest)
    height, width = cells.shape
    return Box(columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)


def box_in(cells: npt.NDArray[np.floating], height: int, width: int, geometry: Geometry) -> Box:
    """The box around the strong cells of a padded view's map, as a box of the photo itself.

    Cells whose middle lies in the grey borders do not count.

    Args:
        cells: (h, w) of the view.
        height: of the photo.
        width: of the photo.
        geometry: of the view, whose fit is `pad`.
    """
    scale = min(geometry.height / height, geometry.width / width)
    across, down = width * scale / geometry.width, height * scale / geometry.height
    within = np.outer(_within(cells.shape[0], down), _within(cells.shape[1], across))
    box = box_around(np.where(within, cells, 0.0))
    if box == Box():
        return box

    def back(at: float, share: float) -> float:
        return min(1.0, max(0.0, (at - (1 - share) / 2) / share))

    return Box(back(box.left, across), back(box.top, down), back(box.right, across), back(box.bottom, down))


def _within(count: int, share: float) -> npt.NDArray[np.bool_]:
    """Which of so many equal parts of a side have their middle in its central share."""
    return np.abs((np.arange(count) + 0.5) / count - 0.5) <= share / 2


def cut(pixels: Pixels, box: Box, aspect: float) -> Pixels:
    """The part of a photo in a box, with a margin, and widened to an aspect ratio as far as the photo goes.

    Args:
        pixels: (H, W, 3).
        box: of the car.
        aspect: width over height of the coming rectangle, so that no part of it stays grey.
    """
    height, width = pixels.shape[:2]
    wide = max(box.right - box.left, SMALLEST) * (1 + MARGIN) * width
    high = max(box.bottom - box.top, SMALLEST) * (1 + MARGIN) * height
    wide, high = max(wide, high * aspect), max(high, wide / aspect)
    columns = _span((box.left + box.right) / 2 * width, wide, width)
    rows = _span((box.top + box.bottom) / 2 * height, high, height)
    return pixels[rows, columns]


def _span(middle: float, length: float, limit: int) -> slice:
    """Whole pixels of about this length about the middle, moved inwards where they would stick out."""
    kept = max(1, min(limit, round(length)))
    start = min(max(0, round(middle - kept / 2)), limit - kept)
    return slice(start, start + kept)
