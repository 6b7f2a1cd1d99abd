"""GIF: the first frame alone. Layout: CompuServe GIF89a specification, 1990."""

from __future__ import annotations

import struct

from carspotter.data.containers.contents import Contents, broken, truncated

_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9


def read_gif(data: bytes) -> Contents:
    """The screen, the first frame and what controls its transparency; comments and further frames are dropped.

    Raises:
        PhotoRefused: truncated or unreadable.
    """
    if len(data) < 13:
        raise truncated("its header is missing")
    at = 13 + _table_bytes(data[10])
    kept = [data[:at]]
    while (kind := _byte(data, at)) == _EXTENSION:
        stop = _after_blocks(data, at + 2)
        if _byte(data, at + 1) == _GRAPHIC_CONTROL:
            kept = [kept[0], data[at:stop]]
        at = stop
    if kind != _FRAME:
        raise broken("it has no frame")
    stop = _frame_end(data, at)
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    return Contents(
        "GIF",
        b"".join((*kept, data[at:stop], b"\x3b")),
        max(width, left + frame_width),  # Pillow grows the screen to what its frame covers
        max(height, top + frame_height),
        orientation=1,
        several=_has_frame(data, stop),
    )


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise truncated("it ends before its trailer")
    return data[at]


def _table_bytes(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Behind a chain of data blocks: each has its length first, a length of 0 ends the chain."""
    while length := _byte(data, at):
        at += 1 + length
    return at + 1


def _frame_end(data: bytes, at: int) -> int:
    flags = _byte(data, at + 9)
    return _after_blocks(data, at + 10 + _table_bytes(flags) + 1)


def _has_frame(data: bytes, at: int) -> bool:
    """Whether another frame follows; an end without a trailer is no reason to refuse the first."""
    while at + 2 < len(data) and data[at] == _EXTENSION:
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return at < len(data) and data[at] == _FRAME
