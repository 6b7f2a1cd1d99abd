"""A file that says "somebody is at work here" and lets go by itself when that process dies.

The kernel drops the lock of a process that ends in any way, `kill -9` and a crash included, so there is no process
number to look up, none that could have been given to another process since, and it works across containers.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from carspotter.data.wording import cause
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

    Args:
        path: made where it does not exist.
        patience: seconds to wait for another holder; None: as long as it takes.

    Raises:
        TrackingError: the file cannot be made, its disk knows no locks, or another process kept it.
    """

    def __init__(self, path: Path, patience: float | None = None) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self._wait(path, patience)
        except OSError as fault:
            raise TrackingError(
                f"cannot lock {path} ({cause(fault)}); runs need a writable local disk, named by CARSPOTTER_RUNS, "
                "or by CARSPOTTER_ARTIFACTS where a server keeps their index"
            ) from None

    def _wait(self, path: Path, patience: float | None) -> None:
        if patience is None:
            _take(self._fd, wait=True, alone=True)
            return
        until = time.monotonic() + patience
        while not self._taken():
            if time.monotonic() > until:
                self.release()
                raise TrackingError(f"another process is at work on {path.parent}; wait for its end")
            time.sleep(0.02)

    def _taken(self) -> bool:
        try:
            _take(self._fd, wait=False, alone=True)
        except BlockingIOError:
            return False
        return True

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
