"""What hangs: a disk on which nothing is ever answered, and a server that takes requests and says nothing."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DETACH = 2
"""MNT_DETACH of umount2(2)."""


@contextmanager
def hanging_disk(place: Path) -> Iterator[None]:
    """A disk at a folder whose file system never answers: whoever asks for a file there waits, as on a hard NFS mount.

    It is a FUSE without a program behind it (Linux, and root); elsewhere the test skips, with the reason. Afterwards
    the folder is as it was before, and those who wait are told that the disk is gone.
    """
    place.mkdir(exist_ok=True)
    try:
        handle = os.open("/dev/fuse", os.O_RDWR)
    except OSError as fault:
        pytest.skip(f"there is no FUSE here: {fault}")
    system = ctypes.CDLL(None, use_errno=True)
    options = f"fd={handle},rootmode=40000,user_id=0,group_id=0"
    try:
        if system.mount(b"never", os.fsencode(place), b"fuse", 0, options.encode()):
            pytest.skip(f"nothing may be mounted here: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            system.umount2(os.fsencode(place), DETACH)
    finally:
        os.close(handle)


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a web server that is never heard of again."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
