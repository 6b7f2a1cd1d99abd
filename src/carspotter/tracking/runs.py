"""Runs: each is born before its first batch, only added to, and never edited once it has ended.

A run's truth is its journal (`journal.py`); MLflow is the index over them and shows the same on its own page.

    with open_store().start(recipe, dataset) as run:
        run.split(split)
        run.epoch(record)
        run.finish(evaluation, bundle, bundle_hash)
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from carspotter.data.disk import whole_file
from carspotter.errors import SourceError, TrackingError
from carspotter.recipe import Recipe
from carspotter.records import (
    Birth,
    Dataset,
    EpochRecord,
    Evaluation,
    FreezeSummary,
    HeldOut,
    Machine,
    Run,
    Scores,
    Split,
    hash_json,
)
from carspotter.tracking.adoption import take_in, write_journal
from carspotter.tracking.held_out import has_held_out, read_held_out, write_held_out
from carspotter.tracking.index import DEFAULT_PATIENCE, Index, Known
from carspotter.tracking.journal import Journal, read_journal
from carspotter.tracking.lock import Lock, is_held
from carspotter.tracking.machine import code_version, this_machine
from carspotter.tracking.mirror import Mirror, catch_up_all

DEFAULT_URI = "sqlite:///runs/runs.db"
JOURNAL = "journal.jsonl"
BUNDLE = "bundle"
"""Folder beside the journal: the model of a run that was brought from another store."""
LOCK = "running.lock"
PATIENCE = 1.0
"""Seconds to wait for a run's lock when it is taken up: a reader may be looking at it (assumption)."""
CANDIDATES = 5  # assumption: as many as one still reads in a one-line message


def open_store(uri: str | None = None, *, patience: float = DEFAULT_PATIENCE) -> RunStore:
    """The store of runs. Nothing is made or read until it is used.

    Args:
        uri: `sqlite:///PATH` or `postgresql://…`; by default $CARSPOTTER_RUNS, else `runs/runs.db` in the working
            folder. Files of runs lie in `artifacts` beside an SQLite file, else in `runs/artifacts`.
        patience: seconds to wait for another program that holds the database.

    Raises:
        TrackingError: the address is of another kind.
    """
    return RunStore(Index(uri or os.environ.get("CARSPOTTER_RUNS") or DEFAULT_URI, patience))


