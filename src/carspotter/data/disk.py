"""Files read whole under a cap, hashed, and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carspotter.data.files import NotAFile, open_regular
from carspotter.data.wording import cause, visible
from carspotter.errors import SourceError


def read_capped(path: str | Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Args:
        path: a pipe or a device would block for ever and is refused unopened.
        limit: bytes; counted while reading, because a size can change or lie.

    Raises:
        SourceError: missing, not a regular file, not readable, or larger than `limit`.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            data = stream.read(limit + 1)
    except NotAFile as fault:
        raise SourceError(f"{visible(path)} is {fault}; expected a regular file") from None
    except OSError as fault:
        raise SourceError(f"cannot read {visible(path)}: {cause(fault)}") from None
    if len(data) > limit:
        raise SourceError(f"{visible(path)} is larger than {limit:,} bytes; expected a smaller file, split it")
    return data


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside the target to write to; it takes the target's name only when everything is on disk.

    Missing folders are made. After an exception the target is as it was and nothing is left beside it.

    Raises:
        SourceError: the folder cannot be written to, the disk is full, or the target is a folder.
    """
    target = Path(os.path.realpath(path))
    part: Path | None = None
    try:
        part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    except OSError as fault:
        raise SourceError(f"cannot write {visible(path)}: {cause(fault)}; choose another place") from None
    finally:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def check_writable(path: str | Path, *, reads: Iterable[str | Path | None] = ()) -> None:
    """Pass when a file can be written there; ask before the work. What stands there stays; missing folders are made.

    Args:
        path: of the file.
        reads: what the work reads, which must be there afterwards as it was.

    Raises:
        SourceError: as for `whole_file`, or it is read.
    """
    target = Path(os.path.realpath(path))
    if any(place is not None and _is_same(target, Path(place)) for place in reads):
        raise SourceError(f"cannot write {visible(path)}: what stands there is read; choose another place")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as fault:
        raise SourceError(f"cannot write {visible(path)}: {cause(fault)}; choose another place") from None


def _is_same(target: Path, place: Path) -> bool:
    try:
        return target.samefile(place)
    except OSError:  # one of them is not there, or nobody may look: whoever reads it says so
        return False


def hash_file(path: Path) -> str:
    """sha256 of a file, hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file, or a folder's list of names, survive a power cut.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
