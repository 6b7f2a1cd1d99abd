"""WEBP, BMP and the ISO base media family (HEIC, AVIF): their headers.

Layouts: Google's WebP container specification; Microsoft's BITMAPINFOHEADER; ISO/IEC 14496-12 and 23008-12.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from carspotter.data.containers.contents import MAX_PARTS, Contents, broken, truncated, unsupported

_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"})
_EXIF_ITEM = re.compile(rb"(infe.{8,10})Exif", re.DOTALL)


def read_webp(data: bytes) -> Contents:
    """The file as it is (its decoder reads no metadata); size, EXIF and profile from its chunks.

    Raises:
        PhotoRefused: truncated or unreadable.
    """
    if len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise truncated("it is shorter than its header says")
    width = height = 0
    found: dict[bytes, bytes] = {}
    frames = 0
    for kind, body in _chunks(data):
        if kind in (b"VP8X", b"VP8 ", b"VP8L") and not width:
            width, height = _webp_size(kind, body)
        elif kind in (b"EXIF", b"ICCP"):
            found.setdefault(kind, bytes(body))
        frames += kind == b"ANMF"
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0") or None
    return Contents("WEBP", data, width, height, exif, profile=found.get(b"ICCP"), several=frames > 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, view[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise broken("it has too many chunks")


def _webp_size(kind: bytes, body: memoryview) -> tuple[int, int]:
    """(width, height) of the canvas, or of the only frame."""
    if len(body) < 10:
        raise broken("its header is too short")
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
    return width, height


def read_bmp(data: bytes) -> Contents:
    """A BMP as it is; it has no metadata.

    Raises:
        PhotoRefused: truncated.
    """
    if len(data) < 26:
        raise truncated("its header is missing")
    core = data[14] == 12
    width, height = struct.unpack_from("<HH" if core else "<ii", data, 18)
    return Contents("BMP", data, width, abs(height), orientation=1)


def read_bmff(data: bytes) -> Contents:
    """AVIF with its EXIF hidden from the decoder, or HEIC; both turn the picture by their own boxes.

    Raises:
        PhotoRefused: a video, or something else that shares the container.
    """
    brands = data[8 : min(struct.unpack_from(">I", data)[0], 512)]
    names = {brands[i : i + 4] for i in range(0, len(brands), 4) if i != 4}  # the second four bytes are a version
    if names & _AVIF:
        # Pillow parses this EXIF while it opens the file, and breaks where it is broken. Renaming the item keeps all
        # offsets; decoders pass over items of unknown type.
        return Contents("AVIF", _EXIF_ITEM.sub(rb"\1none", data))
    if names & _HEIF:
        return Contents("HEIC", data, orientation=1)
    raise unsupported("a video or another file in the MP4 family")
