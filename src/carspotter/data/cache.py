"""Decoded and resized photos on disk, so that a second look at a photo costs a read instead of a decoding.

One file per photo and geometry, named by the sha256 of the photo's bytes, the geometry, the finder of cars where the
geometry asks one, and the version of what made it.
Each file carries what decoding noted, and a checksum: a damaged or half-written one is decoded again. Several
processes may share a folder: files are written beside and renamed, and the least recently used ones go when the folder
is full. A cache is a convenience: when the disk is full or read-only, work goes on without it after one warning.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import struct
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from carspotter.data.framing import Finder, decode_size, framed
from carspotter.data.photo import decode, read_bytes
from carspotter.data.wording import cause
from carspotter.records import Geometry, Photo, Pixels

DEFAULT_MAX_BYTES = 8 * 2**30
"""Assumption: the competition's 22 thousand photos at 240 x 320 take 5 GB."""
MADE_BY = f"2-pillow{PIL.__version__}"
"""Part of every key. Raise the number when decoding or fitting changes its result."""
TOUCH_AFTER = 3600.0
"""Seconds; assumption: entries used within the same hour are equally recent, so most reads write nothing."""
ABANDONED_AFTER = 3600.0
"""Seconds; assumption: a temporary file of this age belongs to a process that was killed."""
ROOM = 0.1
"""Assumption: share of the limit that an eviction frees at once, so that evictions are rare."""
LOOK_AGAIN = 0.02
"""Assumption: share of the limit that one process writes before it looks at what others wrote."""

