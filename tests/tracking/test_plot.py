from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carspotter.errors import TrackingError
from carspotter.records import EpochRecord, Run
from carspotter.tracking.plot import clock, draw_plot, pareto_front

BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


@pytest.fixture
def learned(make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord]) -> Callable[..., Run]:
    """The n-th run, with a history of two stages."""

    def make(n: int, **changes: Any) -> Run:
        history = tuple(
            make_epoch(e, stage="head" if e < 3 else "all", seconds=60.0, val_accuracy=(n + e) / 20, val_loss=3 - n / 9)
            for e in range(6)
        )
        return make_run(f"{n:032x}", **{"bundle_hash": str(n), "history": history, "timings": {}} | changes)

    return make


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def count(path: Path, colour: tuple[int, int, int]) -> int:
    """Pixels of exactly this colour."""
    return int((pixels(path) == colour).all(axis=2).sum())


def near(path: Path, colour: tuple[int, int, int], above: int) -> int:
    """Pixels of about this colour below that row, as the edges of thin lines have it."""
    return int((np.abs(pixels(path)[above:].astype(int) - colour).max(axis=2) < 50).sum())


# ---- time and front -------------------------------------------------------------------------------------------------


def test_the_clock_counts_what_stands_between_the_epochs(learned: Callable[..., Run]) -> None:
    assert clock(learned(1)) == (1, 2, 3, 4, 5, 6)
    timings = {"scan": 30.0, "stage head": 300.0, "stage all": 240.0, "export": 99.0}
    assert clock(learned(1, timings=timings)) == (3.5, 4.5, 5.5, 7.5, 8.5, 9.5)
    assert clock(learned(1, timings={"stage head": 1.0})) == (1, 2, 3, 4, 5, 6)  # clocks disagree by a little
    assert clock(learned(1, history=())) == ()


def test_the_front_holds_what_no_other_beats() -> None:
    points = [(5.0, 0.6), (1.0, 0.5), (3.0, 0.4), (2.0, 0.5), (5.0, 0.7), (9.0, 0.7), (4.0, 0.55)]
    assert pareto_front(points) == (1, 6, 4)
    assert pareto_front([]) == ()


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_curves_above_and_all_runs_below(learned: Callable[..., Run], tmp_path: Path) -> None:
    runs = [learned(n, seconds=60.0 * (n + 1)) for n in range(4)]
    assert draw_plot(runs[:2], runs, tmp_path / "a.png") == ()
    assert pixels(tmp_path / "a.png").shape == (1200, 1440, 3)
    assert count(tmp_path / "a.png", BLUE) > 500
    assert count(tmp_path / "a.png", VERMILLION) > 500


def test_without_ids_the_newest_are_drawn(learned: Callable[..., Run], tmp_path: Path) -> None:
    runs = [learned(n) for n in range(12)]
    draw_plot([], runs, tmp_path / "a.png")
    draw_plot(runs[:7], runs, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_not_in_the_picture_is_said(learned: Callable[..., Run], tmp_path: Path) -> None:
    named = [learned(1), learned(2, history=())]
    others = [learned(3, validation="w" * 64), learned(4, excluded="copied")]
    assert draw_plot(named, [*named, *others], tmp_path / "a.png") == (
        "without an epoch, so without a curve: 00000000",
        "not in the lower panel: runs on other validation photos (1)",
        "left out: 1 run marked as no training of its own",
    )


def test_only_curves_where_no_run_has_a_figure(learned: Callable[..., Run], tmp_path: Path) -> None:
    run = learned(1, status="running", evaluation=None)
    draw_plot([], [run], tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").shape == (660, 1440, 3)


def test_runs_with_outside_photos_have_hollow_marks(learned: Callable[..., Run], tmp_path: Path) -> None:
    runs = [learned(1), learned(2, seconds=600.0, extra=("x",))]
    draw_plot(runs, runs, tmp_path / "a.png")
    mixed = [runs[0], runs[1].model_copy(update={"extra": ()})]
    draw_plot(mixed, mixed, tmp_path / "b.png")
    hollow, filled = (near(tmp_path / name, VERMILLION, above=650) for name in ("a.png", "b.png"))
    assert 0 < hollow < filled


def test_long_and_short_runs_share_a_picture(learned: Callable[..., Run], tmp_path: Path) -> None:
    runs = [learned(n, seconds=seconds) for n, seconds in enumerate((20.0, 300.0, 4_000.0))]
    draw_plot([], [*runs, learned(9, seconds=None)], tmp_path / "a.png")
    assert count(tmp_path / "a.png", BLUE) > 500


def test_any_name_is_drawn(learned: Callable[..., Run], tmp_path: Path) -> None:
    run = learned(1, name="$x_{$ 汽车", split="$y_{$")
    history = tuple(record.model_copy(update={"stage": "$z_{$", "val_loss": None}) for record in run.history)
    draw_plot([], [run.model_copy(update={"history": history})], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_what_cannot_be_drawn_is_said(learned: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no run has finished an epoch"):
        draw_plot([], [learned(1, history=())], tmp_path / "a.png")
    runs = [learned(n) for n in range(8)]
    with pytest.raises(TrackingError, match="8 runs in one picture cannot be told apart; name 7 or fewer"):
        draw_plot(runs, runs, tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"cannot write .*file"):
        draw_plot([], runs, tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
