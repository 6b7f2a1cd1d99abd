"""How well a photo was taken: dark, overexposed, blurry, tiny, of an odd shape. Measures of pixels, no net.

Every measure is a score in [0, 1], 0 is bad; a photo below the measure's bound has that fault. Brightness and shape
follow what cleanvision publishes (the luma's mean and percentiles; the shorter side by the longer one), blur is the
metric of F. Crete, T. Dolmiere, P. Ladret, M. Nicolas, "The blur effect: perception and estimation with a new
no-reference perceptual blur metric", SPIE 6492 (2007): a sharp photo loses much of its fine change when it is blurred
once more, a blurry one has none to lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from carspotter.data.photo import decode, read_bytes
from carspotter.errors import PhotoRefused
from carspotter.progress import Progress, silent
from carspotter.records import Photo, Pixels, Rejected
from carspotter.workers import in_order, usable_cores

LOOKED_AT = 320
"""Longer side of the grey picture that is measured, pixels: that of ads. Blur is finer than what a thumbnail shows."""
AT_LEAST = (320, 320)
"""Height and width of the decode: a large JPEG is decoded at a half, a quarter or an eighth of its size."""
REBLUR = 9
"""Width of the mean that blurs once more, pixels (the paper's)."""
TINY = 100
"""Pixels of the shorter side at which a photo scores 0.5. Assumption: a car's face is then a few dozen pixels."""
AHEAD = 4
"""Photos in flight per thread (assumption)."""

BOUNDS = MappingProxyType({"dark": 0.2, "bright": 0.5, "blurry": 0.5, "tiny": 0.5, "odd_aspect": 0.4})
"""Below it, a photo has the fault. Measured on 1,104 ads: photos by night have a mean luma of .14 to .2 and planted
dark ones .02 to .04; planted blur scores .15 to .21 and the least sharp others .64; the palest ad scores .75. For
`tiny` and `odd_aspect` (a 5:2 banner) no ad showed a bound: assumptions."""

Grey = npt.NDArray[np.float32]
"""(h, w) luma in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The measures of one photo, each in [0, 1], 0 is bad.

    Attributes:
        dark: mean luma.
        bright: 1 less the luma of its darkest twentieth: a car has tyres and shadows.
        blurry: what of its fine change another blur takes away.
        tiny: its shorter side, 0.5 at `TINY` pixels.
        odd_aspect: shorter side by longer side.
        shorter: that side, pixels.
    """

    dark: float
    bright: float
    blurry: float
    tiny: float
    odd_aspect: float
    shorter: int


def measure(pixels: Pixels, height: int, width: int) -> Quality:
    """Judge one photo.

    Args:
        pixels: (H, W, 3) of the photo as decoded; may be smaller than the original.
        height: rows of the original.
        width: columns of the original.
    """
    grey = _grey(pixels)
    short, long = sorted((height, width))
    return Quality(
        dark=float(grey.mean()),
        bright=float(1 - np.quantile(grey, 0.05)),
        blurry=1 - blur(grey),
        tiny=short / (short + TINY),
        odd_aspect=short / long,
        shorter=short,
    )


def measure_all(photos: Sequence[Photo], progress: Progress = silent) -> tuple[Quality | Rejected, ...]:
    """Judge photos side by side; one that cannot be read (any more) is a `Rejected` in its place."""
    threads, found = usable_cores(), list[Quality | Rejected]()
    with closing(in_order(_look, photos, threads=threads, ahead=threads * AHEAD)) as results:
        for result in results:
            found.append(result)
            progress("quality", len(found), len(photos))
    return tuple(found)


def blur(grey: Grey) -> float:
    """The share of fine change that another blur leaves, the larger of both directions: 0 sharp, 1 blurry.

    A picture without any change (one colour) is not blurry but empty: 0.
    """
    return max(_blur_along(grey), _blur_along(grey.T))


def _look(photo: Photo) -> Quality | Rejected:
    try:
        seen = decode(read_bytes(photo.where), at_least=AT_LEAST)
    except PhotoRefused as fault:
        return Rejected(photo.id, fault.reason, fault.sentence)
    return measure(seen.pixels, seen.height, seen.width)


def _blur_along(grey: Grey) -> float:
    """Along the rows of a picture."""
    change = np.abs(np.diff(grey, axis=1))
    if not change.sum() > 2e-4 * change.size:  # less than a twentieth of a grey level from pixel to pixel
        return 0.0
    sums = np.cumsum(np.pad(grey, ((0, 0), (REBLUR // 2 + 1, REBLUR // 2)), mode="edge"), axis=1, dtype=np.float64)
    again = (sums[:, REBLUR:] - sums[:, :-REBLUR]) / REBLUR
    lost = np.maximum(0, change - np.abs(np.diff(again, axis=1)))
    return float(1 - lost.sum() / change.sum())


def _grey(pixels: Pixels) -> Grey:
    image = Image.fromarray(pixels).convert("L")
    if max(image.size) > LOOKED_AT:
        scale = LOOKED_AT / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