class RunStore:
    """All runs of one database."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def start(
        self,
        recipe: Recipe,
        dataset: Dataset,
        machine: Machine | None = None,
        *,
        extra: Sequence[str] = (),
        birth: Birth | None = None,
    ) -> RunWriter:
        """A new run, on disk when this returns.

        Args:
            recipe: fully resolved.
            dataset: scanned, so that it has a fingerprint.
            machine: by default this one with the recipe's threads.
            extra: a sentence for each source of outside photos that trains too.
            birth: what `resume` needs to begin where it ended.

        Raises:
            TrackingError: the store cannot be written.
        """
        tags = {"dataset": dataset.fingerprint, "origin": dataset.origin, "code_version": code_version()}
        writer = {"host": socket.gethostname(), "pid": str(os.getpid())}
        run_id, folder = self._index.begin(recipe.name, tags | writer)
        run = Run(
            id=run_id,
            name=recipe.name,
            status="running",
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            recipe=recipe,
            dataset=tags["dataset"],
            origin=dataset.origin,
            photos=len(dataset.photos),
            extra=tuple(extra),
            rejected=tuple(f"{refused.id}: {refused.reason}: {refused.sentence}" for refused in dataset.rejected),
            classes=dataset.classes,
            code_version=tags["code_version"],
            machine=machine or this_machine(threads=recipe.threads),
            split="",
            birth=birth,
        )
        return RunWriter(run, dataset, folder, self._index)

    def resume(self, run_id: str, dataset: Dataset) -> RunWriter:
        """Take up a run that was interrupted or failed; its writer must say `resumed` before anything else.

        Args:
            run_id: whole.
            dataset: scanned; the one it was begun with.

        Raises:
            TrackingError: it has finished, another process is at it, or its folder cannot be written.
        """
        run, known = self.get(run_id), self._known()[run_id]
        return RunWriter(run, dataset, known.folder, self._index, mlflow_id=known.mlflow_id)

    def list(self) -> tuple[Run, ...]:
        """Every readable run, the newest first; one whose process is gone is `interrupted`.

        What MLflow missed of runs that have ended is written there, where that is possible.

        Raises:
            TrackingError: the database cannot be read.
        """
        known = self._known()
        runs, _ = _read_all(known)
        catch_up_all(self._index, known, runs)
        return runs

    def damaged(self) -> tuple[str, ...]:
        """A sentence for each run that `list` had to leave out."""
        return _read_all(self._known())[1]

    def get(self, run_id: str) -> Run:
        """One run, by its id or by a beginning of it that no other run shares.

        Raises:
            TrackingError: there is none, there are several, or its record is damaged.
        """
        folders = self._folders()
        found = [known for known in folders if run_id and known.startswith(run_id)]
        if not found:
            raise TrackingError(f"there is no run {run_id!r} among {len(folders)}; `carspotter runs ls` lists them")
        if len(found) > 1:
            shown = ", ".join(known[: len(run_id) + 4] for known in found[:CANDIDATES])
            more = f" and {len(found) - CANDIDATES} more" if len(found) > CANDIDATES else ""
            raise TrackingError(f"{len(found)} runs begin with {run_id!r}: {shown}{more}; give more of the id")
        return _read_run(folders[found[0]])

    def split(self, run_id: str) -> Split:
        """The photos a run trained on and was judged on.

        Raises:
            TrackingError: the run has none, or does not exist.
        """
        path = self._folders()[self.get(run_id).id] / "split.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            train, validation = tuple(stored["train"]), tuple(stored["validation"])
            return Split(train, validation, stored["method"], stored["folds"])
        except (OSError, ValueError, TypeError, KeyError) as fault:
            raise TrackingError(
                f"cannot read {path} ({fault}); the run ended before its split, or restore it"
            ) from None

    def answers(self, run_id: str) -> HeldOut:
        """What a run's net answered on its validation photos.

        Raises:
            TrackingError: the run has none, does not exist, or the file is damaged.
        """
        return read_held_out(self._folders()[self.get(run_id).id])

    def kept_answers(self, runs: Sequence[Run]) -> tuple[dict[str, HeldOut], tuple[str, ...]]:
        """Answers of those runs that kept them, by run id, and a sentence for each damaged file."""
        folders, found, damaged = self._folders(), {}, []
        for run in runs:
            if has_held_out(folders[run.id]):
                try:
                    found[run.id] = read_held_out(folders[run.id])
                except TrackingError as fault:
                    damaged.append(str(fault))
        return found, tuple(damaged)

    @property
    def home(self) -> Path:
        """Where the files of runs lie; it need not exist yet."""
        return self._index.home

    @property
    def uri(self) -> str:
        """The database's address; it may hold a password.

        Raises:
            TrackingError: there is no database yet.
        """
        if self._index.is_new:
            raise TrackingError(f"there are no runs yet at {self._index.file}; train one, or set CARSPOTTER_RUNS")
        return self._index.uri

    def folder(self, run_id: str) -> Path:
        """Where a run's files lie.

        Raises:
            TrackingError: there is no such run.
        """
        return self._folders()[self.get(run_id).id]

    def adopt(self, runs: Iterable[Run]) -> tuple[Run, ...]:
        """Take in runs that have ended and were not trained here, with the ids they have; known ones are left alone.

        Returns:
            Those that were new.

        Raises:
            TrackingError: a run has not ended, or the store cannot be written.
        """
        with self._index.alone():
            known = self._folders()
            new = [run for run in runs if run.id not in known]
            return tuple(take_in(self._index, run.id, JOURNAL, partial(_write_only_journal, run)) for run in new)

    def take_in(self, run_id: str, fill: Callable[[Path], None]) -> Run:
        """Take in a run of another store, which must not be known here.

        Args:
            run_id: its own.
            fill: writes its files, `journal.jsonl` among them, into an empty folder.

        Raises:
            TrackingError: what was written is no such run, or the store cannot be written.
        """
        with self._index.alone():
            if run_id in self._folders():
                raise TrackingError(f"run {run_id} is already there, and runs are never edited")
            return take_in(self._index, run_id, JOURNAL, fill)

    def _folders(self) -> dict[str, Path]:
        return {run_id: known.folder for run_id, known in self._known().items()}

    def _known(self) -> dict[str, Known]:
        return {} if self._index.is_new else self._index.known()


class RunWriter:
    """The one writer of a run; a context manager.

    Leaving it by an exception marks the run failed, by KeyboardInterrupt or SystemExit interrupted. A process that is
    killed leaves a run that every reader sees as interrupted, with all that was written until then.

    Attributes:
        id: the run's, fixed from the start.
        folder: where its files lie.
        epochs: in its history.
        timings: seconds of each phase.
    """

    def __init__(self, run: Run, dataset: Dataset, folder: Path, index: Index, *, mlflow_id: str | None = None) -> None:
        self.id = run.id
        self.folder = folder
        self.timings: dict[str, float] = {}
        self.epochs = 0
        self._dataset = dataset
        self._mirror = Mirror(index, mlflow_id or run.id)
        self._born = time.monotonic()
        self._ended = False
        # Before the journal: whoever can read the run sees it running.
        self._lock = Lock(folder.parent / LOCK, None if mlflow_id is None else PATIENCE)
        self._journal = Journal(folder / JOURNAL)
        try:
            if mlflow_id is None:
                self._store("recipe.json", run.recipe.model_dump(mode="json"))
                self._journal.append("born", run.model_dump(mode="json"))
            else:
                self._refuse_if_over()
                self._journal.mend()
        except TrackingError:
            self._lock.release()  # or this run would seem to go on for as long as the process lives
            raise
        if mlflow_id is None:
            self._mirror.settings(run.recipe)

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
        self._store("split.json", {**asdict(split), "folds": dict(split.folds)})
        self._add("split", {"method": split.method, "validation": _held_out(self._dataset, split)})

    def answers(self, scores: Scores, labels: npt.NDArray[np.int64]) -> None:
        """Keep what the shipped net answered on the validation photos, for comparing runs photo by photo.

        Args:
            scores: of the N validation photos that could be read.
            labels: (N,) class index of each row of `scores`.

        Raises:
            ValueError: the arrays do not belong together.
            TrackingError: the disk refuses.
        """
        self._refuse_if_ended()
        write_held_out(self.folder, scores.ids, scores.logits, labels)

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
        self._add(
            "finished",
            {
                "evaluation": None if evaluation is None else evaluation.model_dump(mode="json"),
                "bundle": None if bundle is None else str(bundle),
                "bundle_hash": bundle_hash,
                "seconds": self.seconds,
            },
        )
        return self._end()

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
            self._add("interrupted" if stopped else "failed", {"error": error, "seconds": self.seconds})
            self._end()
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

    def _refuse_if_over(self) -> None:
        """Asked with the lock held: another process may have finished it a moment ago."""
        if read_journal(self._journal.path).status == "finished":
            raise TrackingError(f"run {self.id} has finished and is never edited; start a new one")

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise TrackingError(f"run {self.id} has ended and is never edited; start a new one")

    def _add(self, name: str, content: dict[str, Any]) -> None:
        self._refuse_if_ended()
        self._journal.append(name, content)

    def _end(self) -> Run:
        """From here on the run is history; the index follows the journal."""
        self._ended = True
        run = read_journal(self._journal.path)
        self._lock.release()
        self._mirror.end(run)
        return run

    def _store(self, name: str, content: Any) -> None:
        """A file for people and for MLflow's page; whole or as it was, for a resumed run writes it again."""
        try:
            with whole_file(self.folder / name) as part:
                part.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        except SourceError as fault:
            raise TrackingError(f"{fault}; free some space or make it writable") from None


