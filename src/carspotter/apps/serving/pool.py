"""The server's processes, and what waits for them: no photo can harm the server (`worker.py` is what they do).

A photo is one task of one process. A process that dies or takes too long is ended and replaced; its photo is answered
with the reason, the others are served meanwhile. What may wait is bounded: more is refused at once.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.line import Line, Turn
from carspotter.apps.serving.worker import Gone, Model, Open, Seen, Task, refused_for, work
from carspotter.errors import BundleError, Reason
from carspotter.inference.runtime import RuntimeName

T = TypeVar("T")

log = logging.getLogger("carspotter.serving")
LONGEST_PAUSE = 30.0
"""Seconds between tries to start a process (assumption)."""
START_SECONDS = 60.0
"""In which a process must have opened its models. Assumption: a cold disk and a busy machine."""
STOP_SECONDS = 5.0
FIRST_PACE = 0.05
"""Seconds that a photo is expected to take before any was measured (assumption)."""
MEMORY = 0.1
"""Share that a new measurement has in the pace: a change shows after some ten photos (assumption)."""


class Full(Exception):
    """A photo would have to wait longer than it may."""


class Pool:
    """Processes at work, and what waits for them.

    Args:
        limits: resolved.
        models: those of the moment, which every process opens first.
        runtime: who computes.
        restarted: called when a process is replaced.
    """

    def __init__(
        self,
        limits: Limits,
        models: Callable[[], Sequence[Model]],
        *,
        runtime: RuntimeName = "onnxruntime",
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._models = models
        self._restarted = restarted
        self._hands = [_Hand(limits, runtime) for _ in range(limits.workers)]
        self._line: Line[_Hand] = Line()
        self._pace = FIRST_PACE
        self._began: dict[_Hand, float] = {}
        self._threads = ThreadPoolExecutor(2 * limits.workers, thread_name_prefix="hand")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.admitted = 0

    @property
    def working(self) -> int:
        """Processes that are at a photo."""
        return len(self._began)

    @property
    def ready(self) -> int:
        """Processes that can take a photo, or are at one."""
        return self._line.free + self.working

    @property
    def waiting(self) -> int:
        """Photos that were let in and are not looked at yet."""
        return max(0, self.admitted - self.working)

    @property
    def wait(self) -> float:
        """How long a new request's first photo would wait, in times that a photo takes."""
        if self._line.free:
            return 0.0
        now = time.monotonic()
        left = sum(max(0.0, 1 - (now - began) / self._pace) for began in self._began.values())
        return (left + self._line.ahead) / self._limits.workers

    @property
    def full(self) -> bool:
        """Whether another request would have to wait too long."""
        return self.wait > self._limits.wait

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes."""
        return tuple(hand.pid for hand in self._hands if hand.pid)

    async def start(self) -> None:
        """Start the processes; returns when one of them can work.

        Raises:
            BundleError: a model cannot be opened.
        """
        first, *others = self._hands
        await self._on_thread(first.start, self._models())
        self._line.put(first)
        for hand in others:
            self._keep(self._start(hand))

    async def stop(self) -> None:
        """End the processes; what they are at is let finish for a moment."""
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, hand.stop) for hand in self._hands))
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admitting(self, photos: int) -> Iterator[Turn]:
        """Photos of one request count as waiting until it is over; they are run as one turn.

        Raises:
            Full: they would wait too long.
        """
        if self.full:
            raise Full
        self.admitted += photos
        try:
            yield Turn()
        finally:
            self.admitted -= photos

    async def run(self, task: Task, turn: Turn) -> Seen | Gone:
        """One photo of a request, once a process is free and it is next.

        Never raises for a photo: one that harms its process is refused with the reason. A process that was dead before
        it got the photo costs the photo nothing.
        """
        while True:
            hand = await self._line.take(turn)
            # A request that is given up meanwhile lets the process finish: what it is at cannot be taken back.
            said = await asyncio.shield(self._keep(self._asked(hand, task)))
            if said is not None:
                return said

    async def _asked(self, hand: _Hand, task: Task) -> Seen | Gone | None:
        self._began[hand] = time.monotonic()
        said, sound = None, False
        try:
            said, sound = await self._on_thread(hand.ask, task, self._limits.photo_seconds)
        finally:
            seconds = time.monotonic() - self._began.pop(hand)
            if sound:
                self._pace += MEMORY * (seconds - self._pace)
                self._line.put(hand)
            else:
                self._keep(self._again(hand))
        return said

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is referred to until it is done; asyncio itself forgets those that nobody holds."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _on_thread(self, work: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *values)

    async def _start(self, hand: _Hand) -> None:
        """Start a process, however often it takes: a model may be damaged for a while, or memory short."""
        pause = 1.0
        while True:
            try:
                await self._on_thread(hand.start, self._models())
            except (BundleError, OSError) as fault:
                log.warning("a worker did not start: %s", fault)
                await self._on_thread(hand.kill)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._line.put(hand)
                return

    async def _again(self, hand: _Hand) -> None:
        self._restarted()
        await self._on_thread(hand.kill)
        await self._start(hand)


class _Hand:
    """One process, from the server's side; called on a thread."""

    def __init__(self, limits: Limits, runtime: RuntimeName) -> None:
        self._limits = limits
        self._runtime = runtime
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, models: Sequence[Model]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the server's threads and sockets
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, self._limits.memory_bytes, self._runtime), name="carspotter-worker", daemon=True
        )
        self._process.start()
        theirs.close()
        for model in models:
            said, _ = self._exchange(Open(model), START_SECONDS)
            if isinstance(said, Gone):
                raise BundleError(said.sentence)
            if said is None:
                raise BundleError(f"no worker could open {model.name} in {START_SECONDS:.0f} s; see its message above")

    def ask(self, task: Task, seconds: float) -> tuple[Seen | Gone | None, bool]:
        """What the process says, and whether it can take another photo; None where it was dead already."""
        if self._process is None or not self._process.is_alive():
            return None, False
        said, late = self._exchange(task, seconds)
        if said is not None:
            return said, True
        if late:
            return refused_for(Reason.TIMEOUT, f"it took longer than {seconds:g} s; send a smaller copy"), False
        return refused_for(Reason.UNREADABLE, "decoding it ended a worker process; send another copy"), False

    def _exchange(self, what: Task | Open, seconds: float) -> tuple[Seen | Gone | None, bool]:
        """What was said, or None, and whether time was up; sending counts too, which a stopped process would block."""
        late = threading.Event()

        def end() -> None:
            late.set()
            if self._process is not None:
                self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            if self._pipe is not None:
                self._pipe.send(what)
                said: Seen | Gone = self._pipe.recv()
                return said, False
        except (OSError, EOFError):
            if self._process is not None:
                self._process.join(1)
        finally:
            timer.cancel()
        return None, late.is_set()

    def stop(self) -> None:
        """Let it end by itself, then make it."""
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.close()  # who waits for a task ends
        if self._process is not None:
            self._process.join(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.close()
