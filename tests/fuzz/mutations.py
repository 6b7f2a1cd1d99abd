"""New inputs from old ones, with what random bytes seldom reach: lengths that lie, changes inside a compressed part."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where counting goes wrong."""
HEAD = 200
"""Bytes at both ends that hold most of the lengths and kinds."""
LONGEST = 4_096
"""Bytes that are put in at once."""

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def place(data: bytes, rng: random.Random) -> int:
    """Somewhere, the ends more often than the middle."""
    spot = rng.choice((len(data), min(HEAD, len(data))))
    at = rng.randrange(spot + 1)
    return at if rng.random() < 0.7 else len(data) - at


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[min(place(data, rng), len(out) - 1)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """The end is missing, or something in between."""
    at = place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 64, len(data))) :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one, the rest of another."""
    other = rng.choice(others)
    return data[: place(data, rng)] + other[place(other, rng) :]


def lengthen(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A part again, or nothing at all, many times."""
    at = place(data, rng)
    part = data[at : at + rng.choice((1, 4, 16, 256))] if rng.random() < 0.7 else b"\0"
    return data[:at] + part * rng.randrange(1, 1 + LONGEST // max(1, len(part))) + data[at:]


def write_number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A field of a header says something else."""
    form = rng.choice(("<H", ">H", "<I", ">I"))
    number = struct.pack(form, (rng.choice(NUMBERS) + rng.randrange(-1, 2)) % 256 ** struct.calcsize(form))
    at = place(data, rng)
    return data[:at] + number + data[at + len(number) :]


def insert_word(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = place(data, rng)
    over = rng.choice((0, 0, 1, 4))
    return data[:at] + rng.choice(others) + data[at + over :]


def inside_zip(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """An entry of a zip is changed, and packed again with the right checksum."""
    if data[:2] != b"PK":
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = [(name, file.read(name)) for name in file.namelist()]
        at = rng.randrange(len(entries))
        entries[at] = (entries[at][0], rng.choice(PLAIN)(entries[at][1], rng, others))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in entries:
                file.writestr(name, content)
    except Exception:  # noqa: BLE001 - it is no zip any more, as intended elsewhere
        return data
    return out.getvalue()


def mend_png(data: bytes) -> bytes:
    """The checksums of a PNG's chunks, made right again, so that a reader goes on to what is in them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        out[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


PLAIN: tuple[Change, ...] = (flip, cut, splice, lengthen, write_number)


def mutate(data: bytes, rng: random.Random, pool: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One to four changes.

    Args:
        data: an input.
        rng: the only source of chance.
        pool: other inputs, at least one.
        words: what inputs of this kind are made of.
    """
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.5 and (packed := inside_zip(data, rng, pool)) != data:
            data = packed
        elif words and rng.random() < 0.3:
            data = insert_word(data, rng, words)
        else:
            data = rng.choice(PLAIN)(data, rng, pool)
    return mend_png(data) if data.startswith(b"\x89PNG") and rng.random() < 0.7 else data
