from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from carspotter.errors import RecipeError
from carspotter.recipe import (
    Recipe,
    load_recipe,
    packaged_recipes,
    recipe_differences,
    recipe_settings,
    validate_recipe,
)

TEXT = """
name = "small"
seed = 7

[split]
share = 0.2

[[stage]]
name = "head"
trains = "head"
epochs = 2
height = 64
width = 96
lr = 0.01

[[stage]]
name = "all"
epochs = 3
height = 64
width = 96
lr = 0.001
[stage.augment]
rotation = 5.0
zoom = [0.9, 1.1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def problems(file: Path, *settings: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as told:
        load_recipe(file, settings)
    return told.value.problems


# ---- reading --------------------------------------------------------------------------------------------------------


def test_stochastic_depth_and_shards_exclude_each_other() -> None:
    assert load_recipe("seed", ["drop_path=0.1"]).drop_path == 0.1
    with pytest.raises(RecipeError, match="set shards = 1"):
        load_recipe("fast", ["drop_path=0.1"])


def test_a_file_becomes_a_typed_recipe(file: Path) -> None:
    recipe = load_recipe(file)
    assert (recipe.name, recipe.seed, recipe.split.share) == ("small", 7, 0.2)
    assert [stage.trains for stage in recipe.stage] == ["head", "all"]
    assert recipe.stage[1].augment.zoom == (0.9, 1.1)
    assert load_recipe(str(file)) == recipe


@pytest.mark.parametrize("name", packaged_recipes())
def test_every_packaged_recipe_is_sound_and_says_what_it_is_for(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name
    assert recipe.about.endswith(".")


def test_the_default_recipe_is_packaged() -> None:
    assert "fast" in packaged_recipes()


def test_a_recipe_is_saved_whole(file: Path) -> None:
    recipe = load_recipe(file)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_is_never_edited(file: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe(file).seed = 1  # type: ignore[misc]


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe 'fastest'; name one of .*fast.*, or a path .*\.toml"):
        load_recipe("fastest")


@pytest.mark.parametrize("name", ["../recipes/fast", "/etc/passwd", ""])
def test_a_path_is_no_packaged_name(name: str) -> None:
    with pytest.raises(RecipeError, match="there is no recipe"):
        load_recipe(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read recipe .*none\.toml"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("data", [b"name = ", b"\xff\xfe", b"[[stage]\n"])
def test_what_is_not_toml_is_named(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    (sentence,) = problems(file)
    assert str(file) in sentence


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"seed = " + b"9" * 5_000, "4300 digits"),
        (b"s = 1e", "not TOML"),
    ],
)
def test_what_the_parser_gives_up_is_named(file: Path, data: bytes, said: str) -> None:
    file.write_bytes(data)
    (sentence,) = problems(file)
    assert sentence.startswith(f"{file} is not TOML: ")
    assert said in sentence


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("stage.².lr=1", "there is no '²'"),
        (f"stage.{'9' * 5_000}.lr=1", "there is no '999"),
        (f"seed={'9' * 5_000}", "exceeded maximum size"),
        (f"seed=0x{'f' * 6_000}", r"\(got a number of thousands of digits\)"),
        (f"seed={'[' * 5_000}", "valid integer"),
    ],
)
def test_a_setting_that_the_parser_gives_up_is_named(file: Path, setting: str, said: str) -> None:
    (sentence,) = problems(file, setting)
    assert re.search(said, sentence)


def test_a_wrong_value_is_shown_as_far_as_one_can_read(file: Path) -> None:
    (sentence,) = problems(file, f"seed={'many' * 1_000}")
    assert len(sentence) < 600


def test_a_name_with_a_nul_is_no_file() -> None:
    with pytest.raises(RecipeError, match="cannot read recipe"):
        load_recipe("a\0.toml")


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", "a\\b", "a\nb"])
def test_a_name_that_would_lead_the_model_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="part of a folder's name"):
        validate_recipe({"name": name, "stage": []}, "here")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("stage.1.augment.zoom=[0.01, 1.0]", r"zoom = \[0.01, 1.0\]: needs low >= 0.1"),
        ("stage.1.augment.brightness=[1.0, inf]", "finite"),
        ("stage.1.augment.zoom=[nan, 1]", "finite"),
        ("stage.0.weight_decay=inf", "finite"),
        ("stage.0.mixup=0.2", r"stage 'head' trains the head on vectors computed once, which mixup cannot mix"),
        ("stage.0.batch=2", "greater than or equal to 4"),
        ("stage.1.name=head", "two stages are called 'head'"),
    ],
)
def test_what_would_fail_or_do_nothing_in_a_training_is_refused_before(file: Path, setting: str, said: str) -> None:
    (sentence,) = problems(file, setting)
    assert re.search(said, sentence)


# ---- settings on top ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("seed=3", "seed", 3),
        ("stage.0.lr=3e-3", "stage.0.lr", 0.003),
        ("stage.1.augment.zoom=[0.5, 2.0]", "stage.1.augment.zoom", [0.5, 2.0]),
        ("stage.1.augment.flip=true", "stage.1.augment.flip", True),
        ("head.hidden = 64", "head.hidden", 64),  # a table that the file does not have
        ("backbone=xception", "backbone", "xception"),  # no quotes needed
        ('about="a = b"', "about", "a = b"),
        ("about=a = b", "about", "a = b"),
    ],
)
def test_a_setting_changes_one_thing(file: Path, setting: str, key: str, value: Any) -> None:
    before, after = load_recipe(file), load_recipe(file, [setting])
    assert recipe_differences(before, after) == {key: (recipe_settings(before)[key], value)}


def test_the_last_setting_wins(file: Path) -> None:
    assert load_recipe(file, ["seed=1", "seed=2"]).seed == 2


def test_every_wrong_setting_is_reported_at_once(file: Path) -> None:
    found = problems(file, "seed", "=3", "stage.2.lr=1", "stage.x.lr=1", "seed.deep=1", "stage.9=1", "seed=1")
    assert [sentence.partition(": ")[2] for sentence in found] == [
        "expected key=value, as in stage.0.lr=3e-3",
        "expected key=value, as in stage.0.lr=3e-3",
        "there is no '2' in 'stage.2.lr' (0..1)",
        "there is no 'x' in 'stage.x.lr' (0..1)",
        "'seed' is a value, not a table",
        "there is no '9' in 'stage.9' (0..1)",
    ]


@hypothesis.settings(deadline=None)
@given(st.text(max_size=40))
def test_no_setting_escapes_as_another_error(setting: str) -> None:
    with suppress(RecipeError):  # anything else fails the test
        load_recipe("fast", [setting])


# ---- faults ---------------------------------------------------------------------------------------------------------


def test_all_faults_are_reported_at_once(file: Path) -> None:
    found = problems(
        file,
        "sede=3",
        "stage.0.lr=0",
        "stage.0.optimiser=adam",
        "stage.1.augment.zoom=[1.1, 0.9]",
        "stage.1.epochs=many",
        "threads=-1",
    )
    said = {sentence.removeprefix(f"{file}: ") for sentence in found}
    assert said == {
        "unknown key 'sede'",
        "unknown key 'stage.0.optimiser'",
        "stage.0.lr: Input should be greater than 0 (got 0)",
        "stage.1.augment: zoom = [1.1, 0.9]: needs 0 < low <= high",
        'stage.1.epochs: Input should be a valid integer, unable to parse string as an integer (got "many")',
        "threads: Input should be greater than or equal to 0 (got -1)",
    }


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"name": "a"}, "'stage' is missing"),
        ({"name": "a", "stage": []}, "stage: Tuple should have at least 1 item after validation, not 0"),
        ({"name": "a", "stage": [{}]}, "'stage.0.name' is missing"),
    ],
)
def test_a_missing_part_is_named(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as told:
        validate_recipe(tree, "here")
    assert f"here: {said}" in told.value.problems


def test_a_fold_must_exist(file: Path) -> None:
    (sentence,) = problems(file, "split.method=folds", "split.folds=3", "split.fold=3")
    assert sentence.endswith("split: fold 3 does not exist among 3 folds (0..2)")


@pytest.mark.parametrize("span", ["[0, 1]", "[-1, 1]", "[2, 1]"])
@pytest.mark.parametrize("field", ["zoom", "brightness"])
def test_a_span_is_positive_and_rising(file: Path, field: str, span: str) -> None:
    (sentence,) = problems(file, f"stage.0.augment.{field}={span}")
    assert "needs 0 < low <= high" in sentence


@pytest.mark.parametrize("waiting", ['keep="best"', "early_stop=3", 'schedule.kind="plateau"'])
def test_nothing_may_wait_for_figures_where_every_photo_trains(file: Path, waiting: str) -> None:
    assert load_recipe(file, [f"stage.0.{waiting}"]).split.method == "holdout"
    with pytest.raises(RecipeError, match="leaves none"):
        load_recipe(file, ["split.method=none", f"stage.0.{waiting}"])


# ---- differences ----------------------------------------------------------------------------------------------------


def test_equal_recipes_do_not_differ(file: Path) -> None:
    assert recipe_differences(load_recipe(file), load_recipe(file)) == {}


def test_a_stage_more_differs_in_all_its_settings(file: Path) -> None:
    two = load_recipe(file)
    one = two.model_copy(update={"stage": two.stage[:1]})
    found = recipe_differences(one, two)
    assert found["stage.1.lr"] == (None, 0.001)
    assert all(key.startswith("stage.1.") and pair[0] is None for key, pair in found.items())
    assert recipe_differences(two, one).keys() == found.keys()


def test_every_setting_has_the_key_that_set_takes(file: Path) -> None:
    recipe = load_recipe(file)
    settings = recipe_settings(recipe)
    for key in ("seed", "split.share", "head.dropout", "stage.0.schedule.kind", "stage.1.augment.zoom"):
        assert key in settings
    again = [f"{key}={_toml(value)}" for key, value in settings.items() if value is not None]
    assert load_recipe(file, again) == recipe


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
