"""What lies in a folder or zip: every regular file, judged later by its content, never by its ending."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from carspotter.data.archive import open_archive
from carspotter.data.files import is_system_file
from carspotter.data.wording import brief, cause, count, some
from carspotter.errors import Reason, SourceError
from carspotter.records import Dataset, Location, Photo, Rejected

TABLE_ENDINGS = frozenset({".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".ods", ".json", ".jsonl"})
"""Files that are plainly tables and never photos."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The photos of one folder or zip, unlabelled, sorted by id.

    Attributes:
        photos: id is the path relative to the folder or zip (POSIX).
        rejected: folders that could not be opened.
        notes: what was skipped, one line per kind.
    """

    photos: tuple[Photo, ...]
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()


def is_zip(path: str | Path) -> bool:
    """Whether a file is, or claims to be, a zip of photos; an XLSX is a table."""
    path = Path(path)
    if path.suffix.casefold() in TABLE_ENDINGS or not path.is_file():
        return False
    if path.suffix.casefold() == ".zip":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def list_place(path: str | Path) -> Listing:
    """The photos of a folder or zip.

    Raises:
        SourceError: neither of the two, or a zip that is refused whole.
    """
    if Path(path).is_dir():
        return _list_folder(path)
    if is_zip(path):
        return _list_zip(path)
    raise SourceError(f"{brief(path)} is neither a folder nor a zip of photos")


def list_photos(paths: Sequence[str | Path]) -> Dataset:
    """Photos without labels from files, folders (with all their folders) and zips, in the order given.

    An id is the path relative to its folder or zip, and a plain file's name as given. Where two arguments hold the same
    id, the argument stands before it. A file that is not there is one `Rejected`.

    Raises:
        SourceError: no argument, zips that are refused, or not one photo.
    """
    once: dict[str, str] = {}
    for path in paths:
        once.setdefault(os.path.normpath(path), os.fspath(path))
    given = list(once.values())
    listings: list[Listing] = []
    faults: list[str] = []
    for argument in given:
        try:
            listings.append(_list_argument(argument))
        except SourceError as fault:
            faults += fault.problems
    if faults:
        raise SourceError(faults)
    dataset = _joined(given, listings)
    if not dataset.photos and not dataset.rejected:
        raise SourceError(f"{some(given) or 'the list of arguments'}: no photos; expected photos, folders or zips")
    return dataset


# ---- one place ------------------------------------------------------------------------------------------------------


def _list_argument(path: str) -> Listing:
    if Path(path).is_dir() or is_zip(path):
        return list_place(path)
    name = _text(path)
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):
            return Listing((Photo(name, Location(path)),))
        return Listing((), (Rejected(name, Reason.UNREADABLE, "is a pipe or device; give a regular file"),))
    except (FileNotFoundError, NotADirectoryError):
        return Listing((), (Rejected(name, Reason.MISSING, "there is no such file; check the path"),))
    except (OSError, ValueError) as fault:  # ValueError: a NUL inside the name
        why = cause(fault) if isinstance(fault, OSError) else fault
        return Listing((), (Rejected(name, Reason.UNREADABLE, f"cannot be opened ({why}); check its permissions"),))


def _list_zip(path: str | Path) -> Listing:
    archive = open_archive(path)
    kept, skipped = [], _Skipped()
    for name in sorted(archive.names):
        if is_system_file(name):
            skipped.hidden.append(name)
        elif PurePosixPath(name).suffix.casefold() in TABLE_ENDINGS:
            skipped.tables.append(name)
        else:
            kept.append(Photo(name, Location(str(path), name)))
    return Listing(tuple(kept), (), (*archive.notes, *skipped.notes(path)))


def _list_folder(path: str | Path) -> Listing:
    walk = _Walk(str(path))
    walk.run()
    photos = tuple(sorted(walk.photos, key=lambda photo: photo.id))
    return Listing(photos, tuple(walk.rejected), walk.skipped.notes(path))


@dataclass(slots=True)
class _Skipped:
    """Names left aside, by kind."""

    hidden: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    def notes(self, path: str | Path) -> tuple[str, ...]:
        kinds = (
            (self.hidden, "hidden or system file"),
            (self.tables, "table"),
            (self.special, "pipe, device or socket"),
            (self.broken, "link that leads nowhere"),
            (self.loops, "link to a folder that was already read"),
        )
        plurals = (None, None, "pipes, devices or sockets", "links that lead nowhere", "links to folders already read")
        return tuple(
            f"{brief(path)}: skipped {count(len(names), noun, plural)}: {some(sorted(names))}"
            for (names, noun), plural in zip(kinds, plurals, strict=True)
            if names
        )


class _Walk:
    """Reads a folder tree. Real folders come before links, and no folder is read twice, so loops end."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.photos: list[Photo] = []
        self.rejected: list[Rejected] = []
        self.skipped = _Skipped()
        self._folders: deque[str] = deque([root])
        self._links: deque[str] = deque()
        self._seen: set[tuple[int, int]] = set()

    def run(self) -> None:
        while self._folders or self._links:
            path = (self._folders or self._links).popleft()
            try:
                self._folder(path)
            except OSError as fault:
                sentence = f"the folder cannot be opened ({cause(fault)}); give it read rights or leave it out"
                self.rejected.append(Rejected(self._id(path), Reason.UNREADABLE, sentence))

    def _folder(self, path: str) -> None:
        state = Path(path).stat()
        if (state.st_dev, state.st_ino) in self._seen:
            self.skipped.loops.append(self._id(path))
            return
        self._seen.add((state.st_dev, state.st_ino))
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                self._entry(entry)

    def _entry(self, entry: os.DirEntry[str]) -> None:
        try:
            mode = entry.stat().st_mode
        except OSError:  # a link to nothing, or to itself
            mode = stat.S_IFLNK
        if is_system_file(entry.name):
            self.skipped.hidden.append(self._id(entry.path))
        elif stat.S_ISDIR(mode):
            (self._links if entry.is_symlink() else self._folders).append(entry.path)
        elif not stat.S_ISREG(mode):
            (self.skipped.broken if stat.S_ISLNK(mode) else self.skipped.special).append(self._id(entry.path))
        elif Path(entry.name).suffix.casefold() in TABLE_ENDINGS:
            self.skipped.tables.append(self._id(entry.path))
        else:
            self.photos.append(Photo(self._id(entry.path), Location(entry.path)))

    def _id(self, path: str) -> str:
        return _text(Path(os.path.relpath(path, self.root)).as_posix())


