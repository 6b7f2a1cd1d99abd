"""Views of a photo: the rectangle the network sees, and small random changes of it.

The same code makes the seed-style augmentation in training and the views of test-time augmentation, so that both mean
the same by "rotation 5". Pillow and numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from carspotter.recipe import MIN_ZOOM
from carspotter.records import Geometry, Pixels

BORDER = 128
"""Grey of `pad` borders: 0 after the backbones' normalisation (mean 0.5), so borders excite nothing."""
REDUCING_GAP = 3.0
"""Pillow shrinks by whole factors first, down to this many times the target; its documentation calls the result of 3.0
almost indistinguishable from a plain resize."""


@dataclass(frozen=True, slots=True)
class ViewRanges:
    """From what random views are drawn; the default draws the identity only.

    Attributes:
        rotation: degrees either way.
        shift_x: share of the width either way.
        shift_y: share of the height either way.
        zoom: lowest and highest scale factor; above 1 is closer.
        brightness: lowest and highest factor on the pixel values.
        flip: mirror left-right half of the views.
    """

    rotation: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    brightness: tuple[float, float] = (1.0, 1.0)
    flip: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One drawn view; `View()` is the photo itself.

    Attributes:
        rotation: degrees, counter-clockwise, about the centre.
        shift_x: share of the width by which the content moves right.
        shift_y: share of the height by which the content moves down.
        zoom: scale factor about the centre, at least `MIN_ZOOM`; above 1 is closer.
        brightness: factor on the pixel values.
        flip: mirrored left-right, before anything else.
    """

    rotation: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    brightness: float = 1.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.zoom >= MIN_ZOOM:
            raise ValueError(f"zoom {self.zoom} of a view: expected at least {MIN_ZOOM}")


TTA_RANGES = ViewRanges(rotation=5.0, shift_x=0.1, shift_y=0.1, brightness=(0.8, 1.2), flip=True)
"""In the manner of the seed, the student's notebook that won 7th place with `ImageDataGenerator` views (its log tries
rotation 1–25°, brightness 0.1–2.5, shifts 0.01–0.2). These moderate values among them are an assumption."""


def fit(pixels: Pixels, geometry: Geometry) -> Pixels:
    """The photo as the rectangle of a geometry.

    `pad` shows the whole photo, centred between grey borders; `crop` fills the rectangle and cuts what sticks out
    evenly; `stretch` distorts. Resizing is bicubic with antialiasing.

    Args:
        pixels: (H, W, 3) of any size.
        geometry: height, width and fit.

    Returns:
        (geometry.height, geometry.width, 3); the very same array when the photo has that size already.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (geometry.height, geometry.width):
        return pixels
    if geometry.fit == "pad":
        return _pad(pixels, geometry)
    box = (0.0, 0.0, float(width), float(height))
    if geometry.fit == "crop":
        scale = max(geometry.height / height, geometry.width / width)
        kept_w, kept_h = min(width, geometry.width / scale), min(height, geometry.height / scale)
        left, top = (width - kept_w) / 2, (height - kept_h) / 2
        box = (left, top, left + kept_w, top + kept_h)
    return _resize(pixels, geometry.height, geometry.width, box)


def draw_view(ranges: ViewRanges, rng: np.random.Generator) -> View:
    """One random view. Always takes six numbers from the generator, so that one range never moves another's draw."""
    rotation, shift_x, shift_y, zoom, brightness, mirror = (float(u) for u in rng.random(6))
    return View(
        rotation=_between(-ranges.rotation, ranges.rotation, rotation),
        shift_x=_between(-ranges.shift_x, ranges.shift_x, shift_x),
        shift_y=_between(-ranges.shift_y, ranges.shift_y, shift_y),
        zoom=_between(*ranges.zoom, zoom),
        brightness=_between(*ranges.brightness, brightness),
        flip=ranges.flip and mirror < 0.5,
    )


def apply_view(pixels: Pixels, view: View) -> Pixels:
    """The photo seen through a view: mirror, one warp, brightness.

    Args:
        pixels: (H, W, 3).
        view: what to change.

    Returns:
        (H, W, 3), never the memory of `pixels`. Where the warp looks beyond the photo it takes the nearest pixel.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))  # Pillow mirrors and looks up 2–10 times as fast as numpy
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if (view.rotation, view.shift_x, view.shift_y, view.zoom) != (0.0, 0.0, 0.0, 1.0):
        image = _warp(image, view)
    if view.brightness != 1.0:
        image = image.point(_brightness_table(view.brightness) * 3)
    return np.array(image)


def tta_views(n: int, seed: int = 0) -> tuple[View, ...]:
    """Views for test-time augmentation: the photo, its mirror image, then random views of `TTA_RANGES`.

    Args:
        n: how many, at least 1.
        seed: of the random ones. The first views of a larger n are those of a smaller one.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"{n} views for test-time augmentation: expected at least 1 (the photo itself)")
    rng = np.random.default_rng(seed)
    drawn = (draw_view(TTA_RANGES, rng) for _ in range(n - 2))
    return (View(), View(flip=True), *drawn)[:n]


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _pad(pixels: Pixels, geometry: Geometry) -> Pixels:
    scale = min(geometry.height / pixels.shape[0], geometry.width / pixels.shape[1])
    height = min(geometry.height, max(1, round(pixels.shape[0] * scale)))
    width = min(geometry.width, max(1, round(pixels.shape[1] * scale)))
    top, left = (geometry.height - height) // 2, (geometry.width - width) // 2
    canvas = np.full((geometry.height, geometry.width, 3), BORDER, dtype=np.uint8)
    box = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
    canvas[top : top + height, left : left + width] = _resize(pixels, height, width, box)
    return canvas


def _resize(pixels: Pixels, height: int, width: int, box: tuple[float, float, float, float]) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=REDUCING_GAP)
    return np.array(small)  # a copy, because Pillow's own memory is read-only and torch warns about that


def _warp(image: Image.Image, view: View) -> Image.Image:
    """Rotation, zoom and shift in one bilinear step."""
    width, height = image.size
    a, b, c, d, e, f = _inverse(view, height, width)
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, width) for y in (0, height)]
    left, right = _overhang([x for x, _ in corners], width)
    top, bottom = _overhang([y for _, y in corners], height)
    padded = Image.fromarray(np.pad(np.asarray(image), ((top, bottom), (left, right), (0, 0)), mode="edge"))
    matrix = (a, b, c + left, d, e, f + top)
    return padded.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _inverse(view: View, height: int, width: int) -> tuple[float, float, float, float, float, float]:
    """Where a pixel of the view comes from: x = a·x' + b·y' + c, y = d·x' + e·y' + f, in pixels from the top left."""
    turn = math.radians(view.rotation)
    cos, sin = math.cos(turn) / view.zoom, math.sin(turn) / view.zoom
    centre_x, centre_y = width / 2, height / 2
    from_x, from_y = centre_x + view.shift_x * width, centre_y + view.shift_y * height
    return cos, -sin, centre_x - cos * from_x + sin * from_y, sin, cos, centre_y - sin * from_x - cos * from_y


def _overhang(positions: list[float], size: int) -> tuple[int, int]:
    """Pixels that the warp looks at before 0 and beyond `size`."""
    return max(0, math.ceil(-min(positions))), max(0, math.ceil(max(positions) - size))


def _brightness_table(factor: float) -> list[int]:
    """The new value of each old one, rounded and saturated."""
    return [min(255, max(0, round(value * factor))) for value in range(256)]
