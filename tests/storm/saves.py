"""What carspotter keeps on disk, written by its own code, and looked at afterwards by its own code."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from carspotter.inference.bundle import read_bundle, write_bundle
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, EpochRecord, Photo, Run
from carspotter.tracking.folder import JOURNAL
from carspotter.tracking.journal import Journal, read_journal
from carspotter.tracking.machine import this_machine
from carspotter.tracking.runs import RunStore, open_store
from carspotter.tracking.writer import RunWriter
from carspotter.training.checkpoint import Checkpoint, Checkpoints

BEGINS, ENDS = "/storm/begins", "/storm/ends"
"""Looked for, and never there: in a list of system calls they show where a save begins and ends."""
RECIPE = Recipe(name="storm", stage=(Stage(name="head", epochs=2, height=64, width=64, lr=0.01),))
DATASET = Dataset(
    photos=(Photo("1.jpg", b"", label="a", digest="0" * 64), Photo("2.jpg", b"", label="b", digest="1" * 64)),
    classes=("a", "b"),
)
EPOCHS = 5
"""Of each run that `work` writes."""


def epoch(number: int) -> EpochRecord:
    return EpochRecord(stage="head", epoch=number, lr=0.01, train_loss=1.0, train_accuracy=0.5, seconds=1.0)


def checkpoint(number: int, values: int = 1000) -> Checkpoint:
    return Checkpoint({"number": number}, {"model.weight": torch.full((values,), float(number))})


@dataclass(frozen=True, slots=True)
class Save:
    """A kind of file.

    Attributes:
        begin: in an empty folder; gives what saves version 0, then 1, and so on.
        go_on: in a folder where a writer was stopped; gives what saves the next versions.
        newest: the version that a reader finds there; whatever it raises is a loss.
    """

    begin: Callable[[Path], Callable[[int], object]]
    go_on: Callable[[Path], Callable[[int], object]]
    newest: Callable[[Path], int]


# ---- checkpoints ----------------------------------------------------------------------------------------------------


def write_checkpoints(folder: Path) -> Callable[[int], object]:
    files = Checkpoints(folder, print)
    return lambda number: files.write(checkpoint(number))


def newest_checkpoint(folder: Path) -> int:
    found = Checkpoints(folder, damaged).newest()
    assert found is not None, "there is none"
    number = int(found.facts["number"])
    assert torch.equal(found.tensors["model.weight"], checkpoint(number).tensors["model.weight"])
    return number


def damaged(sentence: str) -> None:
    raise AssertionError(sentence)


# ---- the journal of a run -------------------------------------------------------------------------------------------


def write_epochs(folder: Path) -> Callable[[int], object]:
    journal = Journal(folder / JOURNAL)
    journal.append("born", born())
    return lambda number: journal.append("epoch", epoch(number).model_dump(mode="json"))


def write_more_epochs(folder: Path) -> Callable[[int], object]:
    journal = Journal(folder / JOURNAL)
    journal.mend()
    return lambda number: journal.append("epoch", epoch(number).model_dump(mode="json"))


def newest_epoch(folder: Path) -> int:
    epochs = [record.epoch for record in read_journal(folder / JOURNAL).history]
    assert epochs == list(range(len(epochs)))
    return epochs[-1]


def born() -> dict[str, object]:
    run = Run(
        id="a" * 32,
        name="storm",
        status="running",
        started="2026-01-01T00:00:00+00:00",
        recipe=RECIPE,
        dataset="d" * 64,
        origin="storm",
        photos=2,
        classes=("a", "b"),
        code_version="0",
        machine=this_machine(threads=1),
        split="",
    )
    return run.model_dump(mode="json")


# ---- model folders --------------------------------------------------------------------------------------------------


def write_bundles(folder: Path) -> Callable[[int], object]:
    from helpers.tiny import tiny_card, tiny_files

    parts = folder / "parts"
    files = tiny_files(parts)
    card = tiny_card(parts)
    return lambda number: write_bundle(folder / "model", card.model_copy(update={"name": str(number)}), files)


def newest_bundle(folder: Path) -> int:
    """What the next writer starts from counts, too: killed between two renames, the older one lies aside."""
    place = folder / "model"
    return int(read_bundle(place if place.exists() else folder / ".model.old").card.name)


SAVES = {
    "checkpoint": Save(write_checkpoints, write_checkpoints, newest_checkpoint),
    "journal": Save(write_epochs, write_more_epochs, newest_epoch),
    "bundle": Save(write_bundles, write_bundles, newest_bundle),
}


# ---- all day long ---------------------------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Runs and their checkpoints without end; each is acknowledged by a line when it is on the disk."""
    store = open_store(f"sqlite:///{folder / 'runs.db'}")
    while True:
        with store.start(RECIPE, DATASET) as run:
            say(f"born {run.id}")
            files = Checkpoints(run.folder, print)
            for number in range(EPOCHS):
                keep(run, files, number)
            run.finish()
        say(f"finished {run.id}")


def keep(run: RunWriter, files: Checkpoints, number: int) -> None:
    run.epoch(epoch(number))
    say(f"epoch {run.id} {number}")
    files.write(checkpoint(number))
    say(f"checkpoint {run.id} {number}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # in one call: a line that was begun is whole


# ---- what is left of it ---------------------------------------------------------------------------------------------


def look(folder: Path, acknowledged: Path) -> None:
    """Print a sentence on everything that `work` acknowledged and that is not in the folder."""
    said = acknowledged.read_text(encoding="utf-8").splitlines()
    store = open_store(f"sqlite:///{folder / 'runs.db'}")
    store.recover()  # the journals are what counts; a database may lag behind them
    for sentence in (*lost_runs(store, said), *lost_checkpoints(store, said)):
        say(sentence)


def lost_runs(store: RunStore, said: list[str]) -> Iterator[str]:
    runs = {run.id: run for run in store.list()}
    for word, run_id in (line.split() for line in said if line.startswith(("born", "finished"))):
        if run_id not in runs or (word == "finished" and runs[run_id].status != "finished"):
            yield f"{word} {run_id} was acknowledged and is not there"
    for run_id, newest in counted(said, "epoch").items():
        if run_id in runs and len(runs[run_id].history) <= newest:
            yield f"run {run_id}: epoch {newest} was acknowledged and is not there"


def lost_checkpoints(store: RunStore, said: list[str]) -> Iterator[str]:
    for run_id, newest in counted(said, "checkpoint").items():
        found = Checkpoints(store.folder(run_id), say).newest()
        if found is None or found.facts["number"] < newest:
            yield f"run {run_id}: checkpoint {newest} was acknowledged and is not there"


def counted(lines: list[str], word: str) -> dict[str, int]:
    """Of each run, the highest number that was acknowledged after this word."""
    said = [line.split() for line in lines]
    rows = itertools.groupby([words for words in said if words[0] == word], key=lambda words: words[1])
    return {run: max(int(words[2]) for words in group) for run, group in rows}
