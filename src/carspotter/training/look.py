"""Every photo is read and decoded once before anything is trusted; what cannot be used is named."""

from __future__ import annotations

from collections.abc import Sequence

from carspotter.data.scan import Scan, scan
from carspotter.errors import SourceError
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Rejected
from carspotter.training.allocator import keep_memory

NAMED = 20
"""Photos left out that are named one by one. Assumption: nobody reads more; `check` lists all."""


def look(dataset: Dataset, *, strict: bool = False, progress: Progress = silent) -> Scan:
    """Read and decode every photo once; what cannot be used is named and left out.

    Raises:
        SourceError: no labels, no photo that can be used, or (strict) one that cannot.
    """
    if not dataset.classes:
        raise SourceError(
            f"{dataset.origin} has no labels, so there is nothing to learn; give a table or class folders"
        )
    keep_memory()  # before there are threads with arenas of their own
    looked = scan(dataset, progress=progress)
    refused = looked.dataset.rejected
    name_refused(refused, len(dataset.photos), progress)
    if strict and refused:
        raise SourceError([sentence_of(row) for row in refused])
    if not looked.dataset.photos:
        raise SourceError(f"{dataset.origin}: none of its {len(refused)} photos can be used")
    return looked


def name_refused(refused: Sequence[Rejected], photos: int, progress: Progress, source: str = "") -> None:
    """Say which photos are left out and why, the first NAMED of them one by one.

    Args:
        refused: what a scan threw out.
        photos: that were looked at.
        progress: told.
        source: where they are from, where it is not the source that is trained on.
    """
    of = f" of {source}" if source else ""
    for row in refused[:NAMED]:
        progress("photos", photos, photos, f"left out {sentence_of(row, source)}")
    if len(refused) > NAMED:
        more = f"left out {len(refused) - NAMED:,} more{of}, as `carspotter check` lists them"
        progress("photos", photos, photos, more)


def sentence_of(refused: Rejected, source: str = "") -> str:
    """What was left out, why, and the cure; of an outside source with its name, since ids repeat between sources."""
    of = f"{source}: " if source else ""
    return f"{of}{refused.id}: {refused.reason}: {refused.sentence}"
