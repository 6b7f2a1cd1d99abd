"""The range test suggests what a made curve calls for, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.training.test_resume import RECIPE

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.errors import EXIT_UNUSABLE, RecipeError
from carspotter.recipe import Stage
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training import lr_finder
from carspotter.training.lr_finder import RangeTest, evened, find_rate, smoothed, suggestion

pytestmark = pytest.mark.usefixtures("runs_db")


RATES = np.geomspace(1e-6, 1.0, 100)


def range_test(losses: np.ndarray) -> RangeTest:
    return RangeTest(1, "all", RATES, losses)


def noisy(losses: np.ndarray, spread: float, seed: int = 0) -> np.ndarray:
    return losses + np.random.default_rng(seed).normal(0, spread, len(losses))


def bowl() -> np.ndarray:
    """Flat until 1e-4, falling evenly until 1e-2, then rising: the middle of the fall is 1e-3."""
    at = np.log10(RATES)
    return np.where(at < -4, 2.0, np.where(at <= -2, 2.0 - 0.5 * (at + 4), 1.0 + 2 * (at + 2)))


def head() -> np.ndarray:
    """A fresh head: the loss falls with the sum of all rates so far, so on this scale late and all at once.

    It crawls down from the first step on, a millionth at a time, and is lowest at 1e-1, where it turns.
    """
    done = np.minimum(np.cumsum(RATES) / np.cumsum(RATES)[np.searchsorted(RATES, 0.1)], 1.0)
    return 2.3 - 0.8 * done + 3 * np.maximum(0, np.log10(RATES / 0.2))


def test_the_suggestion_lies_in_the_middle_of_the_fall() -> None:
    fall = range_test(bowl()).fall
    assert fall is not None
    assert 5e-4 < fall.middle < 1.5e-3
    assert 5e-5 < fall.begin < 3e-4
    assert 3e-3 < fall.end < 1.5e-2
    assert fall.begin <= fall.steepest <= fall.end


@pytest.mark.parametrize("seed", range(5))
def test_a_head_that_hardly_moves_at_first_gets_a_rate_near_its_steepest(seed: int) -> None:
    """The longest run of ever lower losses has its middle two decades below."""
    fall = range_test(noisy(head(), 0.01, seed)).fall
    assert fall is not None
    assert 1e-2 < fall.middle < 6e-2
    assert fall.middle < fall.steepest < 1.2e-1
    assert longest_run_middle(head()) < 1e-3


def longest_run_middle(losses: np.ndarray) -> float:
    """What fastai's valley says of a curve whose losses fall from the first step to the lowest one."""
    return float(RATES[int(np.argmin(losses)) // 2])


@pytest.mark.parametrize("seed", range(5))
def test_batches_that_differ_move_the_suggestion_little(seed: int) -> None:
    fall = range_test(noisy(bowl(), 0.15, seed)).fall
    assert fall is not None
    assert 3e-4 < fall.middle < 2e-3


def test_a_loss_that_blows_up_at_the_end_does_not_count() -> None:
    exploded = bowl()
    exploded[-3:] = (50.0, 900.0, 1e4)
    calm, wild = range_test(bowl()).fall, range_test(exploded).fall
    assert calm is not None
    assert wild is not None
    assert wild.middle == pytest.approx(calm.middle, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_a_flat_curve_suggests_nothing(seed: int) -> None:
    flat = range_test(noisy(np.full(100, 2.3), 0.3, seed))
    assert flat.fall is None
    assert suggestion(flat, Stage(name="all", epochs=1, height=64, width=64, lr=1e-2)) == ()
    assert range_test(noisy(2.3 - 0.05 * np.linspace(0, 1, 100), 0.001, seed)).fall is None  # real, but next to nothing
    assert range_test(np.linspace(2.3, 9.0, 100)).fall is None


def test_a_second_rate_keeps_its_proportion() -> None:
    stage = Stage(name="all", epochs=1, height=64, width=64, lr=1e-2, backbone_lr=1e-3)
    lr, backbone = (float(text.partition("=")[2]) for text in suggestion(range_test(bowl()), stage))
    assert backbone == pytest.approx(lr / 10, rel=0.1)


def test_a_straight_line_is_evened_out_to_itself() -> None:
    line = 3.0 - 0.2 * np.log10(RATES)
    assert evened(RATES, line) == pytest.approx(line)
    assert np.abs(evened(RATES, noisy(line, 0.1)) - line).std() < 0.05


def test_an_even_loss_is_smoothed_to_itself() -> None:
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)


def test_nothing_is_kept_and_a_wrong_stage_is_named(lot: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "STEPS", 12)
    first, second = (find_rate(lot, RECIPE) for _ in range(2))
    assert (first.stage, first.name, len(first.rates)) == (0, "head", 12)
    assert np.array_equal(first.losses, second.losses)
    assert open_store().list() == ()
    with pytest.raises(RecipeError, match=r"--stage 7: recipe t trains the stages 0 \(head\), 1 \(half\), 2 \(all\)"):
        find_rate(lot, RECIPE, stage=7)


def test_the_command_draws_and_names_the_setting(
    lot: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two colours, a head alone: a real curve that falls."""
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    (tmp_path / "tiny.toml").write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    words = ["lr", str(tmp_path / "lot"), "--recipe", str(tmp_path / "tiny.toml")]
    assert main([*words, "-o", str(tmp_path / "lr.gif")]) == EXIT_UNUSABLE
    assert main([*words, "-o", str(tmp_path / "lr.png")]) == 0
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    setting = re.search(r"settings  --set stage\.0\.lr=(\S+)", said)
    assert setting is not None, said
    assert 1e-4 < float(setting[1]) < 0.5


def test_a_stage_too_short_to_learn_is_told_to_be_flat(
    lot: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_finder, "STEPS", 12)
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e-5)
    (tmp_path / "tiny.toml").write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    assert (
        main(["lr", str(tmp_path / "lot"), "--recipe", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "l.png")]) == 0
    )
    said = capsys.readouterr()
    assert "fall      none: the loss began at" in said.out
    assert "--set" not in said.out
    assert "suggests no rate" in said.err
