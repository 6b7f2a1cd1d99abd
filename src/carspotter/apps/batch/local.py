"""The engine that needs nothing: this process, one photo on each core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from carspotter.apps.batch.order import Made, Order
from carspotter.inference.batch import make_part
from carspotter.progress import Progress


def make_here(order: Order, chunks: Sequence[int], progress: Progress) -> Iterator[Made]:
    """Make parts one after another, as `Engine` says."""
    predictor = order.load()
    batch = order.parts.batch
    all_photos = sum(min(batch.chunk_rows, batch.rows - chunk * batch.chunk_rows) for chunk in chunks)
    before = 0

    def show(phase: str, done: int, total: int, said: str = "") -> None:  # noqa: ARG001 - as `Progress`
        if phase == "photos":  # strangers are looked at again, which is told as another phase
            progress(phase, before + done, all_photos, said)

    for chunk in chunks:
        counts = make_part(predictor, order.manifest, order.parts, chunk, show)
        before += sum(counts.values())
        yield Made(chunk, counts)
