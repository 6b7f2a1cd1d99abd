"""The server's processes, and what waits for them: no photo can harm the server (`worker.py` is what they do).

A photo is one task of one process. A process that dies or takes too long is ended and replaced. A photo whose process
died is handed to another one, for it may have been ended from outside; then the photo is answered with the reason.
The others are served meanwhile. What may wait is bounded: more is refused at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from carspotter.apps.serving.arrivals import Arrivals
from carspotter.apps.serving.fair_queue import FairQueue, Turn
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.worker import Gone, Model, Seen, Task, refused_for
from carspotter.apps.serving.worker_process import Lost, WorkerProcess
from carspotter.data.wording import cause
from carspotter.errors import BundleError, Reason
from carspotter.inference.runtime import RuntimeName

T = TypeVar("T")

log = logging.getLogger("carspotter.serving")
LONGEST_PAUSE = 30.0
"""Seconds between tries to start a process (assumption)."""
FIRST_PACE = 0.05
"""Seconds that a photo is expected to take before any was measured (assumption)."""
ENDED = 2
"""Processes that end while they have a photo before it is the photo that is blamed."""
MEMORY = 0.1
"""Share that a new measurement has in the pace: a change shows after some ten photos (assumption)."""


class Full(Exception):
    """More photos than may wait, or for longer than they may."""


class Pool:
    """Processes at work, and what waits for them.

    Args:
        limits: resolved.
        models: those of the moment, which every process opens first.
        runtime: who computes.
        restarted: called when a process is replaced.
        said: told what became of each photo.
    """

    def __init__(
        self,
        limits: Limits,
        models: Callable[[], Sequence[Model]],
        *,
        runtime: RuntimeName = "onnxruntime",
        restarted: Callable[[], None] = lambda: None,
        said: Callable[[Task, Seen], None] = lambda *_: None,
    ) -> None:
        self._limits = limits
        self._models = models
        self._restarted = restarted
        self._said = said
        self._runtime = runtime
        self._workers = [WorkerProcess(limits, runtime) for _ in range(limits.workers)]
        self._queue: FairQueue[WorkerProcess] = FairQueue()
        self._arrivals = Arrivals()
        self._pace = FIRST_PACE
        self._up: set[WorkerProcess] = set()
        self._began: dict[WorkerProcess, float] = {}
        self._threads = ThreadPoolExecutor(2 * limits.workers, thread_name_prefix="worker")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.admitted = 0

    @property
    def working(self) -> int:
        """Processes that are at a photo."""
        return len(self._began)

    @property
    def ready(self) -> int:
        """Processes that can take a photo, or are at one."""
        return len(self._up)

    @property
    def waiting(self) -> int:
        """Photos that were let in and are not looked at yet."""
        return max(0, self.admitted - self.working)

    @property
    def wait(self) -> float:
        """How long a new request's first photo would wait, in times that a photo takes."""
        if self._queue.free > self._queue.ahead:
            return 0.0
        now = time.monotonic()
        left = sum(max(0.0, 1 - (now - began) / self._pace) for began in self._began.values())
        return (left + self._queue.ahead) / self._limits.workers

    @property
    def load(self) -> float:
        """The offered load: requests that come while each process works at one photo; above 1, some must be refused.

        Later photos of a request are not counted, for first photos go before them (`FairQueue`).
        """
        return self._arrivals.rate * self._pace / self._limits.workers

    @property
    def patience(self) -> float:
        """How long a request's first photo may wait, in times that a photo takes.

        Beyond what can be served waiting helps nobody, for a process that is free need not wait for work: at a load of
        L the next request comes after 1/L of what a photo takes. So whoever is let in then waits no longer than that.
        """
        return self._limits.wait / max(1.0, self.load)

    @property
    def full(self) -> bool:
        """Whether another request would have to wait too long, or for nobody."""
        return not self.ready or self.admitted >= self._limits.waiting or self.wait > self.patience

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes."""
        return tuple(worker.pid for worker in self._workers if worker.pid)

    def came(self) -> None:
        """A request is there, whether or not it will be let in."""
        self._arrivals.add()

    async def start(self) -> None:
        """Start the processes; returns when one of them can work.

        Raises:
            BundleError: a model cannot be opened.
        """
        first, *others = self._workers
        if faults := await self._on_thread(first.start, self._models()):
            raise BundleError(faults[0])
        self._add(first)
        for worker in others:
            self._keep(self._start(worker))

    async def try_open(self, model: Model) -> None:
        """Let a process of its own open a model, so that one that does not open, or hangs, costs the others nothing.

        Raises:
            BundleError: it does not open.
        """
        worker = WorkerProcess(self._limits, self._runtime)
        try:
            faults = await self._on_thread(worker.start, [model])
        except OSError as fault:
            raise BundleError(f"no process could be started to open it: {cause(fault)}") from None
        finally:
            await self._on_thread(worker.kill)
        if faults:
            raise BundleError(faults[0])

    async def stop(self) -> None:
        """End the processes; what they are at is let finish for a moment."""
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, worker.stop) for worker in self._workers))
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admitting(self, photos: int) -> Iterator[Turn]:
        """Photos of one request count as waiting until it is over; they are run as one turn.

        Raises:
            Full: they would wait too long, or be too many.
        """
        if self.full or (self.admitted and self.admitted + photos > self._limits.waiting):
            raise Full
        self.admitted += photos
        turn = Turn()
        self._queue.expect(turn)
        try:
            yield turn
        finally:
            self._queue.expect_no_more(turn)
            self.admitted -= photos

    async def run(self, task: Task, turn: Turn) -> Seen | Gone:
        """One photo of a request, once a process is free and it is next.

        Never raises for a photo: one that harms its processes is refused with the reason. A process that was dead
        before it got the photo costs the photo nothing.
        """
        said = await self._found(task, turn)
        if isinstance(said, Seen):
            self._said(task, said)
        return said

    async def _found(self, task: Task, turn: Turn) -> Seen | Gone:
        ended = 0
        while ended < ENDED:
            worker = await self._queue.take(turn)
            self._began[worker] = time.monotonic()  # now: who asks for room before the task begins must find it taken
            # A request that is given up meanwhile lets the process finish: what it is at cannot be taken back.
            said = await asyncio.shield(self._keep(self._asked(worker, task)))
            if not isinstance(said, Lost):
                return said
            ended += said is Lost.WITH_IT
        return refused_for(Reason.CRASHED, f"reading it ended {ENDED} worker processes; send another copy")

    async def _asked(self, worker: WorkerProcess, task: Task) -> Seen | Gone | Lost:
        said: Seen | Gone | Lost = Lost.BEFORE
        sound = False
        try:
            said, sound = await self._on_thread(worker.ask, task)
        finally:
            seconds = time.monotonic() - self._began.pop(worker)
            if sound:
                self._pace += MEMORY * (seconds - self._pace)
                self._queue.put(worker)
            else:
                self._up.discard(worker)
                self._keep(self._again(worker))
        return said

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is referred to until it is done; asyncio itself forgets those that nobody holds."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _on_thread(self, work: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *values)

    async def _start(self, worker: WorkerProcess) -> None:
        """Start a process, however often it takes: memory may be short for a while."""
        pause = 1.0
        while True:
            try:
                faults = await self._on_thread(worker.start, self._models())
            except (BundleError, OSError) as ended:
                log.warning("a worker did not start: %s", ended)
                await self._on_thread(worker.kill)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                for fault in faults:  # of one model; the others need not wait for it
                    log.warning("a worker does without a model: %s", fault)
                self._add(worker)
                return

    def _add(self, worker: WorkerProcess) -> None:
        self._up.add(worker)
        self._queue.put(worker)

    async def _again(self, worker: WorkerProcess) -> None:
        self._restarted()
        await self._on_thread(worker.kill)
        await self._start(worker)
