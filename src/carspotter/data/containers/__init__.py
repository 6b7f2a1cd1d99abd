"""What a photo file is by its content, and the part of it that pixels need.

An image library that also parses metadata fails on metadata: Pillow warns, raises or runs long on broken EXIF, text
chunks, animation and multi-picture tables. So a small reader per format finds the size, the orientation and the colour
profile, and passes on a file in which only the first picture is left. Nothing else is read, so nothing else (GPS,
names, serial numbers) can be kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from carspotter.data.containers.contents import AS_JPEG, Contents
from carspotter.data.containers.gif import read_gif
from carspotter.data.containers.jpeg import read_jpeg
from carspotter.data.containers.others import read_bmff, read_bmp, read_webp
from carspotter.data.containers.png import read_png
from carspotter.data.containers.tiff import read_orientation, read_tiff
from carspotter.errors import PhotoRefused, Reason

__all__ = ["Contents", "read_contents", "read_orientation"]

_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Contents]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), read_jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), read_png),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), read_webp),
    (re.compile(rb"GIF8[79]a"), read_gif),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), read_tiff),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), read_bmp),
    (re.compile(rb".{4}ftyp", re.DOTALL), read_bmff),
)
"""Signature → reader; the allow-list."""

_KNOWN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", re.DOTALL), "an SVG drawing"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "an icon or cursor"),
    (re.compile(rb"icns"), "an icon"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"PK[\x03\x05]"), "a zip (name it with the ending .zip, or unpack it)"),
    (re.compile(rb"DDS |BLP[12]|P[1-7]\s|SIMPLE  =|\x59\xa6\x6a\x95|qoif"), "a rare picture format"),
)
"""Signature → name of what is recognised, but never opened."""


def read_contents(data: bytes) -> Contents:
    """The first picture of a file, whatever its name says.

    Raises:
        PhotoRefused: not one of the formats, or cut off, or damaged before the pixels begin.
    """
    for pattern, reader in _READERS:
        if pattern.match(data):
            return reader(data)
    head = data[:4096]
    for pattern, what in _KNOWN:
        if pattern.match(head):
            raise PhotoRefused(Reason.UNSUPPORTED, f"it is {what}, which is not opened; {AS_JPEG}")
    raise PhotoRefused(
        Reason.NOT_A_PHOTO, f"its content is none of JPEG, PNG, WEBP, HEIC, AVIF, TIFF, BMP and GIF; {AS_JPEG}"
    )
