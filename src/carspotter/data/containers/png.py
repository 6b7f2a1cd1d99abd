"""PNG: the chunks that pixels need. Layout: W3C PNG (third edition), sections 5 and 11."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from carspotter.data.containers.contents import (
    BROKEN_PROFILE,
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Contents,
    broken,
    truncated,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_READ = frozenset({b"IHDR", b"eXIf", b"iCCP"})


def read_png(data: bytes) -> Contents:
    """The default picture of a PNG; text, times and animation are dropped unread, EXIF and ICC taken out.

    Checksums are left to who uses the bytes: Pillow compares those of the chunks with pixels, zlib that of the profile.

    Raises:
        PhotoRefused: truncated or unreadable.
    """
    kept: list[bytes | memoryview] = [SIGNATURE]
    found: dict[bytes, bytes] = {}
    several = False
    for kind, start, stop in _chunks(data):
        if kind in _PIXELS:
            kept.append(memoryview(data)[start:stop])
        if kind in _READ:
            found.setdefault(kind, data[start + 8 : stop - 4])
        several |= kind == b"acTL"
    width, height, bits = _header(found.get(b"IHDR", b""))
    profile = _inflate_profile(found[b"iCCP"]) if b"iCCP" in found else None
    notes = (BROKEN_PROFILE,) if b"iCCP" in found and profile is None else ()
    exif = found.get(b"eXIf")
    whole = b"".join(kept)
    return Contents("PNG", whole, width, height, exif, profile=profile, bits=bits, several=several, notes=notes)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its length field starts, where its checksum stops), up to IEND."""
    at = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            raise truncated("its last chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + length
        if stop > len(data):
            raise truncated("it ends within a chunk")
        yield kind, at, stop
        if kind == b"IEND":
            return
        at = stop
    raise broken("it has too many chunks")


def _header(body: bytes) -> tuple[int, int, int]:
    if len(body) != 13:
        raise broken("its header chunk is missing")
    width, height, bits = struct.unpack_from(">IIB", body)
    return width, height, bits


def _inflate_profile(body: bytes) -> bytes | None:
    """The ICC profile behind its name, or None when it is damaged or grows beyond the limit."""
    packed = body.partition(b"\0")[2][1:]
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed, MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None
