"""What a process writes into when it is not the one that writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.records import EpochRecord, FreezeSummary, Scores, Split
from carspotter.tracking.runs import RunWriter


class NullWriter:
    """A run that the first process writes; here nothing is written.

    Attributes:
        id: the run's.
        folder: where its files lie.
    """

    def __init__(self, run_id: str, folder: Path) -> None:
        self.id = run_id
        self.folder = folder
        self.epochs = 0
        self.timings: dict[str, float] = {}
        self.seconds = 0.0

    def split(self, split: Split) -> None:
        """Nothing."""

    def resumed(self, epochs: int, timings: Mapping[str, float], seconds: float) -> None:
        """Nothing."""

    def freezing(self, summary: FreezeSummary) -> None:
        """Nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Nothing."""

    def timing(self, phase: str, seconds: float) -> None:
        """Nothing."""

    def answers(
        self, scores: Scores, labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Nothing."""


Writer = RunWriter | NullWriter
