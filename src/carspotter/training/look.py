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
        raise SourceError([f"{r.id}: {r.reason}: {r.sentence}" for r in refused])
    if not looked.dataset.photos:
        raise SourceError(f"{dataset.origin}: none of its {len(refused)} photos can be used")
    return looked


def name_refused(refused: Sequence[Rejected], photos: int, progress: Progress) -> None:
    """Say which photos are left out and why, the first NAMED of them one by one.

    Args:
        refused: what a scan threw out.
        photos: that were looked at.
        progress: told.
    """
    for row in refused[:NAMED]:
        progress("photos", photos, photos, f"left out {row.id}: {row.reason}: {row.sentence}")
    if len(refused) > NAMED:
        progress("photos", photos, photos, f"left out {len(refused) - NAMED:,} more, as `carspotter check` lists them")
