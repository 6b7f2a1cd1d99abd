"""A zip read in place: refused whole when hostile or damaged, then read by many threads and processes at once.

Python's `zipfile` before 3.11.8 does not notice entries that overlap (a 61 KB zip declares 10 GB), guards its file with
one lock, and mends bad paths silently. Here every entry owns the bytes from its own header to the next one's; nothing
outside them is ever read for it, so entries cannot share bytes.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import weakref
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from carspotter.data.files import NotAFile, is_system_file, open_regular
from carspotter.data.wording import cause
from carspotter.data.zip_directory import Listed, read_at, read_directory
from carspotter.errors import ArchiveError, PhotoRefused, Reason

MAX_PHOTO_BYTES = 64 * 2**20
"""Assumption: a 50 Mpx photo at the best JPEG quality takes about 30 MB."""
MAX_TOTAL_BYTES = 64 * 2**30
"""Assumption: some ten times the competition's photos. Reading never gives more than an entry declares, so this holds
for the bytes really read."""
MAX_RATIO = 200
"""Assumption: photos shrink by a few per cent, a flat drawing as BMP about 100 times; deflate's limit is 1032."""
RATIO_FREE_BYTES = 2**20
"""Assumption: an entry up to this size may have any ratio; it can do no harm."""
MAX_OPEN = 16
"""Assumption: archives that one process keeps open."""
SHOWN = 10
"""Assumption: problems of one archive that are spelled out; the rest is counted."""

_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13  # plain, strong, and a masked directory (APPNOTE 4.4.4)
_REPACK = "unpack it with a tool you trust and zip the photos again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that an archive offers.

    Attributes:
        listed: what the directory says.
        stop: offset of the next entry, or of the directory; its bytes lie before it.
    """

    listed: Listed
    stop: int


def check_length(length: int, limit: int = MAX_PHOTO_BYTES) -> None:
    """Pass when so many bytes may be a photo.

    Raises:
        PhotoRefused: `empty` or `too_large`.
    """
    if length == 0:
        raise PhotoRefused(Reason.EMPTY, "the file has no bytes; copy it again")
    if length > limit:
        raise PhotoRefused(Reason.TOO_LARGE, f"it has {length:,} bytes, at most {limit:,} are read; save it smaller")


class Archive:
    """An open zip. It never changes, so threads share it; each read brings its own offset, so forked processes do too.

    It owns its descriptor once it is made; `open_archive` makes it.

    Attributes:
        path: as it was opened.
        names: its regular entries, in the order of its directory.
        notes: what was skipped or decided, one sentence each.
    """

    def __init__(self, path: str, handle: int, size: int) -> None:
        self.path = path
        self._handle = handle
        listed, directory = read_directory(path, handle, size)
        entries, self.notes = _judge(path, listed, directory)
        self._entries = {entry.listed.name: entry for entry in entries}
        self.names: tuple[str, ...] = tuple(self._entries)
        weakref.finalize(self, os.close, handle).atexit = False

    def read(self, name: str, limit: int = MAX_PHOTO_BYTES) -> bytes:
        """The unpacked bytes of one entry; safe from any thread or forked process, inflating runs side by side.

        Raises:
            PhotoRefused: `missing`, `empty`, `too_large` (over `limit` bytes), `unreadable` (damaged: a length, its
                header or its checksum does not match), or `unreachable` (the disk does not give it).
        """
        entry = self._entries.get(name)
        if entry is None:
            raise PhotoRefused(
                Reason.MISSING, "the zip has no such entry; compare the name, upper and lower case count"
            )
        check_length(max(entry.listed.size, entry.listed.packed), limit)
        check_length(entry.listed.size, limit)
        try:
            return _unpack(entry.listed, _packed(self._handle, entry))
        except OSError as fault:
            raise PhotoRefused(
                Reason.UNREACHABLE, f"the system cannot read its zip ({cause(fault)}); check its disk"
            ) from None


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """A validated zip; the same one again for as long as the file keeps its size and time.

    Raises:
        ArchiveError: everything for which it is refused, naming the entries.
    """
    text = os.fspath(path)
    try:
        seen = Path(text).stat()
        return _open(text, seen.st_size, seen.st_mtime_ns, seen.st_ino)
    except NotAFile as fault:
        raise ArchiveError(f"{text}: is {fault}, expected a zip file; check the path") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL inside the name
        why = cause(fault) if isinstance(fault, OSError) else fault
        raise ArchiveError(f"{text}: cannot be read ({why}); check the path and its permissions") from fault


def forget_archives() -> None:
    """Let go of all that are held open, so that a deleted upload takes no room; the next one to read is opened anew."""
    _open.cache_clear()


# No lock is held while an archive is opened, so a fork at that moment cannot leave one locked for ever; two threads may
# both validate a new archive, and one of the two is dropped.
@lru_cache(maxsize=MAX_OPEN)
def _open(path: str, _size: int, _changed: int, _inode: int) -> Archive:
    handle = open_regular(path)
    try:
        return Archive(path, handle, os.fstat(handle).st_size)
    except BaseException:
        os.close(handle)
        raise


# ---- reading one entry ----------------------------------------------------------------------------------------------


def _packed(handle: int, entry: Entry) -> bytes:
    """What lies in the zip for an entry, after its own header has been compared with the directory."""
    listed = entry.listed
    head = read_at(handle, 30 + len(listed.raw), listed.start)
    if len(head) != 30 + len(listed.raw) or head[:4] != b"PK\3\4" or head[30:] != listed.raw:
        raise _damaged("its header does not match the directory")
    flags, method = struct.unpack_from("<HH", head, 6)
    name_length, extra_length = struct.unpack_from("<HH", head, 26)
    if name_length != len(listed.raw) or method != listed.method or flags & _ENCRYPTED:
        raise _damaged("its header does not match the directory")
    first = listed.start + 30 + name_length + extra_length
    if first + listed.packed > entry.stop:
        raise _damaged("it reaches into the next entry")
    return read_at(handle, listed.packed, first)


def _unpack(listed: Listed, packed: bytes) -> bytes:
    """Inflate at most one byte more than declared, and believe nothing that the checksum does not confirm."""
    whole = packed
    if listed.method == _DEFLATED:
        try:
            whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, listed.size + 1)
        except zlib.error:
            raise _damaged("its compressed bytes are broken") from None
    if len(whole) != listed.size:
        raise _damaged(f"it declares {listed.size:,} bytes and holds {'more' if len(whole) > listed.size else 'fewer'}")
    if zlib.crc32(whole) != listed.crc:
        raise _damaged("its checksum does not match")
    return whole


def _damaged(what: str) -> PhotoRefused:
    return PhotoRefused(Reason.UNREADABLE, f"the entry is damaged in the zip: {what}; copy or zip it again")


# ---- judging the whole ----------------------------------------------------------------------------------------------


def _judge(path: str, listed: Sequence[Listed], directory: int) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries to offer, and notes about the others.

    Raises:
        ArchiveError: what is wrong with the archive, at most `SHOWN` lines and a count.
    """
    problems = [f"entry {entry.name!r} {fault}; {_REPACK}" for entry in listed for fault in _faults(entry)]
    entries, overlaps = _slots(listed, directory)
    problems += [
        f"entry {entry.name!r} shares bytes with another entry or the directory; {_REPACK}" for entry in overlaps
    ]
    files = [entry for entry in entries if not entry.listed.name.endswith("/")]
    kept = [entry for entry in files if not is_system_file(entry.listed.name)]
    problems += [f"entries {a!r} and {b!r} are one name on many systems; rename one" for a, b in _clashes(kept)]
    if (total := sum(entry.listed.size for entry in kept)) > MAX_TOTAL_BYTES:
        problems.append(f"it unpacks to {total:,} bytes, at most {MAX_TOTAL_BYTES:,} are read; split it into several")
    if problems:
        more = [f"{path}: and {len(problems) - SHOWN:,} problems more"] if len(problems) > SHOWN else []
        raise ArchiveError([f"{path}: {problem}" for problem in problems[:SHOWN]] + more)
    return kept, tuple(_notes(path, files, kept))


