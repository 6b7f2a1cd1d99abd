"""The gradients of a batch, computed in shards side by side.

Two threads with half a batch each train 1.25 to 1.35 times as fast on two cores as two threads inside every operator
(benchmarks/train_step.py), because most operators of a small net are too short to share. Each shard has BatchNorm
statistics of its own ("ghost batches", Hoffer et al. 2017), so the number of shards is part of the recipe; on how many
threads or processes they are computed is not.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from carspotter.training.classifier import Learner
from carspotter.training.material import Batch

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
    """

    def __init__(self, learner: Learner, count: int, threads: int) -> None:
        self._learner = learner
        self._trained = [p for p in learner.body.parameters() if p.requires_grad]
        self._replicas = [learner.body, *(_replica(learner.body) for _ in range(count - 1))]
        self._each = max(1, threads // count)
        self._pool = (
            ThreadPoolExecutor(
                count, thread_name_prefix="shard", initializer=torch.set_num_threads, initargs=(self._each,)
            )
            if count > 1 and self._trained
            else None
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """The time in which shards have threads of their own."""
        before = torch.get_num_threads()
        if self._pool is not None:
            torch.set_num_threads(self._each)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            if self._pool is not None:
                self._pool.shutdown()

    def gradients(self, batch: Sequence[Batch], loss: Loss) -> tuple[float, Tensor]:
        """Put the gradient of a batch's loss into `.grad` of everything that trains.

        The head and the loss see the whole batch; only the bodies are computed apart.

        Returns:
            The loss and the detached logits.
        """
        self._same_modes()
        vectors = self._each_of(lambda body, part: body(part.inputs), self._replicas, batch)
        joined = torch.cat([v.detach() for v in vectors]).requires_grad_(bool(self._trained))
        logits = self._learner.head(joined)
        value = loss(logits, torch.cat([part.targets for part in batch]))
        value.backward()  # type: ignore[no-untyped-call]
        if self._trained:
            slopes = torch.split(cast("Tensor", joined.grad), [len(part) for part in batch])
            self._add_up(self._each_of(self._backward, vectors, slopes))
            self._mean_statistics(len(batch))
        return float(value.detach()), logits.detach()

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
        """Running statistics are linear in what was seen, so the mean of the replicas' is that of the whole batch."""
        if len(self._replicas) == 1:
            return
        for buffers in zip(*(body.buffers() for body in self._replicas), strict=True):
            if buffers[0].is_floating_point():
                buffers[0].copy_(torch.stack(buffers[:used]).mean(0))
            for other in buffers[1:]:
                other.copy_(buffers[0])


def _replica(body: nn.Module) -> nn.Module:
    """The same parameters, statistics of its own."""
    return copy.deepcopy(body, {id(p): p for p in body.parameters()})
