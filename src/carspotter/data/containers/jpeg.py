"""JPEG and MPO: the segments up to the first scan. Layout: ITU-T T.81, annex B; ICC.1:2022, annex B.4; CIPA DC-007."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from carspotter.data.containers.contents import (
    BROKEN_PROFILE,
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Contents,
    broken,
    truncated,
    unsupported,
)

MAX_SCANS = 100
"""Assumption: encoders write about ten. A scan can be asked for in a few bytes and walks over all pixels, 0.3 s for
50 Mpx, so a file of 100 KB could compute for an hour."""
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # what libjpeg-turbo can; the others are lossless or hierarchical
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_ALONE = frozenset({0x00, 0x01, _SOI, *range(0xD0, 0xD8)})  # markers without a length
_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}  # APP0 and APP14 (Adobe) say what the channels mean


def read_jpeg(data: bytes) -> Contents:
    """The first picture with its tables, frame and scans; EXIF and ICC taken out.

    Raises:
        PhotoRefused: truncated, unreadable, or of a kind that libjpeg does not decode.
    """
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    exif, frame, several = None, b"", False
    profile: list[bytes] = []
    for marker, start, stop in _segments(data):
        body = data[start + 4 : stop]
        if marker == 0xE1 and exif is None and body.startswith(b"Exif\0"):
            exif = body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile.append(body[12:])
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            several = True
        elif marker in _FRAMES:
            frame = bytes((marker,)) + body
        if marker not in _METADATA:
            kept.append(memoryview(data)[start : _end(data, start, frame) if marker == _SOS else stop])
    width, height = _size(frame)
    icc, notes = _profile(profile)
    name = "MPO" if several else "JPEG"
    return Contents(name, b"".join(kept), width, height, exif, profile=icc, several=several, notes=notes)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where it starts, where its segment stops), the first scan's header last; junk between is passed over."""
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise truncated("it ends before the pixels")
        marker = data[at + 1]
        if marker in _ALONE or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _EOI:
            raise truncated("it has no pixels")
        stop = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if stop > len(data):
            raise truncated("it ends before the pixels")
        yield marker, at, stop
        if marker == _SOS:
            return
        at = max(stop, at + 4)
    raise broken("it has too many segments")


def _end(data: bytes, scan: int, frame: bytes) -> int:
    """Where to stop: behind the first picture when it has several scans, else anywhere (libjpeg stops by itself).

    Raises:
        PhotoRefused: too many scans.
    """
    if _is_one_scan(data, scan, frame):
        return len(data)
    stop = data.find(b"\xff\xd9", scan)  # within scans this can only be the end marker
    stop = len(data) if stop < 0 else stop + 2
    if data.count(b"\xff\xda", scan, stop) > MAX_SCANS:
        raise broken(f"it has more than {MAX_SCANS} scans")
    return stop


def _is_one_scan(data: bytes, scan: int, frame: bytes) -> bool:
    """Whether the first scan holds all channels of a picture that is not progressive, as nearly all have."""
    return len(frame) > 6 and frame[0] in _SEQUENTIAL and scan + 4 < len(data) and data[scan + 4] == frame[6]


def _size(frame: bytes) -> tuple[int, int]:
    """(width, height) of a frame header that starts with its marker."""
    if len(frame) < 7:
        raise broken("its frame header is missing")
    marker, precision, height, width = struct.unpack_from(">BBHH", frame)
    if marker not in _DECODED:
        raise unsupported("a lossless or hierarchical JPEG")
    if precision != 8:
        raise unsupported(f"a JPEG with {precision} bits per sample")
    return width, height


def _profile(parts: Sequence[bytes]) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile out of its numbered parts; each starts with its number and how many there are."""
    if not parts:
        return None, ()
    parts = sorted(parts, key=lambda part: part[:1])
    whole = [part[:2] for part in parts] == [bytes((i + 1, len(parts))) for i in range(len(parts))]
    if not whole or sum(map(len, parts)) > MAX_PROFILE_BYTES:
        return None, (BROKEN_PROFILE,)
    return b"".join(part[2:] for part in parts), ()
