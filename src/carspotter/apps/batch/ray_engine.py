"""The engine of many machines: Ray Data. The only module that knows Ray.

The dataset is the numbers of the chunks. Each actor of a pool makes parts where it is, on one
core, and gives back their numbers; Ray sends those that were with a lost node to the others. All nodes must see the
model, the manifest, the photos and the folder of the parts under the same paths, and have the same carspotter.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from carspotter.apps.batch.answerer import Answerer
from carspotter.apps.batch.order import Order
from carspotter.data.wording import brief, one_line
from carspotter.errors import BatchError, CarspotterError, SourceError
from carspotter.evaluation.parts import Parts
from carspotter.inference.batch import make_part
from carspotter.progress import Progress
from carspotter.workers import usable_cores

HERE = "local"
"""The address of a cluster that is started on this machine and ends with the command."""
FOUND = "auto"
"""The address of the cluster that this machine belongs to."""
STORE_BYTES = 100 * 2**20
"""Ray's object store here, which holds numbers only; Ray takes no less than 75 MB."""
ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's variable, read on every system: with 0 it takes this machine for 127.0.0.1 and listens there alone."""
MAX_BLOCKS = 10_000
"""Pieces of the dataset. Assumption: enough that no core waits long for the last one, few enough for Ray to plan."""
LIVES = 3
"""How often a part is begun while its actors die; Ray itself goes on without end, and its own bound counts calls that a
lost node does not answer. Assumption: machines that fail, or are taken back, do so less often to one part."""
BEGUN = ".begun-{}.part"
"""In the folder of the parts, one byte for each time that a part was begun; named as what is swept when it is old."""
ACTOR_BYTES = 1.3e9
"""No more actors are begun on a node than have this memory. Measured: 175 MB of an actor's process and 91 of its child
with a net of a few weights, 155 more with `cars`, 800 MB for the worst photo (benchmarks/bad_photos.py)."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2, which gRPC speaks, begins: with these words and an empty frame (RFC 9113, 3.4)."""
SETTINGS = 4
"""The type of the frame by which a server of HTTP/2 answers (RFC 9113, 6.5); the fourth byte of its head."""
ANSWER_SECONDS = 10
"""Assumption: a head node that needs longer is away."""


@dataclass(frozen=True, slots=True)
class OnRay:
    """Makes parts on a cluster, as `Engine` says.

    Attributes:
        address: of a running cluster (`10.0.0.1:6379`, or `auto` on one of its machines), or `local`.
    """

    address: str

    def __call__(self, order: Order, work: Mapping[int, int], progress: Progress) -> Iterator[int]:
        """Make parts wherever there are a core and the memory."""
        for old in order.parts.folder.glob(BEGUN.format("*")):
            old.unlink(missing_ok=True)
        with _cluster(self.address) as ray:
            for done, row in enumerate(_made(ray, order, work), 1):
                if row["fault"]:
                    raise BatchError(f"a node cannot go on ({row['node']}): {row['fault']}")
                progress("parts", done, len(work))
                yield int(row["chunk"])


class Maker:
    """One actor: a child of it holds the model and answers, so that photos end no actor."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ask = Answerer(order, threads=1)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Make the part of `row["chunk"]`."""
        made = {"chunk": row["chunk"], "node": platform.node(), "fault": ""}
        try:
            with _living(self._order.parts, int(row["chunk"])):
                make_part(self._ask, self._order.manifest, self._order.parts, int(row["chunk"]))
        except (CarspotterError, OSError) as fault:
            made["fault"] = " ".join(str(fault).split())
        return made

    def close(self) -> None:
        """End the child."""
        self._ask.close()


@contextmanager
def _living(parts: Parts, chunk: int) -> Iterator[None]:
    """Count how often a part is begun, where whoever begins it anew sees it.

    Raises:
        BatchError: too often; its process died each time.
    """
    parts.must_be_here()
    begun = parts.folder / BEGUN.format(chunk)
    with begun.open("ab") as file:
        file.write(b".")
        lives = file.tell()
    if lives > LIVES:
        raise BatchError(
            f"{parts.path(chunk).name} was begun {LIVES} times, and the process that made it died each time; see "
            "whether there is memory for it"
        )
    yield
    begun.unlink(missing_ok=True)


def _made(ray: Any, order: Order, work: Mapping[int, int]) -> Iterator[Mapping[str, Any]]:
    numbers = ray.data.from_items([{"chunk": chunk} for chunk in work], override_num_blocks=min(len(work), MAX_BLOCKS))
    memory, actors = _room(ray.nodes())
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        max_size=min(actors, len(work)),
        initial_size=min(actors, len(work)),
        max_tasks_in_flight_per_actor=2,  # the next one is there when one ends, and few wait behind a slow one
    )
    rows = numbers.map(Maker, fn_constructor_args=(order,), compute=pool, num_cpus=1, memory=memory)
    try:
        yield from rows.iter_rows()
    except ray.exceptions.RayError as fault:
        raise BatchError(
            f"the cluster gave up ({one_line(fault)}); what is made stays, the same command goes on"
        ) from None


def _room(nodes: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """What an actor is promised, and how many there is room for: a core and `ACTOR_BYTES` each, but at least one.

    An actor that is promised more than any node has would wait without end.
    """
    found = [node["Resources"] for node in nodes if node["Alive"]]
    memory = min(ACTOR_BYTES, max((one.get("memory", 0.0) for one in found), default=0.0))
    room = [min(one.get("CPU", 0), one.get("memory", 0.0) // max(memory, 1.0)) for one in found]
    return memory, max(1, int(sum(map(int, room))))


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected and silent; left when the block ends.

    Raises:
        SourceError: there is no cluster at this address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what ends the work reaches us as an exception
    if address == HERE:
        os.environ.setdefault(ALONE, "0")
    import ray
    import ray.data

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address not in (HERE, FOUND):
        _must_answer(address)
    if address == HERE:
        options |= {"num_cpus": usable_cores(), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    try:
        with _unheard(), _own_signals():
            ray.init(address=address, **options)
    except Exception as fault:  # noqa: BLE001 - Ray raises Exception itself when a node does not start
        raise _no_cluster(address, fault) from None
    try:
        _silence(ray)
        yield ray
    finally:
        ray.shutdown()


def _must_answer(address: str) -> None:
    """Ask for a sign of life: where nothing answers, Ray waits for minutes and then ends the process.

    Raises:
        SourceError: the address is none, or no server of gRPC answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise SourceError(f"--ray takes HOST:PORT, {FOUND} or {HERE}, not {brief(address)}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as to:
            to.sendall(PREFACE)
            head = to.recv(len(PREFACE))
    except (OSError, UnicodeError) as fault:
        raise _no_cluster(address, fault) from None
    if len(head) < SETTINGS or head[3] != SETTINGS:
        raise _no_cluster(address, ConnectionError("another kind of server is there"))


def _no_cluster(address: str, why: Exception) -> SourceError:
    if address == HERE:
        return SourceError(f"Ray does not start here ({one_line(why)}); without --ray the same work needs no cluster")
    return SourceError(
        f"no Ray cluster answers at {brief(address)} ({one_line(why)}); start one by `ray start --head`, or use "
        f"--ray {HERE}"
    )


@contextmanager
def _unheard() -> Iterator[None]:
    """Let what Ray's own core writes to stderr go nowhere: that it was told to be silent is a line too."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does: Ray would make exit code 15 of it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread, where Ray changes nothing either
            signal.signal(signal.SIGTERM, before)


def _silence(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
