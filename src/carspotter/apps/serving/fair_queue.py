"""Who is next: requests that wait for a process, so that one of fifty photos starves no other and is not starved."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn:
    """One request, whatever number of photos it has.

    Attributes:
        begun: whether its first photo was asked about.
    """

    def __init__(self) -> None:
        self.begun = False


class FairQueue(Generic[T]):
    """What is free, and who waits for it.

    A request's first photo waits only for first photos of others. Its later ones have turns with those of others, one
    photo each; and where both wait, first and later ones alternate.
    """

    def __init__(self) -> None:
        self._free: deque[T] = deque()
        self._first: deque[asyncio.Future[T]] = deque()
        self._later: OrderedDict[Turn, deque[asyncio.Future[T]]] = OrderedDict()
        self._expected: set[Turn] = set()
        self._owed = False

    @property
    def free(self) -> int:
        """How many are free; nobody waits then."""
        return len(self._free)

    @property
    def ahead(self) -> int:
        """How many photos would come before that of a new request, of those that wait or are expected."""
        return len(self._expected) + bool(self._owed and self._later)

    def expect(self, turn: Turn) -> None:
        """A request's first photo will come: many may be let in before the first of them stands in the line."""
        self._expected.add(turn)

    def expect_no_more(self, turn: Turn) -> None:
        """It came, or never will."""
        self._expected.discard(turn)

    def put(self, one: T) -> None:
        """It is free (again): whoever is next has it."""
        while (waiter := self._next()) is not None:
            if not waiter.done():  # else who waited has given up
                waiter.set_result(one)
                return
        self._free.append(one)

    async def take(self, turn: Turn) -> T:
        """One that is free, once this request's photo is next."""
        first, turn.begun = not turn.begun, True
        if not first:
            return await self._taken(turn, first=False)
        self.expect(turn)
        try:
            return await self._taken(turn, first=True)
        finally:
            self.expect_no_more(turn)

    async def _taken(self, turn: Turn, *, first: bool) -> T:
        if self._free:
            return self._free.popleft()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if first:
            self._first.append(waiter)
        else:
            self._later.setdefault(turn, deque()).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._forget(turn, waiter)
            if waiter.done() and not waiter.cancelled():  # it had its turn at the very moment
                self.put(waiter.result())
            raise

    def _forget(self, turn: Turn, waiter: asyncio.Future[T]) -> None:
        for waiters in (self._first, self._later.get(turn, deque())):
            with suppress(ValueError):
                waiters.remove(waiter)
        if turn in self._later and not self._later[turn]:
            del self._later[turn]

    def _next(self) -> asyncio.Future[T] | None:
        if self._later and (self._owed or not self._first):
            self._owed = False
            turn, waiters = self._later.popitem(last=False)
            waiter = waiters.popleft()
            if waiters:
                self._later[turn] = waiters  # behind the others
            return waiter
        if self._first:
            self._owed = True
            return self._first.popleft()
        return None
