"""What an engine is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from carspotter.data.manifest import Manifest
from carspotter.errors import BatchError
from carspotter.evaluation.parts import Counts, Parts
from carspotter.inference.predictor import Predictor, load
from carspotter.progress import Progress


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to be made. Plain values: it may be sent to other processes, and to machines with the same folders.

    Attributes:
        model: a bundle's folder, absolute.
        manifest: that was looked through.
        parts: where the answers go.
    """

    model: Path
    manifest: Manifest
    parts: Parts

    def load(self, *, threads: int = 0) -> Predictor:
        """The model, and no other one.

        Raises:
            BundleError: it cannot be used here.
            BatchError: what lies there is another model than the one that was ordered, or this is another version.
        """
        import carspotter

        if carspotter.__version__ != self.parts.batch.carspotter:
            raise BatchError(
                f"the batch is one of carspotter {self.parts.batch.carspotter}, here {carspotter.__version__} is "
                "installed; install the same version everywhere"
            )
        predictor = load(self.model, threads=threads, runtime=self.parts.batch.runtime)
        if predictor.bundle.hash != self.parts.batch.bundle:
            raise BatchError(f"{self.model} is another model than the one that was ordered; copy the folder again")
        return predictor


@dataclass(frozen=True, slots=True)
class Made:
    """A part that is on disk: its chunk, and how many photos got which verdict."""

    chunk: int
    counts: Counts


class Engine(Protocol):
    """Makes parts."""

    def __call__(self, order: Order, chunks: Sequence[int], progress: Progress) -> Iterator[Made]:
        """Make the parts of these chunks, in any order, each at least once; said when it is on disk.

        Raises:
            BundleError, SourceError, BatchError: it cannot go on; what was made stays.
        """
        ...
