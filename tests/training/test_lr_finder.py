"""The range test suggests what a made curve calls for, and leaves nothing behind."""

from __future__ import annotations

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
from carspotter.training.lr_finder import RangeTest, find_rate, longest_fall, smoothed, suggestion

pytestmark = pytest.mark.usefixtures("runs_db")


def bowl() -> RangeTest:
    """Flat until 1e-4, falling evenly until 1e-2, then rising."""
    rates = np.geomspace(1e-6, 1.0, 61)
    at = np.log10(rates)
    losses = np.where(at < -4, 2.0, np.where(at <= -2, 2.0 - 0.5 * (at + 4), 1.0 + 2 * (at + 2)))
    return RangeTest(1, "all", rates, losses, losses)


def test_the_suggestion_lies_in_the_middle_of_the_fall() -> None:
    test = bowl()
    assert 3e-4 < test.valley < 3e-3
    assert 1e-4 <= test.steepest <= 1e-2
    assert test.lowest == pytest.approx(1e-2)
    assert test.is_clear
    flat = np.full(61, 2.0)
    assert not RangeTest(1, "all", test.rates, flat, flat).is_clear


def test_a_second_rate_keeps_its_proportion() -> None:
    stage = Stage(name="all", epochs=1, height=64, width=64, lr=1e-2, backbone_lr=1e-3)
    lr, backbone = (float(text.partition("=")[2]) for text in suggestion(bowl(), stage))
    assert backbone == pytest.approx(lr / 10, rel=0.1)


def test_the_longest_fall_passes_over_bumps() -> None:
    assert longest_fall(np.array([5, 9, 4, 4.5, 3, 2, 6.0])) == [1, 3, 4, 5]
    assert len(longest_fall(np.array([1.0, 2.0, 3.0]))) == 1


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
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    (tmp_path / "tiny.toml").write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    words = ["lr", str(tmp_path / "lot"), "--recipe", str(tmp_path / "tiny.toml"), "--stage", "2"]
    assert main([*words, "-o", str(tmp_path / "lr.gif")]) == EXIT_UNUSABLE
    assert main([*words, "-o", str(tmp_path / "lr.png")]) == 0
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    assert "settings  --set stage.2.lr=" in capsys.readouterr().out
