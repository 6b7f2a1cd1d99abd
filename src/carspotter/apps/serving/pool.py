"""Processes that decode photos and run nets, so that no photo can harm the server: each has a memory bound and a time.

A photo is one task of one process. A process that dies or takes too long is ended and replaced; its photo is answered
with the reason, the others are served meanwhile. What may wait is bounded: more is refused at once.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import resource
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from carspotter.apps.serving.limits import Limits
from carspotter.data.photo import decode
from carspotter.errors import BundleError, MissingExtra, PhotoRefused, Reason
from carspotter.evaluation.explain import overlay, upsample
from carspotter.evaluation.page import THUMB, small_jpeg
from carspotter.inference.explanation import explain
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Dataset, Photo, Rejected, Scores, Verdict

T = TypeVar("T")

log = logging.getLogger("carspotter.serving")
LONGEST_PAUSE = 30.0
"""Seconds between tries to start a process (assumption)."""
START_SECONDS = 60.0
"""In which a process must have opened its models. Assumption: a cold disk and a busy machine."""
STOP_SECONDS = 5.0
KEPT = 2
"""Versions of a model that a process holds: the new one, and the old one for requests under way."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the server knows it now.

    Attributes:
        name: in requests.
        folder: where it lies.
        hash: of the bundle.
    """

    name: str
    folder: str
    hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a process says of one photo; a pure function of it becomes the answer.

    Attributes:
        logits: (K,) f32; None where the photo was refused.
        stranger: the verdict where the photo shows no model that was taught.
        rejected: why there is nothing.
        picture: a JPEG, where one was asked for.
    """

    logits: npt.NDArray[np.float32] | None = None
    stranger: Verdict | None = None
    rejected: Rejected | None = None
    picture: bytes | None = None


Want = Literal["answer", "thumbnail", "why"]
"""`answer`: logits and the rest; `thumbnail`: a small picture drawn anew, without metadata; `why`: where the net saw
its answer rather than the runner-up."""


@dataclass(frozen=True, slots=True)
class Task:
    """One photo for one model."""

    model: Model
    photo: bytes
    want: Want = "answer"


@dataclass(frozen=True, slots=True)
class Open:
    """Open a model, so that the first photo need not wait."""

    model: Model


@dataclass(frozen=True, slots=True)
class Gone:
    """The model that was asked for is no longer in its folder."""

    sentence: str


class Full(Exception):
    """As many photos wait as may."""


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
        self._free: asyncio.Queue[_Hand] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(2 * limits.workers, thread_name_prefix="hand")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.admitted = 0
        self.working = 0

    @property
    def ready(self) -> int:
        """Processes that can take a photo, or are at one."""
        return self._free.qsize() + self.working

    @property
    def waiting(self) -> int:
        """Photos that were let in and are not looked at yet."""
        return max(0, self.admitted - self.working)

    @property
    def full(self) -> bool:
        """Whether another request would have to wait too long."""
        return self.waiting >= self._limits.queue

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
        self._free.put_nowait(first)
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
    def admitting(self, photos: int) -> Iterator[None]:
        """Photos of one request count as waiting until it is over.

        Raises:
            Full: as many wait already as may.
        """
        if self.full:
            raise Full
        self.admitted += photos
        try:
            yield
        finally:
            self.admitted -= photos

    async def run(self, task: Task) -> Seen | Gone:
        """One photo, once a process is free.

        Never raises for a photo: one that harms its process is refused with the reason. A process that was dead before
        it got the photo costs the photo nothing.
        """
        while True:
            hand = await self._free.get()
            # A request that is given up meanwhile lets the process finish: what it is at cannot be taken back.
            said = await asyncio.shield(self._keep(self._asked(hand, task)))
            if said is not None:
                return said

    async def _asked(self, hand: _Hand, task: Task) -> Seen | Gone | None:
        self.working += 1
        said, sound = None, False
        try:
            said, sound = await self._on_thread(hand.ask, task, self._limits.photo_seconds)
        finally:
            self.working -= 1
            if sound:
                self._free.put_nowait(hand)
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
                self._free.put_nowait(hand)
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
            return _refused(Reason.TIMEOUT, f"it took longer than {seconds:g} s; send a smaller copy"), False
        return _refused(Reason.UNREADABLE, "decoding it ended a worker process; send another copy"), False

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


