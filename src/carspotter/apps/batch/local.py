"""The engine that needs nothing: one child of this process, one photo on each core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from carspotter.apps.batch.answerer import Answerer
from carspotter.apps.batch.order import Order
from carspotter.inference.batch import make_part
from carspotter.progress import Progress


def make_here(order: Order, work: Mapping[int, int], progress: Progress) -> Iterator[int]:
    """Make parts one after another, as `Engine` says."""
    before, all_photos = 0, sum(work.values())

    def show(phase: str, done: int, total: int, said: str = "") -> None:  # noqa: ARG001 - as `Progress`
        progress(phase, before + done, all_photos, said)

    with closing(Answerer(order)) as ask:
        for chunk, photos in work.items():
            make_part(ask, order.manifest, order.parts, chunk, show)
            before += photos
            yield chunk
