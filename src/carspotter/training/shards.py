"""The gradients of a batch, computed in shards side by side.

Two threads with half a batch each train 1.2 to 1.3 times as fast on two cores as two threads inside every operator
(docs/log.md, 2026-11-22), because most operators of a small net are too short to share. Each shard has BatchNorm
statistics of its own ("ghost batches", Hoffer et al. 2017), so the number of shards is part of the recipe; on how many
threads or processes they are computed is not.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from carspotter.training.classifier import Learner
from carspotter.training.devices import CPU, Device
from carspotter.training.stage_data import Batch

Item = TypeVar("Item")
Made = TypeVar("Made")
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), targets (N, K)) → a number."""


class Shards:
    """Computes the gradients of a batch shard by shard.

    Args:
        learner: its body's parameters are shared by all replicas, its statistics are their mean.
        count: replicas; the first is the body itself.
        threads: of the processor, for all of them together.
        device: where they are computed, and with which other processes; CUDA computes one after another.
    """

    def __init__(self, learner: Learner, count: int, threads: int, device: Device = CPU) -> None:
        self._learner = learner
        self._device, self._peers = device, device.peers
        self._each = max(1, threads // count)
        count //= device.peers.count  # of this process
        workers = min(count, max(1, threads // device.peers.count))
        self._trained = [p for p in learner.body.parameters() if p.requires_grad]
        self._replicas = [learner.body, *(_replica(learner.body) for _ in range(count - 1))]
        self._runs = [torch.compile(body) for body in self._replicas] if device.compile else self._replicas
        self._pool = (
            ThreadPoolExecutor(
                workers, thread_name_prefix="shard", initializer=torch.set_num_threads, initargs=(self._each,)
            )
            if workers > 1 and self._trained and device.where.type == "cpu"
            else None
        )

    @property
    def where(self) -> torch.device:
        """On which they are computed."""
        return self._device.where

    def arithmetic(self) -> AbstractContextManager[object]:
        """The time in which the network computes; of this thread alone."""
        return self._device.arithmetic()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The time in which shards have threads of their own."""
        before = torch.get_num_threads()
        if self._pool is not None or self._peers.count > 1:
            torch.set_num_threads(self._each)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            if self._pool is not None:
                self._pool.shutdown()

    def gradients(
        self, batch: Sequence[Batch], loss: Loss, scale: Callable[[Tensor], Tensor] = lambda value: value
    ) -> tuple[float, Tensor, Tensor]:
        """Put the gradient of a batch's loss into `.grad` of everything that trains.

        The head and the loss see the whole batch; only the bodies are computed apart.

        Args:
            batch: the shards of this process.
            loss: of the whole batch.
            scale: what is done to the loss before its gradient, for half precision.

        Returns:
            The loss, and the detached logits and the labels of the whole batch.
        """
        self._same_modes()
        batch = [part.to(self._device.where) for part in batch]
        vectors = self._each_of(self._forward, self._runs, batch)
        parts = self._peers.in_order([v.detach() for v in vectors])
        targets = torch.cat(self._peers.in_order([part.targets for part in batch]))
        labels = torch.cat(self._peers.in_order([part.labels for part in batch]))
        joined = torch.cat(parts).requires_grad_(bool(self._trained))
        with self._device.arithmetic():
            logits = self._learner.head(joined).float()
        value = loss(logits, targets)
        scale(value).backward()  # type: ignore[no-untyped-call]
        if self._trained:
            slopes = cast("Tensor", joined.grad).split_with_sizes([len(part) for part in parts])
            mine = [slopes[shard] for shard in self._peers.share(len(parts))]
            self._add_up(self._everybody(self._each_of(self._backward, vectors, mine)))
            self._mean_statistics(len(batch))
        return float(value.detach()), logits.detach(), labels

    def side_by_side(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        """Results in order, one under way per shard; nothing in `work` may depend on another item."""
        if self._pool is None:
            yield from map(work, items)
            return
        under_way: deque[Future[Made]] = deque()
        for item in items:
            under_way.append(self._pool.submit(work, item))
            if len(under_way) > len(self._replicas):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _forward(self, body: Callable[[Tensor], Tensor], part: Batch) -> Tensor:
        with self._device.arithmetic():
            return body(part.inputs).float()

    def _everybody(self, mine: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
        """Gradients of every process's shards, laid out in memory as ours."""
        if self._peers.count == 1:
            return mine
        flat = self._peers.in_order([torch.cat([g.flatten() for g in shard]) for shard in mine])
        sizes = [g.numel() for g in mine[0]]
        return [
            tuple(
                torch.empty_like(ours).copy_(part.view_as(ours))
                for ours, part in zip(mine[0], one.split_with_sizes(sizes), strict=True)
            )
            for one in flat
        ]

    def _backward(self, vectors: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(vectors, self._trained, slope, allow_unused=True, materialize_grads=True)

    def _each_of(self, work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        rows = list(zip(*columns, strict=False))  # a short last batch has fewer shards than there are replicas
        if self._pool is None or len(rows) == 1:
            return [work(*row) for row in rows]
        return list(self._pool.map(lambda row: work(*row), rows))

    def _add_up(self, gradients: Sequence[tuple[Tensor, ...]]) -> None:
        """In the shards' order, whichever was ready first: sums in another order differ in the last bits."""
        first, *others = gradients
        for number, parameter in enumerate(self._trained):
            total = first[number]
            for other in others:
                total = total + other[number]
            parameter.grad = total

    def _same_modes(self) -> None:
        for replica in self._replicas[1:]:
            for ours, theirs in zip(replica.modules(), self._learner.body.modules(), strict=True):
                ours.training = theirs.training

    @torch.no_grad()
    def _mean_statistics(self, used: int) -> None:
        """Keep the mean over all shards; running statistics are linear in those of each batch.

        Of variances it is the mean within shards, as they were normalised by: how far shards lie apart is none of it.
        """
        if len(self._replicas) * self._peers.count == 1:
            return
        moving = [[b for b in body.buffers() if b.is_floating_point()] for body in self._replicas]
        if moving[0]:
            rows = self._peers.in_order([torch.cat([b.flatten() for b in some])[None] for some in moving[:used]])
            seen = torch.cat(rows)
            still = seen[0] + (seen - seen[0]).mean(0)  # exactly as it was where nothing moves, unlike a plain mean
            mean = still.split_with_sizes([b.numel() for b in moving[0]])
            for buffer, value in zip(moving[0], mean, strict=True):
                buffer.copy_(value.view_as(buffer))
        for buffers in zip(*(body.buffers() for body in self._replicas), strict=True):
            for other in buffers[1:]:
                other.copy_(buffers[0])


def _replica(body: nn.Module) -> nn.Module:
    """The same parameters, statistics of its own."""
    return copy.deepcopy(body, {id(p): p for p in body.parameters()})
