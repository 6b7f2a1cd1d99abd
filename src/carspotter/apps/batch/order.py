"""What an engine is given, and what decides its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import carspotter
from carspotter.data.manifest import Manifest
from carspotter.errors import BatchError
from carspotter.evaluation.parts import Parts
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName, runtime_version
from carspotter.progress import Progress
from carspotter.workers import PATIENCE


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to be made. Plain values: it may be sent to other processes, and to machines with the same folders.

    Attributes:
        model: a bundle's folder, absolute.
        manifest: that was looked through.
        parts: where the answers go.
        patience: seconds to wait for the bytes of one photo; it decides no answer that is final.
    """

    model: Path
    manifest: Manifest
    parts: Parts
    patience: float = PATIENCE

    def load(self, *, threads: int = 0) -> Predictor:
        """The model, and no other one.

        Raises:
            BundleError: it cannot be used here.
            BatchError: what lies there is another model than the one that was ordered, or another version is here.
        """
        batch = self.parts.batch
        for name, here in versions(batch.runtime).items():
            if here != (ordered := getattr(batch, name)):
                raise BatchError(
                    f"the batch is one of {name} {ordered}, here it is {here}; install the same version everywhere"
                )
        predictor = load(self.model, threads=threads, runtime=batch.runtime)
        if predictor.bundle.hash != batch.bundle:
            raise BatchError(f"{self.model} is another model than the one that was ordered; copy the folder again")
        return predictor


def versions(runtime: RuntimeName) -> dict[str, str]:
    """Field of `Batch` → what is installed here, of all that may answer otherwise in another version.

    Raises:
        MissingExtra: the runtime is not installed.
    """
    return {
        "carspotter": carspotter.__version__,
        "pillow": version("pillow"),
        "runtime_version": runtime_version(runtime),
    }


class Engine(Protocol):
    """Makes parts."""

    def __call__(self, order: Order, work: Mapping[int, int], progress: Progress) -> Iterator[int]:
        """Make parts, in any order; give the chunk of each when it is on disk.

        Args:
            order: what is made.
            work: chunk → photos that are asked for.
            progress: told as photos or parts are done.

        Raises:
            BundleError, SourceError, BatchError: it cannot go on; what was made stays.
        """
        ...
