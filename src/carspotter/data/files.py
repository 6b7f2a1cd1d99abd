"""Opening what a user pointed at, without ever waiting on something that is no file."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

SYSTEM_FOLDERS = frozenset({"__macosx", "$recycle.bin", "system volume information"})
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NotAFile(OSError):
    """A folder, pipe, socket or device where a regular file was expected; `str()` names the kind."""


def is_system_file(name: str) -> bool:
    """Whether this relative POSIX path is what an operating system leaves behind, not a user's file.

    `__MACOSX/…`, `Thumbs.db`, `desktop.ini`, and every name that starts with a dot (`.DS_Store`, `._a.jpg`, `.git/…`).
    """
    *folders, last = PurePosixPath(name.lower()).parts or ("",)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in (*folders, last))
    return hidden or last in SYSTEM_FILES or not SYSTEM_FOLDERS.isdisjoint((*folders, last))


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file (or of what a symlink to one points at); the caller closes it.

    Never blocks: a pipe without a writer is refused before and after opening (it may be swapped in between).

    Raises:
        NotAFile: it is something else.
        OSError: missing, not allowed, a loop of symlinks, a name that the system cannot hold.
    """
    try:
        _require_regular(Path(path).stat())
        handle = os.open(path, _FLAGS)
    except ValueError as fault:  # a NUL inside the name
        raise FileNotFoundError(str(fault)) from None
    try:
        _require_regular(os.fstat(handle))
    except NotAFile:
        os.close(handle)
        raise
    return handle


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(_KINDS.get(stat.S_IFMT(found.st_mode), "no regular file"))


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