def _faults(entry: Listed) -> Iterator[str]:
    """What is hostile or unreadable in one entry by itself, for a sentence that starts with its name."""
    if fault := _path_fault(entry.name):
        yield fault
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield f"is {'a symlink' if stat.S_ISLNK(entry.mode) else 'a device or pipe'}, not a file"
    if entry.flags & _ENCRYPTED:
        yield "is encrypted"
    elif entry.method not in (_STORED, _DEFLATED):
        yield f"is packed by method {entry.method}; only deflate (8) and stored (0) are read"
    elif entry.method == _STORED and entry.packed != entry.size:
        yield "declares two different lengths"
    if entry.disk:
        yield "lies in another part of a split zip"
    if entry.size > RATIO_FREE_BYTES and entry.size > MAX_RATIO * entry.packed:
        yield f"declares {entry.size:,} bytes packed into {entry.packed:,}, over {MAX_RATIO} times"


def _path_fault(name: str) -> str:
    """Why this name could lead out of a folder, or nothing."""
    if "\0" in name or not name:
        return "has no usable name"
    if "\\" in name:
        return "has a backslash in its path"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    return "climbs out of its folder by '..'" if ".." in name.split("/") else ""


def _slots(listed: Sequence[Listed], directory: int) -> tuple[list[Entry], list[Listed]]:
    """Each entry with the end of its slot, in the order given, and those that do not fit into theirs."""
    starts = sorted({entry.start for entry in listed})
    stops = dict(zip(starts, [*starts[1:], directory], strict=False))
    seen: set[int] = set()
    entries, overlaps = [], []
    for entry in listed:
        fits = entry.start + 30 + len(entry.raw) + entry.packed <= stops[entry.start]
        if not fits or entry.start in seen:
            overlaps.append(entry)
        seen.add(entry.start)
        entries.append(Entry(entry, stops[entry.start]))
    return entries, overlaps


def _clashes(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Pairs that a system without upper and lower case, or with composed letters only, could not keep apart."""
    seen: dict[str, str] = {}
    for entry in entries:
        name = entry.listed.name
        key = unicodedata.normalize("NFC", str(PurePosixPath(name))).casefold()
        if key in seen:
            yield seen[key], name
        seen.setdefault(key, name)


def _notes(path: str, files: Sequence[Entry], kept: Sequence[Entry]) -> Iterator[str]:
    if skipped := len(files) - len(kept):
        example = next(entry.listed.name for entry in files if is_system_file(entry.listed.name))
        yield f"{path}: skipped {skipped:,} hidden or system files, such as {example!r}"
    if odd := sum(not entry.listed.is_unicode for entry in kept):
        yield f"{path}: {odd:,} names are not Unicode and were read as CP437; zip again with UTF-8 if they look wrong"
