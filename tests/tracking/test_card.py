from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from carspotter.recipe import load_recipe, packaged_recipes, recipe_settings
from carspotter.records import EpochRecord, Run
from carspotter.tracking.card import GROUPS, card, describe
from carspotter.tracking.seed_log import read_seed_log
from helpers.seed_log import training, write_log


def test_every_setting_is_shown_once_with_its_description(
    make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord]
) -> None:
    run = make_run(history=(make_epoch(0), make_epoch(1)), timings={"head": 3.5}, notes=("odd",), error="stopped")
    entries = card(run)
    assert {entry.group for entry in entries} == set(GROUPS)
    settings = {key for key, value in recipe_settings(run.recipe).items() if value != ""}
    shown = [entry.key for entry in entries]
    assert settings <= set(shown)
    assert all(shown.count(key) == 1 for key in settings - {"threads"})
    assert [entry.key for entry in entries if not entry.about] == []
    assert [GROUPS.index(entry.group) for entry in entries] == sorted(GROUPS.index(entry.group) for entry in entries)


@pytest.mark.parametrize("name", packaged_recipes())
def test_every_setting_of_every_recipe_has_a_description(name: str) -> None:
    assert [key for key in recipe_settings(load_recipe(name)) if not describe(key)] == []


@pytest.mark.parametrize(
    ("key", "group"),
    [
        ("stage.1.height", "data"),
        ("split.share", "data"),
        ("frame", "data"),
        ("light", "data"),
        ("pseudo_weight", "data"),
        ("stage.0.augment.rotation", "augmentation"),
        ("stage.0.mixup", "augmentation"),
        ("backbone", "model"),
        ("stage.0.trains", "model"),
        ("head.dropout", "head"),
        ("stage.1.lr", "optimisation"),
        ("stage.1.schedule.kind", "optimisation"),
        ("accuracy", "result"),
        ("recall of a", "result"),
        ("epoch of head", "time"),
        ("decode", "time"),
        ("processor", "machine"),
    ],
)
def test_a_line_stands_where_one_looks_for_it(
    make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord], key: str, group: str
) -> None:
    from carspotter.records import ClassFigures

    run = make_run(history=(make_epoch(0),))
    assert run.evaluation is not None
    figures = ClassFigures(label="a", photos=4, precision=None, recall=0.5)
    run = run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"per_class": (figures,)})})
    assert [entry.group for entry in card(run) if entry.key == key] == [group]


def test_an_imported_run_shows_what_its_log_says_and_nothing_of_ours(tmp_path: Path) -> None:
    (run,) = read_seed_log(write_log(tmp_path, [training(3)])).runs
    entries = {entry.key: entry for entry in card(run)}
    assert entries["C_OPTIMIZER_TYPE"].about == "Компиляция модели. Тип оптимайзера"
    assert entries["C_OPTIMIZER_TYPE"].group == "optimisation"
    assert (entries["H_BATCHNORM"].group, entries["AUG_TYPE"].group) == ("head", "augmentation")
    assert entries["stage.0.optimizer"].value == "amsgrad"
    assert not {"stage.0.mixup", "seed", "threads", "processor", "photos"} & entries.keys()
    assert "on 773 photos" in entries["accuracy"].value


def test_a_figure_without_photos_says_so(tmp_path: Path) -> None:
    # Two epochs: too few accuracies to tell the number of photos.
    (run,) = read_seed_log(write_log(tmp_path, [training(3, epochs=2)])).runs
    (accuracy,) = [entry.value for entry in card(run) if entry.key == "accuracy"]
    assert accuracy.endswith(", on how many photos is not known")
