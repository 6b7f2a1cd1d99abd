"""The one writer of a run: what it adds to the journal, and how the run ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from carspotter.errors import TrackingError
from carspotter.records import Dataset, EpochRecord, Evaluation, FreezeSummary, Run, Scores, Split
from carspotter.tracking.folder import JOURNAL, LOCK, RECIPE, SPLIT, write_json
from carspotter.tracking.held_out import validation_hash, write_held_out
from carspotter.tracking.journal import Journal, read_journal
from carspotter.tracking.lock import Lock
from carspotter.tracking.mirror import Mirror

PATIENCE = 1.0
"""Seconds to wait for a run's lock when it is taken up: a reader may be looking at it (assumption)."""


class RunWriter:
    """The one writer of a run; a context manager. Made by `begin` and `take_up`.

    Leaving it by an exception marks the run failed, by KeyboardInterrupt or SystemExit interrupted. A process that is
    killed leaves a run that every reader sees as interrupted, with all that was written until then.

    Attributes:
        id: the run's, fixed from the start.
        folder: where its files lie.
        epochs: in its history.
        timings: seconds of each phase.
    """

    def __init__(self, run_id: str, folder: Path, dataset: Dataset, mirror: Mirror, lock: Lock) -> None:
        self.id = run_id
        self.folder = folder
        self.timings: dict[str, float] = {}
        self.epochs = 0
        self._dataset = dataset
        self._mirror = mirror
        self._lock = lock
        self._journal = Journal(folder / JOURNAL)
        self._born = time.monotonic()
        self._ended = False

    @classmethod
    def begin(cls, run: Run, folder: Path, dataset: Dataset, mirror: Mirror) -> RunWriter:
        """Of a new run, which is on disk when this returns.

        Raises:
            TrackingError: its folder cannot be written.
        """
        # Before the journal: whoever can read the run sees it running.
        with _locked(folder) as lock:
            write_json(folder / RECIPE, run.recipe.model_dump(mode="json"))
            Journal(folder / JOURNAL).append("born", run.model_dump(mode="json"))
        mirror.settings(run.recipe)
        return cls(run.id, folder, dataset, mirror, lock)

    @classmethod
    def take_up(cls, run_id: str, folder: Path, dataset: Dataset, mirror: Mirror) -> RunWriter:
        """Of a run that was interrupted or failed; it must say `resumed` before anything else.

        Raises:
            TrackingError: it has finished, another process is at it, or its folder cannot be written.
        """
        with _locked(folder, PATIENCE) as lock:
            # Asked with the lock held: another process may have finished it a moment ago.
            if read_journal(folder / JOURNAL).status == "finished":
                raise TrackingError(f"run {run_id} has finished and is never edited; start a new one")
            Journal(folder / JOURNAL).mend()
        return cls(run_id, folder, dataset, mirror, lock)

    def resumed(self, epochs: int, timings: Mapping[str, float], seconds: float) -> None:
        """Go on after so many epochs; later ones, and an end, no longer count.

        Args:
            epochs: of the history that stay.
            timings: of the phases until then.
            seconds: that the run had taken until then.
        """
        self._add("resumed", {"epochs": epochs, "timings": dict(timings)})
        self.epochs, self.timings = epochs, dict(timings)
        self._born -= seconds
        self._mirror.reopen(epochs)

    def split(self, split: Split) -> None:
        """Keep which photos train and which validate."""
        self._refuse_if_ended()
        write_json(self.folder / SPLIT, {**asdict(split), "folds": dict(split.folds)})
        self._add("split", {"method": split.method, "validation": validation_hash(self._dataset, split)})

    def answers(
        self, scores: Scores, labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Keep what the shipped net answered on the validation photos, for comparing runs photo by photo.

        Args:
            scores: of the N validation photos that could be read.
            labels: (N,) class index of each row of `scores`.
            groups: (N,) equal for photos that belong together, such as near copies; None: not known.

        Raises:
            ValueError: the arrays do not belong together.
            TrackingError: the disk refuses.
        """
        self._refuse_if_ended()
        write_held_out(self.folder, scores.ids, scores.logits, labels, groups)

    def freezing(self, summary: FreezeSummary) -> None:
        """Keep what a stage trains and leaves alone."""
        self._add("freezing", summary.model_dump(mode="json"))

    def epoch(self, record: EpochRecord) -> None:
        """Keep one epoch; it survives any later kill."""
        self._add("epoch", record.model_dump(mode="json"))
        self.epochs += 1
        self._mirror.epoch(record)

    def timing(self, phase: str, seconds: float) -> None:
        """Keep how long a phase took; pieces of one phase add up."""
        self._add("timing", {"phase": phase, "seconds": seconds})
        self.timings[phase] = self.timings.get(phase, 0.0) + seconds

    def finish(
        self, evaluation: Evaluation | None = None, bundle: Path | None = None, bundle_hash: str | None = None
    ) -> Run:
        """End the run with its results.

        Args:
            evaluation: on the validation photos, through the shipped predictor.
            bundle: the model's folder.
            bundle_hash: its hash, which an equal training must give again.
        """
        return self._end(
            "finished",
            evaluation=None if evaluation is None else evaluation.model_dump(mode="json"),
            bundle=None if bundle is None else str(bundle),
            bundle_hash=bundle_hash,
        )

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        stopped = isinstance(fault, KeyboardInterrupt | SystemExit)
        error = "it ended without a result" if fault is None else _one_line(fault)
        try:
            self._end("interrupted" if stopped else "failed", error=error)
        except TrackingError as second:
            if fault is None:
                raise
            fault.add_note(f"the run could not be marked as ended: {second}")  # what stopped it matters more
        finally:
            self._lock.release()

    @property
    def seconds(self) -> float:
        """Since the run was born."""
        return time.monotonic() - self._born

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise TrackingError(f"run {self.id} has ended and is never edited; start a new one")

    def _add(self, name: str, content: dict[str, Any]) -> None:
        self._refuse_if_ended()
        self._journal.append(name, content)

    def _end(self, name: str, **content: Any) -> Run:
        """From here on the run is history; the index follows the journal."""
        self._add(name, {**content, "seconds": self.seconds})
        self._ended = True
        run = read_journal(self._journal.path)
        self._lock.release()
        self._mirror.end(run)
        return run


@contextmanager
def _locked(folder: Path, patience: float | None = None) -> Iterator[Lock]:
    """The run's lock, which stays held unless what is begun with it fails."""
    lock = Lock(folder.parent / LOCK, patience)
    try:
        yield lock
    except TrackingError:
        lock.release()  # or this run would seem to go on for as long as the process lives
        raise


def _one_line(fault: BaseException) -> str:
    first = next(iter(str(fault).strip().splitlines()), "")
    return f"{type(fault).__name__}: {first}" if first else type(fault).__name__
