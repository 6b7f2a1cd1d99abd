"""Photos answered by a child process: one that ends it, or holds it for ever, costs its own row, on every engine.

What hangs while it is read is left by the child itself (`data/patient.py`), and its row says `timeout`. A child that
hangs otherwise, as in a decoder that never comes back, falls silent, is ended, and the rest is asked one by one.
"""

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
WORK_SECONDS = 60.0
"""A child may be silent for so long beyond the patience for reading: to decode a photo and ask the net. The longest
that a damaged photo may take (docs/storms.md, "Fuzz"), which is also far more than a model takes to be opened."""
END_SECONDS = 10.0
"""For a child to be gone that was killed. Assumption: one that is not hangs inside the system, which no signal ends."""
LEFT = 8
"""Children that may be left so. Assumption: each holds its memory, a model and at most `MOST` hanging reads."""


class Answerer:
    """A child with the model, started when photos come, and anew when one has ended it.

    Args:
        order: names the model.
        threads: photos worked on at once; 0 takes every core.
    """

    def __init__(self, order: Order, *, threads: int = 0) -> None:
        self._order, self._threads = order, threads
        self._child: _Child | None = None
        self._left: list[_Child] = []

    def __call__(self, photos: Sequence[Photo]) -> Generator[Answer]:
        """One answer per photo, in their order; when the child ends or hangs, the rest is asked one by one.

        Raises:
            BundleError, MissingExtra, BatchError: the model cannot be used, or no child with it stays alive.
        """
        late = False
        for answer in self._answers(photos):
            late = late or answer.code is Reason.TIMEOUT
            yield answer
        if late:
            self.close()  # with it end the reads that hang, so that the next photos have their room

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            if self._child.end() is None:
                self._left.append(self._child)
            self._child = None

    def _answers(self, photos: Sequence[Photo]) -> Iterator[Answer]:
        done = 0
        try:
            for some in self._ask(photos):
                done += len(some)
                yield from some
        except (_Ended, _Silent):
            yield from map(self._alone, photos[done:])

    def _alone(self, photo: Photo) -> Answer:
        for _ in range(TRIES):
            try:
                ((answer,),) = self._ask([photo])
            except _Silent:
                told = f"the process that was to answer fell silent for {self._silence:g} s; ask again, or leave it out"
                return Answer(photo.id, Verdict.BAD_PHOTO, reason=told, code=Reason.TIMEOUT)
            except _Ended:
                continue
            return answer
        return Answer(
            photo.id,
            Verdict.BAD_PHOTO,
            reason=f"reading it ended a process {TRIES} times, which a lack of memory does too; send another copy",
            code=Reason.CRASHED,
        )

    @property
    def _silence(self) -> float:
        return self._order.patience + WORK_SECONDS

    def _ask(self, photos: Sequence[Photo]) -> Iterator[list[Answer]]:
        child = self._child or self._start()
        whole = False
        try:
            child.say(photos)
            while (some := child.hear(self._silence)) is not None:
                if some:
                    yield some
            whole = True
        finally:
            if not whole:  # it has ended, hangs, or has more to say that nobody wants
                self.close()

    def _start(self) -> _Child:
        self._left = [left for left in self._left if left.is_there]
        if len(self._left) == LEFT:
            raise BatchError(
                f"{LEFT} processes that answered hang inside the system, and cannot be ended; see to the disks of the "
                "photos; what is answered stays, the same command goes on"
            )
        self._child = child = _Child()
        try:
            child.say((self._order, self._threads))
            child.hear(self._silence)
        except _Silent:
            self.close()
            raise BatchError(
                f"the process that answers did not open the model within {self._silence:g} s; see to its disk"
            ) from None
        except _Ended:
            code = child.end()
            raise BatchError(
                f"the process that answers ended while it opened the model (exit code {code}); see whether there is "
                "memory for it"
            ) from None
        return child


class _Ended(Exception):
    """A child is no more, or has no memory left."""


class _Silent(Exception):
    """A child says nothing, not even that it goes on."""


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

    def hear(self, seconds: float) -> Any:
        try:
            if not self._pipe.poll(seconds):
                raise _Silent
            said = self._pipe.recv()
        except (EOFError, OSError):
            raise _Ended from None
        if isinstance(said, Exception):
            raise _Ended if is_full_memory(said) else said
        return said

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> int | None:
        """Its exit code, negative: the signal that ended it; None where no signal does."""
        self._process.kill()
        self._pipe.close()
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None  # noqa: S101 - it was given one
            self._process.stdin.close()
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return None
