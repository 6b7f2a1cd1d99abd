"""What a process tells about the trial that it trains."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from carspotter.data.scan import Scan
from carspotter.data.source import read_source
from carspotter.errors import TrainingStopped
from carspotter.recipe import Recipe, load_recipe
from carspotter.records import EpochRecord
from carspotter.tracking.runs import open_store
from carspotter.training.look import look
from carspotter.training.trial import Looking, Milestone, Order, Outcome, _outcome, _Teller
from helpers.colours import RECIPE, write_colours

TWO_STAGES = """
name = "two"
[[stage]]
name = "a"
epochs = 20
height = 64
width = 64
lr = 1e-2
[[stage]]
name = "b"
epochs = 4
height = 64
width = 64
lr = 1e-2
"""


@pytest.fixture
def looked(tmp_path: Path) -> Scan:
    return look(read_source(write_colours(tmp_path / "lot")))


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


def recipe(tmp_path: Path, text: str = RECIPE, *settings: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, settings)


def heard(ours: Connection) -> list[object]:
    """Everything said so far."""
    said = []
    while ours.poll():
        said.append(ours.recv())
    return said


def epoch(stage: str, number: int, loss: float | None = 1.0) -> EpochRecord:
    accuracy = None if loss is None else 0.5
    return EpochRecord(
        stage=stage,
        epoch=number,
        lr=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=loss,
        val_accuracy=accuracy,
        seconds=1.0,
    )


def test_milestones_mean_the_same_share_of_a_stage_whatever_its_epochs(
    tmp_path: Path, ends: tuple[Connection, Connection]
) -> None:
    ours, theirs = ends
    teller = _Teller(theirs, Order(recipe(tmp_path, TWO_STAGES), frozenset({"a", "b"})))
    for _ in range(30):
        ours.send(False)
    for stage, epochs in (("a", 20), ("b", 4)):
        for number in range(epochs):
            teller.watch(epoch(stage, number))
    steps = [said.step for said in heard(ours) if isinstance(said, Milestone)]
    # Twenty epochs: each tenth once, from the third; four: a half and three quarters; never a stage's end.
    assert steps == [3, 4, 5, 6, 7, 8, 9, 15, 17]


def test_only_judged_stages_with_held_out_photos_are_told(tmp_path: Path, ends: tuple[Connection, Connection]) -> None:
    ours, theirs = ends
    teller = _Teller(theirs, Order(recipe(tmp_path, TWO_STAGES), frozenset({"b"})))
    for number in range(20):
        teller.watch(epoch("a", number))
    for number in range(4):
        teller.watch(epoch("b", number, None))
    assert heard(ours) == []


def test_a_trial_that_is_given_up_stops_there(tmp_path: Path, ends: tuple[Connection, Connection]) -> None:
    ours, theirs = ends
    teller = _Teller(theirs, Order(recipe(tmp_path, TWO_STAGES), frozenset({"b"})))
    ours.send(True)
    teller.watch(epoch("b", 0))
    with pytest.raises(TrainingStopped, match="pruned after epoch 2 of 4 in stage b: most other trials were better"):
        teller.watch(epoch("b", 1))


def test_who_is_left_alone_ends_as_if_terminated(tmp_path: Path, ends: tuple[Connection, Connection]) -> None:
    ours, theirs = ends
    teller = _Teller(theirs, Order(recipe(tmp_path, TWO_STAGES), frozenset({"b"})))
    ours.close()
    with pytest.raises(SystemExit) as left:
        teller.watch(epoch("b", 1))
    assert left.value.code == 143


@pytest.mark.usefixtures("runs_db")
def test_a_trial_is_a_run_and_tells_its_figures(
    tmp_path: Path, looked: Scan, ends: tuple[Connection, Connection]
) -> None:
    ours, theirs = ends
    order = Order(recipe(tmp_path), frozenset())
    first = _outcome(theirs, looked, order)
    assert any(isinstance(said, Looking) for said in heard(ours))
    second = _outcome(theirs, looked, order)
    assert heard(ours) == []
    assert (first.end, first.stored, second.stored) == ("finished", False, True)
    run = open_store().get(first.figures["run"])
    assert run.status == "finished"
    assert run.evaluation is not None
    assert first.figures["log_loss"] == run.evaluation.log_loss == second.figures["log_loss"]
    assert first.figures["accuracy"] == run.evaluation.accuracy.value
    assert first.figures["photos"] == 6
    assert first.seconds > 0


@pytest.mark.usefixtures("runs_db")
def test_a_trial_that_stops_or_cannot_go_on_says_how(
    tmp_path: Path, looked: Scan, ends: tuple[Connection, Connection]
) -> None:
    ours, theirs = ends
    ours.send(True)
    pruned = _outcome(theirs, looked, Order(recipe(tmp_path), frozenset({"head"})))
    assert (pruned.end, pruned.problems[0][:20]) == ("pruned", "pruned after epoch 3")
    endless = recipe(tmp_path, RECIPE, "stage.0.lr=10", "stage.0.optimizer=sgd", "head.l2=1e30")
    diverged = _outcome(theirs, looked, Order(endless, frozenset()))
    assert (diverged.end, "the loss became" in diverged.problems[0]) == ("diverged", True)
    unknown = recipe(tmp_path, RECIPE, "stage.0.trains=block99")
    refused = _outcome(theirs, looked, Order(unknown, frozenset()))
    assert (refused.end, "block99" in refused.problems[0]) == ("refused", True)
    states = sorted((run.status, (run.error or "").partition(":")[0]) for run in open_store().list())
    assert states == [("failed", "BackboneError"), ("failed", "TrainingError"), ("failed", "TrainingStopped")]


@pytest.mark.usefixtures("runs_db")
def test_our_own_fault_comes_with_its_traceback(
    tmp_path: Path, looked: Scan, ends: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("carspotter.training.train.train", broken)
    outcome: Outcome = _outcome(ends[1], looked, Order(recipe(tmp_path), frozenset()))
    assert outcome.end == "fault"
    assert "Traceback" in outcome.problems[0]
    assert outcome.problems[0].endswith("ZeroDivisionError: planted\n")