def _text(path: str) -> str:
    r"""A name that any file or terminal can hold; bytes that are not UTF-8 are written as `\xe9`."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


# ---- several places -------------------------------------------------------------------------------------------------


def _joined(given: Sequence[str], listings: Sequence[Listing]) -> Dataset:
    times = Counter(photo.id for listing in listings for photo in listing.photos)
    times.update(refused.id for listing in listings for refused in listing.rejected)
    taken: set[str] = set()
    photos: list[Photo] = []
    rejected: list[Rejected] = []
    for path, listing in zip(given, listings, strict=True):
        photos += [replace(photo, id=_unique(path, photo.id, times, taken)) for photo in listing.photos]
        rejected += [replace(refused, id=_unique(path, refused.id, times, taken)) for refused in listing.rejected]
    notes = tuple(note for listing in listings for note in listing.notes)
    return Dataset(tuple(photos), (), (), " ".join(map(_text, given)), tuple(rejected), notes)


def _unique(argument: str, name: str, times: Counter[str], taken: set[str]) -> str:
    """The id itself where it is the only one, else with the argument before it, and never one twice."""
    prefix = _text(argument)
    wanted = name if times[name] == 1 or name == prefix else f"{prefix}/{name}"
    unique, number = wanted, 2
    while unique in taken:
        unique, number = f"{wanted} ({number})", number + 1
    taken.add(unique)
    return unique
