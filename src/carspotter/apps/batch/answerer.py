"""Photos answered by a child process: one that ends it costs its own row and nothing else, on every engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from carspotter.apps.batch.order import Order
from carspotter.errors import BatchError, Reason, is_full_memory
from carspotter.records import Answer, Photo, Verdict

TRIES = 2
"""How often a photo alone may end a process before it is answered so. Assumption: what took the memory the first time
is gone by then, unless it was the photo."""


class Answerer:
    """A child with the model, started when photos come, and anew when one has ended it.

    Args:
        order: names the model.
        threads: photos worked on at once; 0 takes every core.
    """

    def __init__(self, order: Order, *, threads: int = 0) -> None:
        self._order, self._threads = order, threads
        self._child: _Child | None = None

    def __call__(self, photos: Sequence[Photo]) -> Generator[Answer]:
        """One answer per photo, in their order; when the child ends, the rest is asked one by one.

        Raises:
            BundleError, MissingExtra, BatchError: the model cannot be used, or no child with it stays alive.
        """
        done = 0
        try:
            for some in self._ask(photos):
                done += len(some)
                yield from some
        except _Ended:
            yield from map(self._alone, photos[done:])

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _alone(self, photo: Photo) -> Answer:
        for _ in range(TRIES):
            with suppress(_Ended):
                ((answer,),) = self._ask([photo])
                return answer
        return Answer(
            photo.id,
            Verdict.BAD_PHOTO,
            reason=f"reading it ended a process {TRIES} times, which a lack of memory does too; send another copy",
            code=Reason.CRASHED,
        )

    def _ask(self, photos: Sequence[Photo]) -> Iterator[list[Answer]]:
        child = self._child or self._start()
        whole = False
        try:
            child.say(photos)
            while (some := child.hear()) is not None:
                yield some
            whole = True
        finally:
            if not whole:  # it has ended, or has more to say that nobody wants
                self.close()

    def _start(self) -> _Child:
        self._child = child = _Child()
        try:
            child.say((self._order, self._threads))
            child.hear()
        except _Ended:
            code = child.end()
            raise BatchError(
                f"the process that answers ended while it opened the model (exit code {code}); see whether there is "
                "memory for it"
            ) from None
        return child


class _Ended(Exception):
    """A child is no more, or has no memory left."""


class _Child:
    """A process of `child.py`, from its parent's side."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "carspotter.apps.batch.child", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # which Ray and callers add to
            )

    def say(self, what: object) -> None:
        try:
            self._pipe.send(what)
        except OSError:
            raise _Ended from None

    def hear(self) -> Any:
        try:
            said = self._pipe.recv()
        except (EOFError, OSError):
            raise _Ended from None
        if isinstance(said, Exception):
            raise _Ended if is_full_memory(said) else said
        return said

    def end(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        with self._pipe, self._process:
            self._process.kill()
        return self._process.returncode
