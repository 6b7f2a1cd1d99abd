"""Where a training computes: a device, its arithmetic, and other processes that take part.

Several processes are started from outside, by `torchrun` or such. Process r of P computes the shards r,
r + P, r + 2P, …; what they made is gathered, so that the head and the loss see the whole batch everywhere. Gradients
and BatchNorm statistics are added up in the order of the shards, as one process adds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import torch
from torch import Tensor

from carspotter.errors import RecipeError, TrainingError
from carspotter.recipe import Recipe, Stage
from carspotter.workers import processes

DeviceName = Literal["auto", "cpu", "cuda"]
PEER_SECONDS = 1800.0
"""How long a process waits for one that is silent. A dead one is noticed at once; the longest honest silence is the
first process running a frozen part over all views (assumption: half an hour)."""
TOLD_BYTES = 8192
"""Longest text from one process to the others; a path has at most 4,096 bytes on Linux."""
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes of one training.

    Attributes:
        count: P.
        rank: of this one, from 0; the first alone writes runs, checkpoints and bundles.
        device: on which tensors are exchanged.
    """

    count: int = 1
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, shards: int) -> tuple[int, ...]:
        """The shards of this process."""
        return tuple(range(self.rank, shards, self.count))

    def in_order(self, mine: Sequence[Tensor]) -> list[Tensor]:
        """Rows of every shard, in the shards' order, from those of mine.

        Args:
            mine: (n, …) for each of my shards; only n may differ among shards.

        Raises:
            TrainingError: another process is gone.
        """
        if self.count == 1:
            return list(mine)
        found: list[Tensor] = []
        for part in mine:
            lengths = [int(n) for n in self._gather(torch.tensor([len(part)], device=part.device))]
            padded = part.new_zeros((max(lengths), *part.shape[1:]))
            padded[: len(part)] = part
            found += [whole[:n] for whole, n in zip(self._gather(padded), lengths, strict=True)]
        return found

    def any(self, asked: bool) -> bool:
        """Whether it is so in any process."""
        if self.count == 1:
            return asked
        return any(bool(one) for one in self._gather(torch.tensor([int(asked)], device=self.device)))

    def tell(self, text: str = "") -> str:
        """What the first process says, in every one."""
        if self.count == 1:
            return text
        data = torch.zeros(TOLD_BYTES, dtype=torch.uint8)
        said = text.encode()[:TOLD_BYTES]
        data[: len(said)] = torch.tensor(list(said), dtype=torch.uint8)
        first = self._gather(data.to(self.device))[0]
        return bytes(first.tolist()).rstrip(b"\0").decode()

    def same(self, make: Callable[[], str], what: str) -> None:
        """Refuse to go on apart; where there is one process, nothing is made.

        Raises:
            TrainingError: the processes differ.
        """
        if self.count > 1 and self.tell(text := make()) != text:
            raise TrainingError(
                f"process {self.rank} has other {what} than process 0; start them with the same command"
            )

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """The first process goes ahead; the others find what it left on disk."""
        if not self.first:
            self.any(False)
        yield
        if self.first:
            self.any(False)

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        there = tensor.contiguous().to(self.device)
        found = [torch.empty_like(there) for _ in range(self.count)]
        try:
            torch.distributed.all_gather(found, there)
        except RuntimeError as fault:
            raise TrainingError(
                f"process {self.rank} of {self.count} lost another one ({str(fault).splitlines()[0][:120]}); "
                "its own message says why, then go on with --resume"
            ) from None
        return [one.to(tensor.device) for one in found]


ALONE = Peers()


@dataclass(frozen=True, slots=True)
class Device:
    """A device and how it computes.

    Attributes:
        where: torch's name of it.
        precision: of the network's arithmetic; weights, head gradients and loss stay in single precision.
        compile: whether torch compiles the body.
        peers: processes of this training.
    """

    where: torch.device
    precision: str = "fp32"
    compile: bool = False
    peers: Peers = ALONE

    @property
    def name(self) -> str:
        """For the run's record."""
        return torch.cuda.get_device_name(self.where) if self.where.type == "cuda" else self.where.type

    def arithmetic(self) -> AbstractContextManager[object]:
        """The time in which the network computes; of this thread alone."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.where.type, _DTYPES[self.precision])

    def scaler(self) -> torch.amp.GradScaler | None:
        """Keeps half precision's gradients above zero (Micikevicius et al. 2017); the others need none."""
        return torch.amp.GradScaler(self.where.type) if self.precision == "fp16" else None


CPU = Device(torch.device("cpu"))


@contextmanager
def device_for(name: DeviceName, recipe: Recipe) -> Iterator[Device]:
    """The device that is asked for, with the recipe's arithmetic; `auto` takes CUDA where there is one.

    Raises:
        RecipeError: there is no such device, it cannot compute so, or the shards do not fit the processes.
    """
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise RecipeError(f"--device cuda: torch {torch.__version__} sees no CUDA device here; use --device cpu")
    where = torch.device("cuda" if cuda and name != "cpu" else "cpu")
    if recipe.precision == "fp16" and where.type == "cpu":
        raise RecipeError("precision = fp16 needs CUDA; on a processor use fp32, or bf16 where it is fast")
    check_shards(recipe.shards, processes())
    if where.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic cuBLAS, read when CUDA starts
    with _joined(where) as (peers, here):
        yield Device(here, recipe.precision, recipe.compile, peers)


def check_shards(shards: int, count: int) -> None:
    """Every process must have equally many shards.

    Raises:
        RecipeError: they have not.
    """
    if shards % count:
        raise RecipeError(
            f"{count} processes cannot share {shards} {'shard' if shards == 1 else 'shards'} of each batch evenly; "
            f"set shards to a multiple of {count} (--set shards={count})"
        )


def check_batches(stage: Stage, smallest: int, shards: int, count: int) -> None:
    """Every step must have work for every process.

    Args:
        stage: for the message.
        smallest: photos of its smallest batch.
        shards: wanted of each batch.
        count: processes.

    Raises:
        TrainingError: a batch is too small to be cut into so many shards.
    """
    if count > 1 and smallest // 2 < shards:
        raise TrainingError(
            f"stage {stage.name} has batches of {smallest} photos, too few for {shards} shards of two; "
            "raise its batch, or use fewer processes"
        )


@contextmanager
def _joined(where: torch.device) -> Iterator[tuple[Peers, torch.device]]:
    if processes() == 1:
        yield ALONE, where
        return
    from accelerate import PartialState

    threads = torch.get_num_threads()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # or accelerate guesses one and warns
    try:
        state = PartialState(cpu=where.type == "cpu", timeout=timedelta(seconds=PEER_SECONDS))
    except (RuntimeError, ValueError) as fault:
        raise TrainingError(
            f"the {processes()} processes found no way to each other: {str(fault).splitlines()[0]}"
        ) from None
    torch.set_num_threads(threads)
    try:
        yield Peers(state.num_processes, state.process_index, state.device), state.device
    finally:
        state.destroy_process_group()
        PartialState._reset_state()  # a second training in this program begins anew
