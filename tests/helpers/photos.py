"""Small sound files of every kind that is read, for tests that damage them."""

from __future__ import annotations

import importlib.util
import io
from functools import cache

import numpy as np
from PIL import Image

KINDS = ["JPEG", "PROGRESSIVE", "CMYK", "PNG", "P", "WEBP", "BMP", "GIF", "TIFF", "LZW", "AVIF", "MPO"]
if importlib.util.find_spec("pillow_heif"):
    KINDS.append("HEIC")


@cache
def sound(kind: str) -> bytes:
    """A small file of this kind, with EXIF and a second picture where it can have them."""
    rng = np.random.default_rng(0)
    first, second = (Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(2))
    tags = Image.Exif()
    tags[274], tags[305] = 6, "some text in EXIF"
    several = {"save_all": True, "append_images": [second]}
    out = io.BytesIO()
    if kind == "HEIC":
        from pillow_heif import from_pillow

        from_pillow(first).save(out)
    elif kind in ("JPEG", "PROGRESSIVE"):
        first.save(out, "JPEG", exif=tags, progressive=kind == "PROGRESSIVE")
    elif kind == "CMYK":
        first.convert("CMYK").save(out, "JPEG")
    elif kind == "P":
        first.convert("P").save(out, "PNG", transparency=3)
    elif kind == "LZW":
        first.save(out, "TIFF", compression="tiff_lzw")
    elif kind == "BMP":
        first.save(out, kind)
    elif kind == "AVIF":  # one picture: Pillow 13.0's AVIF writer crashes on several with EXIF
        first.save(out, kind, exif=tags)
    elif kind == "GIF":
        first.save(out, kind, **several)
    else:
        first.save(out, kind, exif=tags, **several)
    return out.getvalue()
