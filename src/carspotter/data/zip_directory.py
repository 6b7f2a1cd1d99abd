"""The list of entries at the end of a zip, as it stands: nothing in it is trusted here, see `archive.py`.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5, with zip64; Info-ZIP's Unicode path field 0x7075.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from carspotter.errors import ArchiveError

MAX_ENTRIES = 200_000
"""Assumption: the competition has 22 thousand photos; an entry costs about 500 bytes of memory."""
MAX_DIRECTORY_BYTES = 64 * 2**20
"""Assumption: 200 thousand entries with names of 250 bytes."""

_END, _END64, _LOCATOR64, _ENTRY = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_FULL32 = 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry as the directory lists it.

    Attributes:
        name: decoded; `is_unicode` is False where its bytes only made sense as CP437.
        raw: its bytes.
        mode: Unix file type and permissions, 0 where the zip has none.
        start: offset of the entry's own header.
    """

    name: str
    raw: bytes
    is_unicode: bool
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    disk: int
    mode: int
    start: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the directory lies, in bytes, and what the end record says of parts and entries."""

    disk: int
    first_disk: int
    here: int
    count: int
    length: int
    offset: int
    end: int


def read_directory(path: str, handle: int, size: int) -> tuple[tuple[Listed, ...], int]:
    """All entries of an open zip of `size` bytes, and the offset where the directory starts.

    Raises:
        ArchiveError: no zip, cut off, split, damaged, or too many entries.
        OSError: the file cannot be read.
    """
    place = _find(path, handle, size)
    if place.offset + place.length > place.end:
        raise ArchiveError(f"{path}: its directory of entries is damaged; {_COPY_AGAIN}")
    if (place.disk, place.first_disk) != (0, 0) or place.here != place.count:
        raise ArchiveError(f"{path}: is one part of a split zip; join the parts and zip the photos again")
    if place.count > MAX_ENTRIES or place.length > MAX_DIRECTORY_BYTES:
        raise ArchiveError(
            f"{path}: lists {place.count:,} entries, at most {MAX_ENTRIES:,} are read; split it into several"
        )
    try:
        return tuple(_entries(read_at(handle, place.length, place.offset), place.count)), place.offset
    except struct.error:
        raise ArchiveError(f"{path}: its directory of entries is damaged; {_COPY_AGAIN}") from None


def read_at(handle: int, count: int, offset: int) -> bytes:
    """Up to `count` bytes from `offset`; the descriptor's position is neither used nor moved (threads, forks)."""
    parts = []
    while count > 0 and (part := os.pread(handle, count, offset)):
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _find(path: str, handle: int, size: int) -> _Place:
    """The end record: the last one in the file, whose comment may be up to 64 KB."""
    start = max(0, size - (20 + 22 + 0xFFFF))
    tail = read_at(handle, size - start, start)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ArchiveError(f"{path}: is no zip, or its end is missing; {_COPY_AGAIN}")
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
        return _find64(path, handle, tail[at - 20 : at])
    disk, first_disk, here, count, length, offset = struct.unpack_from("<HHHHII", tail, at + 4)
    return _Place(disk, first_disk, here, count, length, offset, end=start + at)


def _find64(path: str, handle: int, locator: bytes) -> _Place:
    """The same record of zips over 4 GB or 65,535 entries."""
    disk, offset, disks = struct.unpack_from("<IQI", locator, 4)
    record = read_at(handle, 56, offset) if offset < 2**62 else b""
    if len(record) < 56 or record[:4] != _END64 or disk or disks > 1:
        raise ArchiveError(f"{path}: its directory of entries is damaged, or it is split; {_COPY_AGAIN}")
    disk, first_disk, here, count, length, begin = struct.unpack_from("<IIQQQQ", record, 16)
    return _Place(disk, first_disk, here, count, length, begin, end=offset)


def _entries(block: bytes, count: int) -> Iterator[Listed]:
    """Exactly `count` entries that fill the block.

    Raises:
        struct.error: anything else.
    """
    at = 0
    for _ in range(count):
        if block[at : at + 4] != _ENTRY:
            raise struct.error("not an entry")
        fields = struct.unpack_from("<HHHHHHIIIHHHHHII", block, at + 4)
        name_end = at + 46 + fields[9]
        extra_end = name_end + fields[10]
        yield _entry(fields, block[at + 46 : name_end], dict(_extra(block[name_end:extra_end])))
        at = extra_end + fields[11]
    if at != len(block):
        raise struct.error("its length does not match")


def _entry(fields: tuple[int, ...], raw: bytes, extra: dict[int, bytes]) -> Listed:
    _, _, flags, method, _, _, crc, packed, size, _, _, _, disk, _, mode, start = fields
    size, packed, start = _widen(extra.get(_ZIP64, b""), size, packed, start)
    name, is_unicode = _decode(raw, extra.get(_UNICODE_PATH, b""))
    return Listed(name, raw, is_unicode, flags, method, crc, packed, size, disk, mode >> 16, start)


def _extra(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(block):
        kind, length = struct.unpack_from("<HH", block, at)
        yield kind, block[at + 4 : at + 4 + length]
        at += 4 + length


def _widen(field: bytes, *values: int) -> list[int]:
    """Sizes and offset, each taken from the zip64 field, in order, where the 32-bit one is full."""
    wide, at = [], 0
    for value in values:
        if value == _FULL32:
            wide.append(struct.unpack_from("<Q", field, at)[0])
            at += 8
        else:
            wide.append(value)
    return wide


def _decode(raw: bytes, unicode_path: bytes) -> tuple[str, bool]:
    """The name, and whether it was Unicode: Info-ZIP's own field, UTF-8 with or without its flag, else CP437."""
    if unicode_path[:5] == b"\1" + struct.pack("<I", zlib.crc32(raw)):
        raw = unicode_path[5:]
    try:
        return raw.decode("utf-8"), True
    except UnicodeDecodeError:
        return raw.decode("cp437"), False
