"""A batch from its manifest to the last part: what is there is believed once it is checked, the rest is made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import carspotter
from carspotter.apps.batch.order import Engine, Order
from carspotter.data.manifest import open_manifest
from carspotter.data.wording import count
from carspotter.errors import SourceError
from carspotter.evaluation.parts import Counts, open_parts
from carspotter.inference.bundle import read_bundle
from carspotter.progress import Progress, silent
from carspotter.records import Batch, Verdict


@dataclass(frozen=True, slots=True)
class Summary:
    """A batch whose parts are all there.

    Attributes:
        counts: photos by verdict, over all parts.
        made: photos that were answered now; the other ones' parts were there.
        seconds: that took, from loading the model on.
    """

    counts: Counts
    made: int
    seconds: float

    @property
    def refused(self) -> int:
        """Photos without an answer."""
        return self.counts.get(Verdict.BAD_PHOTO.value, 0)

    def __str__(self) -> str:
        total = sum(self.counts.values())
        verdicts = ", ".join(f"{self.counts[v]:,} {v.value}" for v in Verdict if self.counts.get(v))
        kept = total - self.made
        pace = f"{self.made / max(self.seconds, 1e-3):,.1f} photos/s" if self.made else "all were there"
        there = f", {kept:,} were there" if kept and self.made else ""
        return f"{count(total, 'answer')}: {verdicts}; {pace}{there}"


def place_order(
    model: Path,
    manifest: Path,
    out: Path,
    *,
    chunk_rows: int,
    tta: int = 1,
    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime",
) -> Order:
    """Check everything that is named, before any work.

    Raises:
        SourceError: the manifest or the folder cannot be used.
        BundleError: the model cannot.
        MissingExtra: photos lie in S3, and its driver is not installed.
    """
    bundle = read_bundle(model)
    listed = open_manifest(manifest, chunk_rows=chunk_rows)
    batch = Batch(
        carspotter=carspotter.__version__,
        bundle=bundle.hash,
        manifest=listed.fingerprint,
        rows=listed.rows,
        chunk_rows=chunk_rows,
        tta=tta,
        runtime=runtime,
    )
    return Order(model.absolute(), listed, open_parts(out, batch))


def carry_out(
    order: Order, engine: Engine, *, progress: Progress = silent, note: Callable[[str], None] = lambda _: None
) -> Summary:
    """Make every part that is missing.

    Args:
        order: as `place_order` gave it.
        engine: who makes.
        progress: told as photos or parts are done.
        note: told of damaged parts, which are made again.

    Raises:
        SourceError, BundleError, BatchError: it cannot go on; what was made stays.
    """
    counts, missing = _survey(order, note)
    made: Counter[str] = Counter()
    began = time.monotonic()
    if missing:
        left = set(missing)
        for part in engine(order, missing, progress):
            left.remove(part.chunk)  # a part that was said twice is a fault of ours
            made.update(part.counts)
        assert not left, f"parts that nobody made: {sorted(left)[:3]}"  # noqa: S101
    return Summary(counts + made, made.total(), time.monotonic() - began)


def _survey(order: Order, note: Callable[[str], None]) -> tuple[Counter[str], Sequence[int]]:
    """The verdicts of the parts that are there and sound, and the chunks of all others."""
    counts: Counter[str] = Counter()
    missing = set(range(order.parts.batch.chunks))
    for chunk in order.parts.there():
        try:
            counts.update(order.parts.read(chunk, order.manifest.ids(chunk)))
            missing.remove(chunk)
        except SourceError as fault:
            note(f"{fault}; it is made again")
    return counts, sorted(missing)
