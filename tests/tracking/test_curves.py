from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.errors import TrackingError
from carspotter.records import EpochRecord, Run
from carspotter.tracking.curves import draw_curves

BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


@pytest.fixture
def history(make_epoch: Callable[..., EpochRecord]) -> tuple[EpochRecord, ...]:
    return tuple(make_epoch(n, stage="head" if n < 3 else "all") for n in range(8))


def count(path: Path, colour: tuple[int, int, int]) -> int:
    """Pixels of exactly this colour."""
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(axis=2).sum())


def test_a_colour_per_run(tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    first = make_run(history=history)
    lower = tuple(record.model_copy(update={"val_loss": 0.3, "train_loss": 0.1}) for record in history)
    draw_curves([first], one)
    draw_curves([first, make_run("b" * 32, history=lower)], two)
    with Image.open(two) as picture:
        assert (picture.format, picture.size) == ("PNG", (1440, 600))
    assert count(one, BLUE) > 500
    assert count(one, VERMILLION) == 0
    assert count(two, VERMILLION) > 500


def test_the_first_epoch_of_a_stage_has_a_ring(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]
) -> None:
    """One in each panel, below the stages' names, and only where the stage changes."""
    merged = tuple(record.model_copy(update={"stage": "head"}) for record in history)
    pictures = []
    for name, records in (("two", history), ("one", merged)):
        draw_curves([make_run(history=records)], tmp_path / f"{name}.png")
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"), dtype=int))
    changed = (np.abs(pictures[0] - pictures[1]) > 20)[100:]
    columns = np.flatnonzero(changed.any(axis=0))
    assert {int(column) // 720 for column in columns} == {0, 1}
    assert len(columns) < 30


def test_equal_runs_give_equal_pictures(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]
) -> None:
    for name in ("a", "b"):
        draw_curves([make_run(history=history)], tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["$x_{$", "ВАЗ 2109", "汽车", "a" * 80, "<b>&amp;"])
def test_any_name_is_drawn(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...], name: str
) -> None:
    stage = tuple(record.model_copy(update={"stage": name}) for record in history)
    draw_curves([make_run(name=name, history=stage)], tmp_path / "a.png")
    assert count(tmp_path / "a.png", BLUE) > 500


def test_runs_without_validation_or_with_a_burst_loss_are_drawn(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]
) -> None:
    odd = tuple(
        record.model_copy(update={"val_loss": None, "val_accuracy": None, "train_loss": loss})
        for record, loss in zip(history, (2.0, float("nan"), float("inf"), 1.0, 1.0, 1.0, 1.0, 1.0), strict=True)
    )
    draw_curves([make_run(history=odd), make_run("b" * 32), make_run("c" * 32, history=odd[:1])], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_many_epochs_and_stages_are_drawn(
    tmp_path: Path, make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord]
) -> None:
    history = tuple(make_epoch(n, stage=f"stage {n // 20}") for n in range(200))
    draw_curves([make_run(str(n) * 32, history=history) for n in range(7)], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_nothing_to_draw_is_said(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    with pytest.raises(TrackingError, match="no run has finished an epoch"):
        draw_curves([make_run()], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_more_runs_than_colours_are_refused(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]
) -> None:
    with pytest.raises(TrackingError, match="8 runs in one picture cannot be told apart; name 7 or fewer"):
        draw_curves([make_run(f"{n:032d}", history=history) for n in range(8)], tmp_path / "a.png")


def test_an_impossible_file_is_named_and_nothing_is_left(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...]
) -> None:
    run = make_run(history=history)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"cannot write .*file/a\.png: .*; choose another place"):
        draw_curves([run], tmp_path / "file" / "a.png")
    with pytest.raises(TrackingError, match=r"cannot write .*folder\.png"):
        draw_curves([run], tmp_path / "folder.png")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.png", "file"}


def test_drawing_leaves_no_global_state(
    tmp_path: Path, make_run: Callable[..., Run], history: tuple[EpochRecord, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    draw_curves([make_run(history=history)], tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
