"""What a sweep tries: read, refused, and tried on its recipe before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from carspotter.errors import RecipeError
from carspotter.recipe import load_recipe, recipe_settings
from carspotter.tracking.seed_log import read_seed_log
from carspotter.training.space import Axis, Space, load_space, packaged_spaces

BASE = """
name = "base"
[[stage]]
name = "head"
trains = "head"
epochs = 4
height = 64
width = 64
lr = 1e-2
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a space beside the recipe that it varies."""
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")

    def write(axes: str, head: str = "") -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(f'recipe = "{tmp_path / "base.toml"}"\n{head}\n[axes]\n{axes}\n', encoding="utf-8")
        return path

    return write


def problems_of(path: str | Path, **options: object) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as refused:
        load_space(path, **options)  # type: ignore[arg-type]
    return refused.value.problems


@pytest.mark.parametrize("name", packaged_spaces())
def test_a_packaged_space_fits_its_recipe_and_says_what_it_is_for(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.about
    known = recipe_settings(load_recipe(space.recipe))
    assert {key for axis in space.axes for key in axis.keys} <= set(known)


def test_the_seeds_space_trains_the_head_alone_and_holds_what_its_log_tried() -> None:
    space = load_space("seed")
    values = {axis.key: axis.probes[0] for axis in space.axes}
    assert [stage.trains for stage in space.trial(values).stage if stage.epochs] == ["head"]
    axes = {axis.key: axis for axis in space.axes}
    assert axes["stage.0.height"].also == ("stage.0.width",)
    # C_LR 1e-5 to 1e-3, AUG_ROTATION_RANGE 5, 10, 15, AUG_BRIGHTNES_RANGE, AUG_WIDTH_SHIFT_RANGE, M_EPOCHS_DROP
    assert axes["stage.0.lr"].low <= 1e-5
    assert axes["stage.0.lr"].high >= 1e-3
    assert {"5", "10", "15"} <= set(axes["stage.0.augment.rotation"].choices)
    assert {"[0.5, 1.5]", "[1.0, 1.5]", "[1.0, 2.0]"} <= set(axes["stage.0.augment.brightness"].choices)
    assert {"0.1", "0.15", "0.2"} <= set(axes["stage.0.augment.shift_x"].choices)
    assert {"1", "2", "3"} <= set(axes["stage.0.schedule.every"].choices)
    assert {"adam", "amsgrad"} <= set(axes["stage.0.optimizer"].choices)
    assert axes["head.dropout"].low <= 0.25 <= axes["head.dropout"].high


NOT_TRIED = {
    "backbone": ["legacy_xception", "tf_efficientnet_b0", "tf_efficientnet_b3"],
    "split.share": [0.05, 0.15],
    "stage.0.batch": [12],
    "stage.0.early_stop": [0],
    "stage.0.epochs": [2, 5, 12],
    "stage.0.height": [500, 520],
    "stage.0.schedule.kind": ["constant"],
    "stage.0.width": [500, 520],
}
"""What the head of spaces/seed.toml says that it leaves out of the log."""


@pytest.mark.real
def test_the_seeds_space_holds_its_log_but_for_what_it_says(shared: Path) -> None:
    space = load_space("seed")
    fixed = recipe_settings(load_recipe(space.recipe, space.fixed))
    axes = {key: axis for axis in space.axes for key in axis.keys}
    missed: dict[str, set[object]] = {}
    for run in read_seed_log(shared / "seed_log").runs:
        settings = recipe_settings(run.recipe)
        for key in run.imported.stated if run.imported else ():
            if not (_offers(axes[key], settings[key]) if key in axes else settings[key] == fixed[key]):
                missed.setdefault(key, set()).add(settings[key])
    assert {key: sorted(values) for key, values in missed.items()} == NOT_TRIED


def _offers(axis: Axis, value: Any) -> bool:
    if not axis.choices:
        return axis.low <= value <= axis.high
    return value in [json.loads(choice) if choice[0] in "[0123456789tf" else choice for choice in axis.choices]


def test_spaces_are_part_of_the_package() -> None:
    assert (resources.files("carspotter") / "spaces" / "seed.toml").is_file()
    assert packaged_spaces() == ("default", "seed")


def test_an_axis_becomes_settings_that_the_recipe_takes(written: Callable[[str], Path]) -> None:
    space = load_space(
        written(
            '"stage.0.lr" = { low = 1e-4, high = 1e-1, log = true }\n'
            '"stage.0.height" = { choices = [64, 96], also = ["stage.0.width"] }\n'
            '"stage.0.epochs" = { low = 2, high = 8, step = 2 }\n'
            '"head.activation" = { choices = ["relu", "silu"] }\n'
            '"stage.0.augment.brightness" = { choices = [[0.5, 1.5], [1.0, 1.0]] }\n'
        )
    )
    values = {
        "stage.0.lr": 0.012345678,
        "stage.0.height": "96",
        "stage.0.epochs": 6,
        "head.activation": "silu",
        "stage.0.augment.brightness": "[0.5, 1.5]",
    }
    assert space.settings(values)[:3] == ("stage.0.lr=0.01235", "stage.0.height=96", "stage.0.width=96")
    recipe = space.trial(values)
    stage = recipe.stage[0]
    assert (stage.lr, stage.height, stage.width, stage.epochs) == (0.01235, 96, 96, 6)
    assert (recipe.head.activation, stage.augment.brightness) == ("silu", (0.5, 1.5))


def test_a_rounded_number_stays_within_its_range() -> None:
    axis = Axis("stage.0.lr", low=0.00123444, high=0.00987654)
    assert axis.settings(0.00123444) == ("stage.0.lr=0.00123444",)
    assert axis.settings(0.00987654) == ("stage.0.lr=0.00987654",)


def test_text_that_reads_like_toml_stays_text(written: Callable[[str], Path]) -> None:
    space = load_space(written('"weights" = { choices = ["random", "true"] }'))
    assert space.axes[0].choices == ("random", '"true"')
    assert space.trial({"weights": '"true"'}).weights == "true"


def test_what_is_set_is_not_searched(written: Callable[[str], Path]) -> None:
    path = written(
        '"head.dropout" = { low = 0.0, high = 0.5 }\n'
        '"stage.0.height" = { choices = [64, 96], also = ["stage.0.width"] }\n',
        head='set = ["stage.0.batch=8"]',
    )
    space = load_space(path, settings=["head.dropout=0.3", "stage.0.height=80"])
    assert [axis.keys for axis in space.axes] == [("stage.0.width",)]
    recipe = space.trial({"stage.0.width": "96"})
    assert (recipe.head.dropout, recipe.stage[0].height, recipe.stage[0].width) == (0.3, 80, 96)
    assert recipe.stage[0].batch == 8
    everything = ["head.dropout=0.3", "stage.0.height=80", "stage.0.width=80"]
    assert "nothing is left to search" in problems_of(path, settings=everything)[0]


def test_another_recipe_can_be_varied(written: Callable[[str], Path]) -> None:
    path = written('"head.dropout" = { low = 0.0, high = 0.5 }')
    assert load_space(path, recipe="demo").trial({"head.dropout": 0.1}).name == "demo"


@pytest.mark.parametrize(
    ("key", "decides"),
    [
        ("head.hidden", False),
        ("head.pooling", True),
        ("stage.0.lr", False),
        ("stage.0.schedule.every", False),
        ("stage.10.weight_decay", False),
        ("stage.0.height", True),
        ("stage.0.trains", True),
        ("stage.0.views", True),
        ("stage.0.augment.rotation", True),
        ("backbone", True),
        ("fit", True),
    ],
)
def test_what_decides_the_features_is_told_from_what_comes_after(key: str, decides: bool) -> None:
    assert Axis(key, ("1", "2")).decides_features is decides


def test_every_fault_is_told_at_once(written: Callable[[str], Path]) -> None:
    problems = problems_of(
        written(
            '"a" = 3\n'
            '"b" = { choices = [1] }\n'
            '"c" = { choices = [1, 1] }\n'
            '"d" = { choices = [{ x = 1 }, 2] }\n'
            '"e" = { low = 1 }\n'
            '"f" = { low = 2, high = 1 }\n'
            '"g" = { low = 0.0, high = 1.0, log = true }\n'
            '"h" = { low = 1, high = 4, step = 2 }\n'
            '"i" = { low = 1, high = 4, step = 0.5 }\n'
            '"j" = { low = 1, high = 4, steps = 1 }\n'
            '"k" = { choices = [1, 2], low = 1 }\n'
            '"l" = { low = nan, high = 1.0 }\n'
            '"m" = { choices = [1, 2], also = "n" }\n'
            '"seed" = { choices = [1, 2] }\n'
            '"o" = { choices = [1, 2], also = ["split.fold", "head.bias"] }\n'
            '"head.bias" = { choices = [true, false] }\n'
        )
    )
    said = "\n".join(problems)
    for expected in (
        "axis 'a': must be a table",
        "axis 'b': choices must be two or more",
        "axis 'c': choices must be two or more and all different",
        "axis 'd': choices must be a list of numbers",
        "axis 'e': needs either choices",
        "axis 'f': low = 2 must lie below high = 1",
        "axis 'g': log = true needs low above 0, not 0.0",
        "axis 'h': steps of 2 from low = 1 miss high = 4",
        "axis 'i': step = 0.5 must be a whole number",
        "axis 'j': unknown key 'steps'",
        "axis 'k': has choices, so low means nothing",
        "axis 'l': low, high and step must be numbers",
        "axis 'm': also must be a list of keys",
        "axis 'seed': a sweep must not choose it",
        "axis 'split.fold': a sweep must not choose it",
        "'head.bias' is decided by two axes",
    ):
        assert expected in said
    assert any(problem.endswith("unknown key 'o'") for problem in problems)


def test_an_axis_of_luck_hides_no_other_fault(written: Callable[[str], Path]) -> None:
    luck, unknown = '"seed" = { choices = [1, 2] }', '"stage.0.nope" = { low = 0.1, high = 0.2 }'
    axes = "\n".join((luck, unknown, '"head.dropout" = { low = 0, high = 9 }'))
    said = "\n".join(problems_of(written(axes, head="hold = 0\nodd = 1")))
    for expected in (
        "axis 'seed': a sweep must not",
        "stage.0.nope",
        "head.dropout=9",
        "hold = 0",
        "unknown key 'odd'",
    ):
        assert expected in said


def test_faults_outside_the_axes(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text('recipe = 3\nset = "x"\nhold = 0\naxis = 1\n', encoding="utf-8")
    said = "\n".join(problems_of(path))
    for expected in (
        "unknown key 'axis'",
        "recipe must be text",
        "set must be a list",
        "hold = 0",
        "nothing to search",
    ):
        assert expected in said
    path.write_text("axes = [", encoding="utf-8")
    assert "is not TOML" in problems_of(path)[0]
    assert "name one of default, seed" in problems_of("nonsense")[0]
    assert "cannot read space" in problems_of(tmp_path / "absent.toml")[0]


def test_values_that_the_recipe_refuses_are_all_told_before_a_trial(written: Callable[[str], Path]) -> None:
    problems = problems_of(
        written(
            '"stage.0.lrr" = { low = 0.1, high = 0.2 }\n'
            '"stage.3.lr" = { low = 0.1, high = 0.2 }\n'
            '"stage.0.lr" = { low = 1.0, high = 20.0 }\n'
            '"head.pooling" = { choices = ["avg", "median"] }\n'
            '"stage.0.epochs" = { low = 1.0, high = 3.0 }\n'
            '"head.dropout" = { low = 0.0, high = 0.5 }\n'
        )
    )
    said = "\n".join(problems)
    assert "stage.0.lrr=0.1: recipe" in said or "unknown key 'stage.0.lrr'" in said
    assert "there is no '3' in 'stage.3.lr' (0..0)" in said
    assert "stage.0.lr=20.0" in said
    assert "less than or equal to 10" in said
    assert "head.pooling=median" in said
    assert "stage.0.epochs=2.1" in said  # a whole number between two whole ends
    assert "head.dropout" not in said
    assert all("mine.toml: " in problem for problem in problems)


def test_a_fault_of_the_base_recipe_is_told_once(written: Callable[[str], Path]) -> None:
    path = written('"head.dropout" = { low = 0.0, high = 0.5 }', head='set = ["stage.0.lr=-1"]')
    assert len(problems_of(path)) == 1


def test_settings_come_in_the_order_of_the_axes() -> None:
    space = Space("s", "", "fast", (), (Axis("b", ("1", "2")), Axis("a", ("3", "4"))))
    assert space.settings({"a": "3", "b": "2"}) == ("b=2", "a=3")


def test_trials_need_photos_to_be_judged_by() -> None:
    with pytest.raises(RecipeError, match="no photos to judge trials by"):
        load_space("default", settings=["split.method=none"])