def _refused(reason: Reason, sentence: str) -> Seen:
    return Seen(rejected=Rejected("", reason, sentence))


# ---- in the process -------------------------------------------------------------------------------------------------


def work(pipe: Connection, memory_bytes: int, runtime: RuntimeName) -> None:
    """Open models and answer photos until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the server decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    held: dict[str, Predictor] = {}
    bounded = False
    while True:
        try:
            asked: Task | Open = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            predictor = _open(asked.model, held, runtime)
            if isinstance(asked, Open):
                pipe.send(Seen())
                continue
            if not bounded:  # after the models: what they take is known and wanted
                _bound_memory(memory_bytes)
                bounded = True
            pipe.send(WORK[asked.want](predictor, asked.photo))
        except (BundleError, MissingExtra) as fault:
            pipe.send(Gone(str(fault)))
        except MemoryError:
            pipe.send(_refused(Reason.TOO_LARGE, "decoding it takes more memory than a photo may; send a smaller copy"))


def look(predictor: Predictor, photo: bytes) -> Seen:
    """What a net says of one photo."""
    dataset = Dataset((Photo("photo", photo),))
    scores = predictor.scores(dataset)
    if scores.rejected:
        return Seen(rejected=scores.rejected[0])
    stranger = predictor.strangers(dataset, scores).get("photo")
    return Seen(scores.logits[0], stranger)


def draw_small(_: Predictor, photo: bytes) -> Seen:
    """The photo itself, small."""
    try:
        return Seen(picture=small_jpeg(decode(photo, at_least=THUMB[::-1]).pixels))
    except PhotoRefused as refused:
        return Seen(rejected=Rejected("", refused.reason, refused.sentence))


def draw_why(predictor: Predictor, photo: bytes) -> Seen:
    """Where the net saw its answer; exact, and without torch, where the head is linear."""
    try:
        found = explain(predictor, Photo("photo", photo), reference=predictor.reference)
    except PhotoRefused as refused:
        return Seen(rejected=Rejected("", refused.reason, refused.sentence))
    except BundleError:
        sentence = "this model's head is not linear: `carspotter explain` draws it, with carspotter[train]"
        return Seen(rejected=Rejected("", Reason.MISSING_EXTRA, sentence))
    shown = overlay(found.view, upsample(found.cells, *found.view.shape[:2]))
    return Seen(picture=small_jpeg(shown, found.view.shape[1::-1]))


WORK: Mapping[Want, Callable[[Predictor, bytes], Seen]] = MappingProxyType(
    {"answer": look, "thumbnail": draw_small, "why": draw_why}
)


def together(seen: Sequence[Seen], ids: Sequence[str], classes: int) -> tuple[Scores, dict[str, Verdict]]:
    """Photos of one request as the arrays that everything else is a function of.

    Args:
        seen: of each photo.
        ids: different from one another.
        classes: K of the model.
    """
    rows = [at for at, one in enumerate(seen) if one.logits is not None]
    logits = [one.logits for one in seen if one.logits is not None]
    refused = tuple(
        Rejected(ids[at], one.rejected.reason, one.rejected.sentence) for at, one in enumerate(seen) if one.rejected
    )
    scores = Scores(
        tuple(ids[at] for at in rows),
        np.stack(logits) if logits else np.zeros((0, classes), np.float32),
        np.zeros((len(rows), 0), np.float32),  # who is a stranger was told where the embeddings were
        refused,
    )
    return scores, {ids[at]: one.stranger for at, one in enumerate(seen) if one.stranger is not None}


def _open(model: Model, held: dict[str, Predictor], runtime: RuntimeName) -> Predictor:
    """The version that is asked for; of each model the last few are kept."""
    key = f"{model.name}\0{model.hash}"
    if key not in held:
        predictor = load(model.folder, threads=1, runtime=runtime)
        if predictor.bundle.hash != model.hash:
            raise BundleError(f"{model.name} was replaced meanwhile; ask again")
        held[key] = predictor
        same = [other for other in held if other.split("\0")[0] == model.name]
        for old in same[:-KEPT]:
            del held[old]
    return held[key]


def _bound_memory(more: int) -> None:
    """A decoder that wants more memory gets an error instead of the machine's last."""
    with suppress(ValueError, OSError):  # no Linux, or a bound that stands already is lower
        data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        bound = data_pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
