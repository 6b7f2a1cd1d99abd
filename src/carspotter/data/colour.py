"""Any mode of Pillow to opaque 8-bit sRGB: depth, transparency, colour profiles.

`Image.convert("RGB")` alone would turn a 16-bit photo white, show transparent parts in whatever colour lies under them,
and ignore colour profiles.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from carspotter.data.containers.contents import BROKEN_PROFILE

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

BACKGROUND = (255, 255, 255)
"""What transparent parts are shown on. Assumption: sites show cut-out cars on white."""
SAME_COLOURS = 2
"""Levels of 255. Assumption: a profile that moves no probed colour further is sRGB under some name, as most are; the
photo is left as it is, which saves 2 ms per 0.3 Mpx."""
PROFILES_KEPT = 16
"""Assumption: different colour profiles in one set of photos."""


def to_srgb(image: Image.Image, profile: bytes | None, bits: int = 8) -> tuple[Image.Image, tuple[str, ...]]:
    """An opaque image of mode RGB in sRGB, and notes on what was done to get there.

    Args:
        image: loaded; may be changed or returned itself.
        profile: ICC profile of its samples, or None.
        bits: of one sample as stored, for modes that hold more than eight.
    """
    if image.mode == "RGB" and profile is None and "transparency" not in image.info:
        return image, ()
    notes: list[str] = []
    if image.mode[0] in "IF":
        image = _eight_bits(image, bits)
        notes.append("its samples were scaled to 8 bits")
    colour, alpha, note = _split(image)
    rgb, broken = _convert(colour, profile)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, BACKGROUND), alpha)
    return rgb, (*notes, *note, *broken)


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    """Mode L from 16-bit, 32-bit or float samples.

    16-bit keeps the upper bits. Wider ones run from 0 (or the darkest, when negative) to the usual white that holds the
    brightest: 1 for floats, 255 or 65,535 for whole numbers, else the brightest itself.
    """
    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        shift = bits - 8 if 8 < bits <= 16 else 8
        return Image.fromarray(np.minimum(values >> shift, 255).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(0.0, float(values.min())), float(values.max())
    white = next((usual for usual in ((1.0,) if image.mode == "F" else (255.0, 65535.0)) if high <= usual), high)
    scaled = (values - low) * np.float32(255.0 / ((white - low) or 1.0))
    return Image.fromarray((scaled + 0.5).astype(np.uint8))


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None, tuple[str, ...]]:
    """(samples in L, RGB, CMYK or LAB; alpha channel or None when opaque; notes)."""
    if not image.has_transparency_data:
        mode = {"1": "L", "L": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
        return image if image.mode == mode else image.convert(mode), None, ()
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    colour = rgba.getchannel("R") if image.mode in ("1", "L", "LA", "La") else rgba.convert("RGB")
    alpha = rgba.getchannel("A")
    darkest, brightest = alpha.getextrema()
    if darkest == 255:
        return colour, None, ()
    if brightest == 0:  # some writers leave the fourth channel empty; nobody takes a photo of nothing
        return colour, None, ("all of it is transparent; its transparency was ignored",)
    return colour, alpha, ("its transparent parts were put on white",)


def _convert(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """RGB through the profile, or without it and a note when it is damaged or of another colour space."""
    transform = "same" if profile is None or image.mode == "LAB" else _transform(profile, image.mode)
    if transform == "broken" and image.mode == "L":  # a grey photo with the profile of the colour photo it was
        return _convert(image.convert("RGB"), profile)
    if isinstance(transform, str):
        notes = (BROKEN_PROFILE,) if transform == "broken" else ()
        return image if image.mode == "RGB" else image.convert("RGB"), notes
    return transform.apply(image), ()


@lru_cache(maxsize=PROFILES_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | Literal["same", "broken"]:
    """How samples of this mode become sRGB; kept, as a set of photos has few profiles.

    Without Little CMS's one-pixel cache, so that threads can share it.
    """
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            flags=ImageCms.Flags.NOCACHE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "broken"
    return "same" if _keeps_colours(transform, mode) else transform


def _keeps_colours(transform: ImageCmsTransform, mode: str) -> bool:
    """Whether it moves none of 343 colours (or 256 greys) by more than `SAME_COLOURS`."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(probe[..., None], 3, axis=2)
    elif mode == "RGB":
        steps = np.linspace(0, 255, 7).astype(np.uint8)
        probe = expected = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    else:
        return False
    found = np.asarray(transform.apply(Image.fromarray(probe))).astype(np.int16)
    return bool(np.abs(found - expected).max() <= SAME_COLOURS)