_HEADER = struct.Struct("<8sIIII")  # magic, rows, columns, bytes of the notes, crc32 of pixels and notes
_MAGIC = b"cspixel2"
MAX_NOTED = 4096
"""Bytes of notes in an entry. Assumption: a decoder has a handful of sentences; an entry with more is damaged."""
_log = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """`$CARSPOTTER_CACHE`, else the place where this system keeps caches of a user."""
    if chosen := os.environ.get("CARSPOTTER_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path("~/Library/Caches/carspotter").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "carspotter" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "carspotter"


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A photo as a net is shown it.

    Attributes:
        pixels: (height, width, 3) sRGB, writable.
        notes: what decoding left out, mended or ignored, one sentence each.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


class PhotoCache:
    """Fitted photos, from disk when they were asked for before.

    Holds no lock and no open file, so it may be forked and used from threads, and without a finder pickled.

    Attributes:
        folder: where entries lie, or None: no disk, every photo is decoded each time.
        max_bytes: limit of all entries; while several processes write at once it may be passed by a fiftieth for each.
        finder: of the car, for geometries that show it alone.
        notes: why it stopped writing; empty while all is well.
    """

    def __init__(self, folder: Path | None, max_bytes: int = DEFAULT_MAX_BYTES, finder: Finder | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.finder = finder
        self.notes: tuple[str, ...] = ()
        self._written: int | None = None  # bytes since the folder was last looked at; None: never
        self._found = 0  # bytes in the folder at that time

    def pixels(self, photo: Photo, geometry: Geometry) -> Pixels:
        """The photo fitted to a geometry, (height, width, 3) sRGB, writable; refused as by `look`."""
        return self.look(photo, geometry).pixels

    def look(self, photo: Photo, geometry: Geometry) -> Fitted:
        """The photo fitted to a geometry, with what its decoder noted, from disk or not.

        With `photo.digest` known and the entry there, the photo's own bytes are not read.

        Raises:
            PhotoRefused: it cannot be read or decoded.
        """
        if self.folder is None:
            return self._fitted(read_bytes(photo.where), geometry)
        folder = self.folder / "photos"
        if photo.digest is not None and (found := _load(self._place(photo.digest, geometry), geometry)) is not None:
            return found
        data = read_bytes(photo.where)
        # The bytes decide, not the digest of an earlier scan: a changed photo must not take another one's place.
        path = self._place(hashlib.sha256(data).hexdigest(), geometry)
        if photo.digest is None and (found := _load(path, geometry)) is not None:
            return found
        made = self._fitted(data, geometry)
        self._store(folder, path, made)
        return made

    def with_finder(self, finder: Finder | None) -> PhotoCache:
        """The same folder, with this finder instead; itself where it has it already."""
        if finder is self.finder:
            return self
        other = copy.copy(self)
        other.finder = finder
        return other

    def _fitted(self, data: bytes, geometry: Geometry) -> Fitted:
        decoded = decode(data, at_least=decode_size(geometry))
        return Fitted(np.ascontiguousarray(framed(decoded.pixels, geometry, self.finder)), decoded.notes)

    def _place(self, digest: str, geometry: Geometry) -> Path:
        found_by = f" {self.finder.name}" if self.finder is not None and geometry.frame == "car" else ""
        key = hashlib.sha256(f"{digest} {geometry}{found_by} {MADE_BY}".encode()).hexdigest()
        return (self.folder or Path()) / "photos" / key[:2] / key[2:]

    def _store(self, folder: Path, path: Path, fitted: Fitted) -> None:
        size = _HEADER.size + fitted.pixels.nbytes
        if self.notes or size > self.max_bytes:
            return
        try:
            self._make_room(folder, size)
            _write(path, fitted)
        except OSError as fault:
            note = (
                f"the photo cache in {folder} cannot be written ({cause(fault)}), photos are decoded each "
                "time; free space there, or choose another folder by CARSPOTTER_CACHE"
            )
            self.notes = (note,)
            _log.warning(note)

    def _make_room(self, folder: Path, size: int) -> None:
        """Count what this process writes; look at the folder at first, when full, and now and then."""
        if self._written is None or self._written > LOOK_AGAIN * self.max_bytes or self._total + size > self.max_bytes:
            entries = sorted(_entries(folder))
            self._found, self._written = sum(bytes_ for _, bytes_, _ in entries), 0
            if self._found + size > self.max_bytes:
                self._found -= _evict(entries, self._found + size - int(self.max_bytes * (1 - ROOM)))
        self._written += size

    @property
    def _total(self) -> int:
        return self._found + (self._written or 0)


def _load(path: Path, geometry: Geometry) -> Fitted | None:
    """The entry, or None when it is absent, damaged or of another size."""
    shape = (geometry.height, geometry.width, 3)
    pixels = np.empty(shape, dtype=np.uint8)
    try:
        with path.open("rb", buffering=0) as file:
            header = file.read(_HEADER.size)
            whole = file.readinto(pixels.data.cast("B")) == pixels.nbytes
            noted = file.read(MAX_NOTED + 1)
            changed = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    if not whole or header != _header(pixels, noted):
        return None
    if time.time() - changed > TOUCH_AFTER:
        with contextlib.suppress(OSError):
            os.utime(path)
    return Fitted(pixels, tuple(noted.decode().splitlines()))


def _header(pixels: Pixels, noted: bytes) -> bytes:
    check = zlib.crc32(noted, zlib.crc32(pixels.data))
    return _HEADER.pack(_MAGIC, pixels.shape[0], pixels.shape[1], len(noted), check)


def _write(path: Path, fitted: Fitted) -> None:
    """Whole or not at all: beside, then renamed. No fsync: after a crash the checksum finds what is missing."""
    noted = "\n".join(fitted.notes).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("xb", buffering=0) as file:
            for part in (_header(fitted.pixels, noted), fitted.pixels.data.cast("B"), noted):
                if file.write(part) != len(part):
                    raise OSError("the disk took only a part")
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """(last use, bytes, path) of every entry; leftovers of killed processes are removed."""
    for path in folder.glob("??/*"):
        with contextlib.suppress(OSError):  # another process removed it
            found = path.stat()
            if path.suffix != ".tmp":
                yield found.st_mtime, found.st_size, path
            elif time.time() - found.st_mtime > ABANDONED_AFTER:  # younger ones are being written: not ours to evict
                path.unlink()


def _evict(entries: list[tuple[float, int, Path]], needed: int) -> int:
    """Remove the least recently used entries until `needed` bytes are free; bytes freed."""
    freed = 0
    for _, size, path in entries:
        if freed >= needed:
            break
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        freed += size
    return freed
