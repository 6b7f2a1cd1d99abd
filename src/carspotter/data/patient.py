"""Photos' bytes, none of which is waited for longer than is stated: a disk may hang, and then says nothing at all.

A mounted disk whose server is gone (NFS mounted hard, a FUSE that died inside) lets whoever asks it wait for ever. That
cannot be called off from inside a process, but it can be left to a thread of its own.
"""

from __future__ import annotations

from functools import partial
from threading import BoundedSemaphore

from carspotter.data.photo import read_bytes
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Location, Remote
from carspotter.workers import within

MOST = 64
"""Reads at once, those that hang among them. Assumption: one thread each, which is little beside a model; a disk that
holds so many is away."""


class PatientReader:
    """Reads bytes as `read_bytes` does, on a thread that is left where it hangs; safe to use from several threads.

    Args:
        seconds: to wait for one photo.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._room = BoundedSemaphore(MOST)

    def __call__(self, where: Location | Remote | bytes) -> bytes:
        """A photo's bytes.

        Raises:
            PhotoRefused: as `read_bytes`; `timeout` also where a disk did not give them in time, or so many reads hang
                that no other one is begun.
        """
        if not self._room.acquire(blocking=False):
            raise PhotoRefused(Reason.TIMEOUT, f"not tried, since {MOST} other reads hang; check the disks")
        try:
            return within(self._seconds, partial(self._read, where))
        except TimeoutError:
            raise PhotoRefused(
                Reason.TIMEOUT, f"reading it took longer than {self._seconds:g} s; check its disk, or ask again later"
            ) from None

    def _read(self, where: Location | Remote | bytes) -> bytes:
        try:
            return read_bytes(where)
        finally:
            self._room.release()
