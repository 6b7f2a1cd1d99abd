"""Runs: each is born before its first batch, only added to, and never edited once it has ended.

A run's truth is its journal (`journal.py`), written by its one `RunWriter`; MLflow is the index over them and shows the
same on its own page.

    with open_store().start(recipe, dataset) as run:
        run.split(split)
        run.epoch(record)
        run.finish(evaluation, bundle, bundle_hash)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe
from carspotter.records import Birth, Dataset, HeldOut, Machine, Run, Split
from carspotter.tracking.adoption import Fill, take_in
from carspotter.tracking.folder import JOURNAL, note_database, read_run, read_split
from carspotter.tracking.held_out import has_held_out, read_held_out
from carspotter.tracking.index import DEFAULT_PATIENCE, Index, Known
from carspotter.tracking.journal import write_journal
from carspotter.tracking.machine import code_version, this_machine
from carspotter.tracking.mirror import Mirror, catch_up_all
from carspotter.tracking.recovery import Recovered, lost, recover, runs_on_disk
from carspotter.tracking.writer import RunWriter

__all__ = ["DEFAULT_URI", "RunStore", "RunWriter", "open_store"]

DEFAULT_URI = "sqlite:///runs/runs.db"
CANDIDATES = 5  # assumption: as many as one still reads in a one-line message


def open_store(uri: str | None = None, *, patience: float = DEFAULT_PATIENCE) -> RunStore:
    """The store of runs. Nothing is made or read until it is used.

    Args:
        uri: `sqlite:///PATH` or `postgresql://…`; by default $CARSPOTTER_RUNS, else `runs/runs.db` in the working
            folder. Files of runs lie in `artifacts` beside an SQLite file; see `Index.home` for a server's.
        patience: seconds to wait for another program that holds the database.

    Raises:
        TrackingError: the address is of another kind.
    """
    return RunStore(Index(uri or os.environ.get("CARSPOTTER_RUNS") or DEFAULT_URI, patience))


class RunStore:
    """All runs of one database. Every method reads the index once, however many runs it is asked for."""

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
        run_id = self._index.begin(recipe.name, tags | writer)
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
        folder = self._index.folder(run_id)
        note_database(folder, self._index.address.name)  # before the journal: whoever can read the run sees whose it is
        return RunWriter.begin(run, folder, dataset, Mirror(self._index, run_id))

    def resume(self, run_id: str, dataset: Dataset) -> RunWriter:
        """Take up a run that was interrupted or failed; its writer must say `resumed` before anything else.

        Args:
            run_id: its id, or a beginning of it.
            dataset: scanned; the one it was begun with.

        Raises:
            TrackingError: it has finished, another process is at it, or its folder cannot be written.
        """
        whole, known = self._find(run_id, self._known())
        return RunWriter.take_up(whole, known.folder, dataset, Mirror(self._index, known.mlflow_id))

    def list(self) -> tuple[Run, ...]:
        """Every readable run, the newest first; one whose process is gone is `interrupted`.

        Raises:
            TrackingError: the database cannot be read.
        """
        return self.survey()[0]

    def survey(self) -> tuple[tuple[Run, ...], tuple[str, ...]]:
        """Every readable run as `list` gives them, and the sentences of `damaged`.

        What MLflow missed of runs that have ended is written there, where that is possible.

        Raises:
            TrackingError: the database cannot be read.
        """
        here = runs_on_disk(self._index)  # before the index: it knows a run before its files lie there
        known = self._known()
        runs, damaged = _read_all(known)
        catch_up_all(self._index, known, runs)
        return runs, (*damaged, *lost(self._index, here, known))

    def damaged(self) -> tuple[str, ...]:
        """A sentence for each run that `list` had to leave out, and one on those that the database has lost."""
        here = runs_on_disk(self._index)
        known = self._known()
        return (*_read_all(known)[1], *lost(self._index, here, known))

    def get(self, run_id: str) -> Run:
        """One run, by its id or by a beginning of it that no other run shares.

        Raises:
            TrackingError: there is none, there are several, or its record is damaged.
        """
        return self.find([run_id])[0]

    def find(self, run_ids: Iterable[str]) -> tuple[Run, ...]:
        """Runs by their ids, or by beginnings of them, each once.

        Raises:
            TrackingError: one does not exist, is one of several, or its record is damaged.
        """
        return tuple({run.id: run for run in self.each(run_ids)}.values())

    def each(self, run_ids: Iterable[str]) -> tuple[Run, ...]:
        """A run for every id, in order; whoever is named twice comes twice.

        Raises:
            TrackingError: as `find`.
        """
        known = self._known()
        found = [self._find(run_id, known) for run_id in run_ids]
        runs = {run_id: read_run(one.folder) for run_id, one in dict(found).items()}
        return tuple(runs[run_id] for run_id, _ in found)

    def split(self, run_id: str) -> Split:
        """The photos a run trained on and was judged on.

        Raises:
            TrackingError: the run has none, or does not exist.
        """
        return read_split(self.folder(run_id))

    def answers(self, run_id: str) -> HeldOut:
        """What a run's net answered on its validation photos.

        Raises:
            TrackingError: the run has none, does not exist, or the file is damaged.
        """
        return read_held_out(self.folder(run_id))

    def kept_answers(self, runs: Sequence[Run]) -> tuple[dict[str, HeldOut], tuple[str, ...]]:
        """Answers of those runs that kept them, by run id, and a sentence for each damaged file."""
        folders, found, damaged = self.folders(), {}, []
        for run in runs:
            if has_held_out(folders[run.id]):
                try:
                    found[run.id] = read_held_out(folders[run.id])
                except TrackingError as fault:
                    damaged.append(str(fault))
        return found, tuple(damaged)

    def folder(self, run_id: str) -> Path:
        """Where a run's files lie.

        Raises:
            TrackingError: there is no such run.
        """
        return self._find(run_id, self._known())[1].folder

    def folders(self) -> dict[str, Path]:
        """Where the files of every run lie, by its id."""
        return {run_id: known.folder for run_id, known in self._known().items()}

    @property
    def is_shared(self) -> bool:
        """Whether a server keeps the index: other machines then look for the files of runs where this one does."""
        return self._index.address.file is None

    @property
    def home(self) -> Path:
        """Where the files of runs lie; it need not exist yet."""
        return self._index.home

    @property
    def uri(self) -> str:
        """The database's address for other programs; it may hold a password.

        Raises:
            TrackingError: there is no database yet.
            MissingExtra: its driver is not there.
        """
        address = self._index.address
        if self._index.is_new:
            raise TrackingError(f"there are no runs yet at {address.file}; train one, or set CARSPOTTER_RUNS")
        address.need_driver()
        return address.uri

    def adopt(self, runs: Iterable[Run]) -> tuple[Run, ...]:
        """Take in runs that have ended and were not trained here, with the ids they have; known ones are left alone.

        Returns:
            Those that were new.

        Raises:
            TrackingError: a run has not ended, or the store cannot be written.
        """
        with self._index.alone():
            known = self._known()
            new = {run.id: partial(_write_only_journal, run) for run in runs if run.id not in known}
            return self._take_in(new)

    def take_in(self, fills: Mapping[str, Fill]) -> tuple[Run, ...]:
        """Take in runs of another store, which must not be known here.

        Args:
            fills: by the run's id, what writes its files.

        Raises:
            TrackingError: what was written is no such run, or the store cannot be written.
        """
        with self._index.alone():
            if there := fills.keys() & self._known().keys():
                raise TrackingError(f"run {min(there)} is already there, and runs are never edited")
            return self._take_in(fills)

    def recover(self, of: str | None = None) -> Recovered:
        """Enter every run whose files lie here and which the database lacks, because it was lost or moved.

        Args:
            of: name of another database here that is gone, whose runs are taken in too.

        Raises:
            TrackingError: the database or the folder of runs cannot be used.
        """
        return recover(self._index, of)

    def _take_in(self, fills: Mapping[str, Fill]) -> tuple[Run, ...]:
        return tuple(take_in(self._index, run_id, fill) for run_id, fill in fills.items())

    def _known(self) -> dict[str, Known]:
        return {} if self._index.is_new else self._index.known()

    def _find(self, run_id: str, known: Mapping[str, Known]) -> tuple[str, Known]:
        """The one run that begins so: its whole id, and what the index knows of it."""
        found = [one for one in known if run_id and one.startswith(run_id)]
        if not found:
            raise TrackingError(f"there is no run {run_id!r} among {len(known)}; `carspotter runs ls` lists them")
        if len(found) > 1:
            shown = ", ".join(one[: len(run_id) + 4] for one in found[:CANDIDATES])
            more = f" and {len(found) - CANDIDATES} more" if len(found) > CANDIDATES else ""
            raise TrackingError(f"{len(found)} runs begin with {run_id!r}: {shown}{more}; give more of the id")
        return found[0], known[found[0]]


def _write_only_journal(run: Run, folder: Path) -> None:
    write_journal(folder / JOURNAL, run)


def _read_all(known: Mapping[str, Known]) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    runs, damaged = [], []
    for one in known.values():
        try:
            runs.append(read_run(one.folder))
        except TrackingError as fault:
            damaged.append(str(fault))
    return tuple(runs), tuple(damaged)
