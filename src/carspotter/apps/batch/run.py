"""A batch from its manifest to the last part: what is there is believed once it is checked, the rest is made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from carspotter.apps.batch.order import Engine, Order, versions
from carspotter.data.manifest import open_manifest
from carspotter.data.wording import count
from carspotter.errors import NOT_HAD, BatchError, Reason, SourceError
from carspotter.evaluation.parts import Counts, open_parts
from carspotter.inference.bundle import read_bundle
from carspotter.progress import Progress, silent
from carspotter.records import Batch, Verdict

BAD = Verdict.BAD_PHOTO.value


@dataclass(frozen=True, slots=True)
class Summary:
    """A batch whose parts are all there.

    Attributes:
        counts: photos by verdict, bad ones by their reason, over all parts.
        again: reasons whose photos the same command asks for again.
        asked: photos that were asked for now; the other ones' answers were there.
        seconds: that took, from loading the model on.
    """

    counts: Counts
    again: frozenset[Reason]
    asked: int
    seconds: float

    @property
    def refused(self) -> int:
        """Photos without an answer."""
        return sum(self.counts.get(reason, 0) for reason in Reason)

    @property
    def refusals(self) -> str:
        """What became of them, in one line."""
        total = sum(self.counts.values())
        said = f"{self.refused:,} of {total:,} photos were refused; their rows say why"
        passing = {
            reason.value: self.counts[reason] for reason in Reason if self.counts.get(reason) and reason in self.again
        }
        if not passing:
            return said
        which = ", ".join(f"{photos:,} {reason}" for reason, photos in passing.items())
        return f"{said}; {sum(passing.values()):,} could not be had ({which}): the same command asks for them again"

    def __str__(self) -> str:
        verdicts = {verdict.value: self.counts.get(verdict, 0) for verdict in Verdict} | {BAD: self.refused}
        told = ", ".join(f"{photos:,} {verdict}" for verdict, photos in verdicts.items() if photos)
        total = sum(self.counts.values())
        pace = f"{self.asked / max(self.seconds, 1e-3):,.1f} photos/s" if self.asked else "all were there"
        there = f", {total - self.asked:,} were there" if 0 < self.asked < total else ""
        return f"{count(total, 'answer')}: {told}; {pace}{there}"


def place_order(
    model: Path,
    manifest: Path,
    out: Path,
    *,
    chunk_rows: int,
    tta: int = 1,
    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime",
    gone: bool = False,
) -> Order:
    """Check everything that is named, before any work.

    Args:
        model: a bundle.
        manifest: names the photos.
        out: where the answers go.
        chunk_rows: photos of a part.
        tta: views per photo.
        runtime: who computes.
        gone: that a photo is missing is final.

    Raises:
        SourceError: the manifest or the folder cannot be used.
        BundleError: the model cannot.
        MissingExtra: photos lie in S3 and its driver is not installed, or the runtime is not.
    """
    bundle = read_bundle(model)
    listed = open_manifest(manifest, chunk_rows=chunk_rows)
    batch = Batch(
        **versions(runtime),
        bundle=bundle.hash,
        manifest=listed.fingerprint,
        folder=listed.folder,
        rows=listed.rows,
        chunk_rows=chunk_rows,
        tta=tta,
        runtime=runtime,
    )
    return Order(model.absolute(), listed, open_parts(out, batch, NOT_HAD - {Reason.MISSING} if gone else NOT_HAD))


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
    counts, work = _survey(order, note)
    began = time.monotonic()
    if work:
        left = set(work)
        for chunk in engine(order, work, progress):
            left.remove(chunk)  # a part that was said twice is a fault of ours
            counts.update(_made(order, chunk))
        assert not left, f"parts that nobody made: {sorted(left)[:3]}"  # noqa: S101
    return Summary(counts, order.parts.again, sum(work.values()), time.monotonic() - began)


def _survey(order: Order, note: Callable[[str], None]) -> tuple[Counter[str], dict[int, int]]:
    """What stands in the parts that stay as they are, and of all other chunks how many photos are asked for."""
    counts: Counter[str] = Counter()
    work = {chunk: order.parts.batch.rows_of(chunk) for chunk in range(order.parts.batch.chunks)}
    for chunk in order.parts.there():
        try:
            found = order.parts.read(chunk, order.manifest.ids(chunk))
        except SourceError as fault:
            note(f"{fault}; it is made again")
            continue
        work[chunk] = sum(found.get(reason, 0) for reason in order.parts.again)
        if not work[chunk]:
            counts.update(found)
            del work[chunk]
    return counts, work


def _made(order: Order, chunk: int) -> Counts:
    """What stands in a part that was made, as this process sees it.

    Raises:
        BatchError: it is not there.
    """
    try:
        return order.parts.read(chunk)
    except SourceError as fault:
        raise BatchError(
            f"a part was made and is not here ({fault}); the folder {order.parts.folder} must be the same one on every "
            "machine"
        ) from None