def _write_only_journal(run: Run, folder: Path) -> None:
    write_journal(folder / JOURNAL, run)


def _read_all(known: Mapping[str, Known]) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    runs, damaged = [], []
    for one in known.values():
        try:
            runs.append(_read_run(one.folder))
        except TrackingError as fault:
            damaged.append(str(fault))
    return tuple(runs), tuple(damaged)


def _read_run(folder: Path) -> Run:
    # The lock first: a run that ends between the two looks is then read with its end.
    held = is_held(folder.parent / LOCK)
    run = read_journal(folder / JOURNAL)
    if (folder / BUNDLE).is_dir():
        run = run.model_copy(update={"bundle": str(folder / BUNDLE)})  # the journal names its place in another store
    if run.status == "running" and not held:
        return run.model_copy(update={"status": "interrupted", "error": "its process is gone"})
    return run


def _held_out(dataset: Dataset, split: Split) -> str:
    """A hash over the ids, labels and contents of the validation photos: equal where figures can be compared."""
    wanted = set(split.validation)
    return hash_json(sorted((p.id, p.label or "", p.digest or "") for p in dataset.photos if p.id in wanted))


def _one_line(fault: BaseException) -> str:
    first = next(iter(str(fault).strip().splitlines()), "")
    return f"{type(fault).__name__}: {first}" if first else type(fault).__name__
