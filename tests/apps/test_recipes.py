"""Recipes are listed, and printed as TOML that reads back."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.recipe import Recipe, load_recipe, packaged_recipes


def test_ls_names_every_packaged_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "ls"]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert tuple(names) == packaged_recipes()
    assert "fast" in names


@pytest.mark.parametrize("name", packaged_recipes())
def test_what_show_prints_reads_back_to_the_same_recipe(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "show", name]) == 0
    copy = tmp_path / "copy.toml"
    copy.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe(copy) == load_recipe(name)


def test_text_with_any_character_reads_back(tmp_path: Path) -> None:
    odd = load_recipe("fast").model_copy(update={"about": '\x7f\x00\x1f\u2028"\\ü'})
    (tmp_path / "odd.toml").write_text("\n".join(toml_lines(odd)), encoding="utf-8")
    assert load_recipe(tmp_path / "odd.toml") == odd


def test_every_setting_has_its_sentence() -> None:
    lines = list(toml_lines(load_recipe("fast")))
    for name, field in Recipe.model_fields.items():
        if name not in ("split", "head", "stage"):
            assert f"# {field.description}" in lines
    assert "# weights = (not set)" in lines
    assert sum(line == "[[stage]]" for line in lines) == len(load_recipe("fast").stage)


def test_an_unknown_recipe_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "fats"]) == 2
    error = capsys.readouterr().err
    assert "'fats'" in error
    assert "fast" in error
