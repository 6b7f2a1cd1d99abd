"""One of the server's processes, from the server's side; called on threads, since it waits for what is said."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.worker import Gone, Model, Open, Seen, Task, refused_for, work
from carspotter.errors import BundleError, Reason
from carspotter.inference.runtime import RuntimeName

START_SECONDS = 60.0
"""In which a process must have opened its models. Assumption: a cold disk and a busy machine."""
STOP_SECONDS = 5.0


class Lost(Enum):
    """A process that died: before it had the photo, or while it had it."""

    BEFORE = auto()
    WITH_IT = auto()


class WorkerProcess:
    """A process that opens models and answers photos.

    Args:
        limits: of time and memory.
        runtime: who computes.
    """

    def __init__(self, limits: Limits, runtime: RuntimeName) -> None:
        self._limits = limits
        self._runtime = runtime
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._starting = threading.Lock()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def start(self, models: Sequence[Model]) -> tuple[str, ...]:
        """Start the process and let it open models.

        Returns:
            Why, of each model that does not open.

        Raises:
            BundleError: it ended, or took too long, or the server is being stopped.
        """
        with self._starting:
            self._begin()
        faults = []
        for model in models:
            said, _ = self._exchange(Open(model), START_SECONDS)
            if said is None:
                raise BundleError(f"no worker could open {model.name} in {START_SECONDS:.0f} s; see its message above")
            if isinstance(said, Gone):
                faults.append(said.sentence)
        return tuple(faults)

    def _begin(self) -> None:
        if self._stopped:
            raise BundleError("the server is being stopped")
        context = multiprocessing.get_context("spawn")  # a fork would inherit the server's threads and sockets
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, self._limits.memory_bytes, self._runtime), name="carspotter-worker", daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, task: Task) -> tuple[Seen | Gone | Lost, bool]:
        """What the process says, and whether it can take another photo."""
        if self._process is None or not self._process.is_alive():
            return Lost.BEFORE, False
        seconds = self._limits.photo_seconds
        said, late = self._exchange(task, seconds)
        if said is not None:
            return said, True
        if late:
            return refused_for(Reason.TIMEOUT, f"it took longer than {seconds:g} s; send a smaller copy"), False
        return Lost.WITH_IT, False

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
        """Let it end by itself, then make it; it is not started again, nor is one that is about to be."""
        with self._starting:
            self._stopped = True
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.close()  # who waits for a task ends
        if self._process is not None:
            self._process.join(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it at once, if it is there."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.close()
