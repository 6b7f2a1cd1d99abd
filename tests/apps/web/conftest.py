"""A browser and a server for the tests of a module, with a model, findings and runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from carspotter.recipe import Recipe, Stage
from carspotter.records import EpochRecord, Evaluation, Figure, Machine, Run
from carspotter.tracking.runs import open_store
from helpers.absent import absent
from helpers.browsing import served
from helpers.tiny import colour_photo, write_remembering_bundle

FINDINGS = """\
id,kind,score,is_issue,why,suggestion
red/2.png,label_error,0.01,1,others say blue,blue
red/1.png,near_duplicate,0.2,1,as blue/3.png,blue/3.png
blue/3.png,dark,0.3,0,not so dark,
red,class_overlap,0.3,1,overlaps,blue
"""
MORE = ("bright", "blurry", "tiny", "odd_aspect", "outlier")
"""Of each photo, so that there are two pages of findings."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("no Chromium: apt-get install chromium", "CARSPOTTER_REQUIRE_SERVERS")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders `set`, a model `tiny` that they trained, and findings about them."""
    place = tmp_path_factory.mktemp("day")
    photos = {"red/1.png": (250, 0, 0), "red/2.png": (0, 0, 250), "blue/3.png": (0, 0, 240)}
    for name, colour in photos.items():
        (place / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / name).write_bytes(colour_photo(*colour))
    write_remembering_bundle(place / "tiny", place / "set")
    more = "".join(f"{name},{kind},0.4,1,as drawn,\n" for kind in MORE for name in photos)
    (place / "findings.csv").write_text(FINDINGS + more)
    return place


@pytest.fixture(scope="module")
def runs(place: Path) -> str:
    """The address of a store with two small runs."""
    uri = f"sqlite:///{place / 'runs.db'}"
    open_store(uri).adopt(_run(letter, right) for letter, right in (("a", 0.9), ("b", 0.6)))
    return uri


def _run(letter: str, right: float) -> Run:
    figure = Figure(value=right, low=right - 0.1, high=right + 0.1, n=100)
    stage = Stage(name="head", trains="head", epochs=2, height=64, width=96, lr=0.01)
    epochs = [
        EpochRecord(
            stage="head",
            epoch=at,
            lr=0.01,
            train_loss=2 / (at + 1),
            train_accuracy=right,
            val_loss=2 / (at + 1),
            val_accuracy=right,
            seconds=1.0,
        )
        for at in range(2)
    ]
    return Run(
        id=letter * 32,
        name=f"run-{letter}",
        status="finished",
        started="2026-11-22T10:00:00+00:00",
        seconds=12.0,
        recipe=Recipe(name="tiny", stage=(stage,)),
        dataset="d" * 64,
        origin="photos/tiny",
        photos=10,
        classes=("a", "b"),
        code_version="0.1.0",
        machine=Machine(
            system="Linux 6", processor="a processor", cores=2, threads=2, device="cpu", python="3.11.7", packages={}
        ),
        split="hold-out, seed 0",
        validation="v" * 64,
        timings={},
        history=tuple(epochs),
        evaluation=Evaluation(
            accuracy=figure,
            top3_accuracy=figure,
            macro_recall=right,
            log_loss=1.0,
            per_class=(),
            confusion=((30, 20), (30, 20)),
        ),
        bundle="models/tiny",
        bundle_hash=letter * 64,
    )


@pytest.fixture(scope="module")
def url(place: Path, runs: str) -> Iterator[str]:
    options = {
        "--workers": "1",
        "--findings": str(place / "findings.csv"),
        "--photos": str(place / "set"),
        "--decisions": str(place / "decisions.csv"),
        "--who": "the manager",
        "--runs": runs,
    }
    with served(str(place / "tiny"), *(word for pair in options.items() for word in pair)) as found:
        yield found.url
