"""A file that says "somebody is at work here" and lets go by itself when that process dies.

The kernel drops the lock of a process that ends in any way, `kill -9` and a crash included, so there is no process
number to look up, none that could have been given to another process since, and it works across containers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from carspotter.errors import TrackingError

if sys.platform == "win32":  # pragma: no cover - CI has no Windows
    import msvcrt

    def _take(fd: int, wait: bool, alone: bool) -> None:  # noqa: ARG001
        # Windows has no shared lock here: two readers at once may see each other.
        msvcrt.locking(fd, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(fd: int, wait: bool, alone: bool) -> None:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))


class Lock:
    """A lock held from creation until `release`, or until this process is gone.

    Processes forked meanwhile share it: it stays held until the last of them ends.

    Raises:
        TrackingError: the file cannot be made, or its disk knows no locks.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            _take(self._fd, wait=True, alone=True)
        except OSError as fault:
            raise TrackingError(
                f"cannot lock {path} ({fault.strerror}); runs need a writable local disk, named by CARSPOTTER_RUNS"
            ) from None

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; False where the file does not exist or cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        _take(fd, wait=False, alone=False)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
