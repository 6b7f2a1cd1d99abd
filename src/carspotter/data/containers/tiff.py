"""TIFF: the first page, rewritten with the tags that pixels need; and the one tag of EXIF, which is a small TIFF.

Layout: Adobe TIFF 6.0, sections 2 and 8; Adobe's BigTIFF; CIPA DC-008 (EXIF 3.0), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from carspotter.data.containers.contents import (
    BROKEN_PROFILE,
    MAX_PIXELS,
    MAX_PROFILE_BYTES,
    Contents,
    broken,
    truncated,
    unsupported,
)

MAX_VALUES = 300_000
"""Assumption: values of one tag; 50 Mpx in tiles of 16 x 16 have 200 thousand offsets."""
MAX_SAMPLES = 6
"""Channels per pixel that Pillow reads."""
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_LONG, _LONG8, _BYTES = 4, 16, 7
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ORIENTATION, _PROFILE = 256, 257, 258, 277, 274, 34675
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIPS, _TILES = 273, 324
_SINGLE = frozenset({256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323, 512, 513, 514, 515, 531})
_MANY = frozenset({258, 273, 279, 320, 324, 325, 338, 339, 347, 519, 520, 521, 529, 530, 532})


@dataclass(frozen=True, slots=True)
class _Field:
    """One tag: its type, its number of values, their bytes."""

    kind: int
    count: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Page:
    """The wanted tags of the first page, and whether another page follows."""

    order: str
    fields: Mapping[int, _Field]
    several: bool

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The values of a tag with whole numbers; none when it is absent.

        Raises:
            ValueError: they are of another type.
        """
        field = self.fields.get(tag)
        if field is None:
            return ()
        if field.kind not in _WHOLE_NUMBERS:
            raise ValueError(f"tag {tag} has type {field.kind}, expected whole numbers")
        return struct.unpack(f"{self.order}{field.count}{_WHOLE_NUMBERS[field.kind]}", field.raw)

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return next(iter(self.numbers(tag)), default)


def read_orientation(exif: bytes) -> int:
    """The orientation, 1..8, in an EXIF block; 1 when it says nothing.

    Raises:
        ValueError: the block is damaged, or the value means nothing.
    """
    try:
        found = _read_page(exif, frozenset({_ORIENTATION})).number(_ORIENTATION, 1)
    except (struct.error, OverflowError) as fault:
        raise ValueError(f"damaged EXIF: {fault}") from None
    if not 1 <= found <= 8:
        raise ValueError(f"orientation {found}, expected 1..8")
    return found


def read_tiff(data: bytes) -> Contents:
    """The first page as a classic TIFF of its own; further pages, EXIF, GPS, XMP and thumbnails are dropped.

    Raises:
        PhotoRefused: truncated, unreadable, or of a kind that Pillow does not decode.
    """
    try:
        page = _read_page(data, _SINGLE | _MANY | {_ORIENTATION, _PROFILE})
        _check(page, len(data))
        orientation = page.number(_ORIENTATION, 1)
        profile = page.fields[_PROFILE].raw if _PROFILE in page.fields else b""
        known = len(profile) <= MAX_PROFILE_BYTES
        return Contents(
            "TIFF",
            _rewrite(data, page),
            page.number(_WIDTH, 0),
            page.number(_HEIGHT, 0),
            orientation=orientation if 1 <= orientation <= 8 else 1,
            profile=profile if known and profile else None,
            bits=page.number(_BITS, 1),
            several=page.several,
            notes=() if known else (BROKEN_PROFILE,),
        )
    except (struct.error, OverflowError, ValueError):
        raise broken("its tags contradict each other") from None


def _read_page(data: bytes, wanted: frozenset[int]) -> _Page:
    """The first directory; only wanted tags are looked at, each must lie within the data.

    Raises:
        ValueError, struct.error, OverflowError: the data contradicts the format.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no byte order")
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    at = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    at += 8 if big else 2
    entry = struct.Struct(f"{order}HH{'Q8s' if big else 'I4s'}")
    fields: dict[int, _Field] = {}
    for _ in range(min(count, 0xFFFF)):
        tag, kind, values, inline = entry.unpack_from(data, at)
        at += entry.size
        if tag in wanted and tag not in fields:
            fields[tag] = _Field(kind, values, _values(data, kind, values, inline, order))
    after = data[at : at + (8 if big else 4)]
    return _Page(order, fields, several=any(after))


def _values(data: bytes, kind: int, count: int, inline: bytes, order: str) -> bytes:
    """The bytes of one tag: in its entry when they fit, else where the entry points."""
    length = _BYTES_OF_TYPE.get(kind, 0) * count
    if length == 0 or (count > MAX_VALUES and kind != _BYTES):
        raise ValueError(f"{count} values of type {kind}")
    if length <= len(inline):
        return inline[:length]
    (at,) = struct.unpack(f"{order}{'Q' if len(inline) == 8 else 'I'}", inline)
    if at + length > len(data):
        raise ValueError("values lie behind the end")
    return data[at : at + length]


def _check(page: _Page, length: int) -> None:
    """What Pillow or libtiff would try with much memory, or report only by a line on stderr."""
    starts = page.numbers(_STRIPS) + page.numbers(_TILES)
    if any(start >= length for start in starts):
        raise truncated("its pixels lie behind its end")
    if page.number(_TILE_WIDTH, 1) * page.number(_TILE_HEIGHT, 1) > MAX_PIXELS:
        raise broken("its tiles are larger than any photo")
    if page.number(_SAMPLES, 1) > MAX_SAMPLES:
        raise unsupported(f"a TIFF with {page.number(_SAMPLES, 1)} channels")


def _rewrite(data: bytes, page: _Page) -> bytes:
    """The same bytes with a new directory at their end: offsets stay true, and only what pixels need is listed."""
    order = page.order
    base = len(data) + len(data) % 2
    values = bytearray()
    entries = bytearray()
    tags = sorted(page.fields.keys() - {_ORIENTATION, _PROFILE})
    for tag in tags:
        kind, count, raw = _plain(page, tag)
        if len(raw) > 4:
            place = struct.pack(f"{order}I", base + len(values))
            values += raw + b"\0" * (len(raw) % 2)
        else:
            place = raw.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, count) + place
    head = data[:2] + struct.pack(f"{order}HI", 42, base + len(values))
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return b"".join((head, memoryview(data)[8:], bytes(base - len(data)), values, directory))


def _plain(page: _Page, tag: int) -> tuple[int, int, bytes]:
    """(type, count, bytes) as every reader expects them: one LONG where one number belongs, no 64-bit numbers."""
    field = page.fields[tag]
    if tag in _SINGLE:
        return _LONG, 1, struct.pack(f"{page.order}I", page.number(tag, 0))
    if field.kind == _LONG8:
        return _LONG, field.count, struct.pack(f"{page.order}{field.count}I", *page.numbers(tag))
    return field.kind, field.count, field.raw
