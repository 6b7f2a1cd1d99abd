"""Work that a client waits for: for no longer than it may take, and not when the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from carspotter.apps.serving.guard import AGAIN, Refusal

T = TypeVar("T")


async def for_client(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """What work makes; it is given up when time is over or the client hangs up.

    Args:
        request: read whole.
        work: in parts that may be given up.
        seconds: that it may take.

    Raises:
        Refusal: it was given up.
    """
    made, left = asyncio.ensure_future(work), asyncio.ensure_future(_end_of(request))
    try:
        await asyncio.wait((made, left), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if made.done():
            return made.result()
        if left.done():
            raise gone()
        raise Refusal(503, "late", f"not answered within {seconds:g} s; try again, or send fewer photos", AGAIN)
    finally:
        made.cancel()
        left.cancel()
        await asyncio.wait((made, left))


def gone() -> Refusal:
    """The client hung up; nobody reads this, but it is counted."""
    return Refusal(499, "gone", "the client hung up")


async def _end_of(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
