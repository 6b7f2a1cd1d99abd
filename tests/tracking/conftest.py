"""Stores, recipes and sets for the tests of runs."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, EpochRecord, Evaluation, Figure, Machine, Photo, Run, Split
from carspotter.tracking.runs import RunStore, open_store


@pytest.fixture
def store(runs_db: Path) -> RunStore:
    return open_store()


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        name="tiny",
        stage=(
            Stage(name="head", trains="head", epochs=2, height=64, width=96, lr=0.01),
            Stage(name="all", epochs=3, height=64, width=96, lr=0.001),
        ),
    )


@pytest.fixture
def dataset() -> Dataset:
    photos = tuple(Photo(f"{i}.jpg", b"", label="ab"[i % 2], digest=f"{i:064x}") for i in range(10))
    return Dataset(photos=photos, classes=("a", "b"), codes=("0", "1"), origin="photos/tiny")


@pytest.fixture
def split() -> Split:
    return Split(train=("0.jpg", "1.jpg"), validation=("2.jpg", "3.jpg"), method="hold-out, seed 0", folds={"0.jpg": 1})


@pytest.fixture
def make_epoch() -> Callable[..., EpochRecord]:
    def make(number: int = 0, **changes: Any) -> EpochRecord:
        values: dict[str, Any] = {
            "stage": "head",
            "epoch": number,
            "lr": 0.01,
            "train_loss": 2.0 / (number + 1),
            "train_accuracy": 0.25,
            "val_loss": 2.5 / (number + 1),
            "val_accuracy": 0.2,
            "seconds": 1.5,
            "batch_seconds": (0.5, 1.0),
        }
        return EpochRecord(**values | changes)

    return make


@pytest.fixture
def make_evaluation() -> Callable[..., Evaluation]:
    def make(low: float = 0.4, value: float = 0.5, high: float = 0.6) -> Evaluation:
        return Evaluation(
            accuracy=Figure(value=value, low=low, high=high, n=100),
            top3_accuracy=Figure(value=0.8, low=0.7, high=0.9, n=100),
            macro_recall=0.45,
            log_loss=1.25,
            per_class=(),
            confusion=((30, 20), (30, 20)),
        )

    return make


@pytest.fixture
def machine() -> Machine:
    return Machine(
        system="Linux 6",
        processor="a processor",
        cores=2,
        threads=2,
        device="cpu",
        python="3.11.7",
        packages={"numpy": "2.4.6", "torch": "2.14.1"},
    )


@pytest.fixture
def make_run(recipe: Recipe, machine: Machine, make_evaluation: Callable[..., Evaluation]) -> Callable[..., Run]:
    def make(run_id: str = "a" * 32, **changes: Any) -> Run:
        values: dict[str, Any] = {
            "id": run_id,
            "name": "tiny",
            "status": "finished",
            "started": "2026-11-22T10:00:00+00:00",
            "seconds": 12.0,
            "recipe": recipe,
            "dataset": "d" * 64,
            "origin": "photos/tiny",
            "photos": 10,
            "classes": ("a", "b"),
            "code_version": "0.1.0+g0123456789ab",
            "machine": machine,
            "split": "hold-out, seed 0",
            "validation": "v" * 64,
            "timings": {"decode": 1.0},
            "evaluation": make_evaluation(),
            "bundle": "models/tiny",
            "bundle_hash": "b" * 64,
        }
        return Run(**values | changes)

    return make


@contextmanager
def _disk_of(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def disk_of() -> Callable[[int], AbstractContextManager[None]]:
    """No file may grow beyond so many bytes: the kernel writes a part and then refuses, as a full disk does."""
    return _disk_of
