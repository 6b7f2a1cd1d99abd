"""The seed's log as runs: columns, settings, histories, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from carspotter.data.table import write_table
from carspotter.errors import SourceError
from carspotter.records import Run
from carspotter.tracking.runs import RunStore
from carspotter.tracking.seed.columns import canonical
from carspotter.tracking.seed.counts import photos_behind
from carspotter.tracking.seed_log import REPORT_COLUMNS, import_seed_log, read_seed_log
from helpers.seed_log import HEADER, OPTIMIZER, Row, copy, edited, training, without_history, write_log


@pytest.fixture
def read_one(tmp_path: Path) -> Callable[..., Run]:
    def read(**cells: str) -> Run:
        (run,) = read_seed_log(write_log(tmp_path / "log", [training(3) | cells])).runs
        return run

    return read


# ---- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("С_OPTIMIZER_TYPE", "C_OPTIMIZER_TYPE"),  # Cyrillic С
        ("Μ_ЕРОСНЅ", "M_EPOCHS"),  # Greek Μ, Cyrillic letters
        ("H_BATHNORM", "H_BATCHNORM"),
        ("Н_ВАТНNORM", "H_BATCHNORM"),  # both at once
        (" r_loss ", "R_LOSS"),
        ("Ｍ_EPOCHS", "M_EPOCHS"),  # full width
    ],
)
def test_a_column_is_known_however_it_was_typed(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_columns_in_any_order_are_the_same_runs(tmp_path: Path) -> None:
    rows = [training(1), training(2)]
    plain = [column.replace("С", "C").replace("BATHNORM", "BATCHNORM") for column in HEADER]
    renamed: list[Row] = [dict(zip(plain, (row[column] for column in HEADER), strict=True)) for row in rows]
    first = read_seed_log(write_log(tmp_path / "a", rows))
    other = read_seed_log(write_log(tmp_path / "b", renamed, header=sorted(plain)))
    assert [run.id for run in first.runs] == [run.id for run in other.runs]


def test_a_column_typed_both_ways_is_one(tmp_path: Path, read_one: Callable[..., Run]) -> None:
    header = (*HEADER, "H_BATCHNORM")
    row = training(1) | {"H_BATHNORM": "", "H_BATCHNORM": "True"}
    (run,) = read_seed_log(write_log(tmp_path / "a", [row], header=header)).runs
    assert run.recipe.head.batchnorm
    with pytest.raises(SourceError, match=r"line 2 gives H_BATCHNORM twice, False and True"):
        read_seed_log(write_log(tmp_path / "b", [row | {"H_BATHNORM": "False"}], header=header))


def test_descriptions_are_kept(read_one: Callable[..., Run]) -> None:
    imported = read_one().imported
    assert imported is not None
    assert imported.descriptions["C_OPTIMIZER_TYPE"] == "Компиляция модели. Тип оптимайзера"
    assert imported.descriptions["H_BATCHNORM"] == "Использование BatchNormalization"


# ---- settings -------------------------------------------------------------------------------------------------------


def test_every_setting_is_mapped(read_one: Callable[..., Run]) -> None:
    run = read_one(M_CALLBACKS_TYPE="MC_ES_LRS_T", M_BASE_TYPE="EfficientNetB3")
    recipe, (stage,) = run.recipe, run.recipe.stage
    assert (recipe.backbone, recipe.split.share) == ("tf_efficientnet_b3", 0.05)
    head = recipe.head
    assert (head.dropout, head.hidden_bias, head.batchnorm, head.l1, head.l2) == (0.25, False, True, 0, 0.01)
    assert (stage.height, stage.width, stage.batch, stage.epochs) == (224, 224, 64, 4)
    assert (stage.optimizer, stage.lr, stage.keep, stage.early_stop) == ("amsgrad", 1e-4, "best", 4)
    augment, schedule = stage.augment, stage.schedule
    assert (augment.rotation, augment.brightness, augment.flip) == (5, (0.5, 1.5), True)
    assert (augment.shift_x, augment.shift_y) == (0.1, 0.15)
    assert (schedule.kind, schedule.every, schedule.factor) == ("steps", 2, math.exp(-0.1))
    assert run.imported is not None
    assert {"backbone", "head.l2", "stage.0.optimizer"} < set(run.imported.stated)
    assert not {"seed", "stage.0.trains", "stage.0.mixup"} & set(run.imported.stated)
    assert run.imported.cells["AUG_TYPE"] == "ImageDataGenerator"
    assert run.notes == ()


def test_an_empty_setting_is_left_open(read_one: Callable[..., Run]) -> None:
    run = read_one(**{OPTIMIZER: "", "H_KERNEL_REG": "Default", "H_USE_BIAS": "Default"})
    assert run.imported is not None
    assert "stage.0.optimizer" not in run.imported.stated
    assert "head.l2" in run.imported.stated
    assert (run.recipe.head.l2, run.recipe.head.hidden_bias) == (0, True)  # Keras' own defaults


def test_what_a_recipe_cannot_say_is_noted(read_one: Callable[..., Run]) -> None:
    run = read_one(**{OPTIMIZER: "RMSprop"})
    assert run.notes == ("C_OPTIMIZER_TYPE = RMSprop: a recipe has nothing like it, so that setting stays unknown",)
    assert run.imported is not None
    assert "stage.0.optimizer" not in run.imported.stated


@pytest.mark.parametrize(
    ("backbone", "scale", "twice"),
    [
        ("EfficientNetB3", "0.00392156862745098", True),
        ("EfficientNetB3", "1.0", False),
        ("Xception", "0.00392156862745098", False),
    ],
)
def test_the_double_1_255_is_recognised(read_one: Callable[..., Run], backbone: str, scale: str, twice: bool) -> None:
    notes = read_one(M_BASE_TYPE=backbone, AUG_RESCALE=scale).notes
    assert any(note.startswith("double 1/255") for note in notes) == twice


# ---- history and figures --------------------------------------------------------------------------------------------


def test_epochs_and_times_are_kept(read_one: Callable[..., Run]) -> None:
    run, row = read_one(), training(3)
    times = [float(text) for text in row["R_EPOCH_TIME"].strip("[]").split()]
    assert [record.seconds for record in run.history] == times
    assert [len(record.batch_seconds) for record in run.history] == [3, 3, 3, 3]
    assert run.seconds == pytest.approx(sum(times) + 0.08)
    assert run.started == "2020-12-03T10:30:00+00:00"
    u = math.exp(-0.1)
    assert [record.lr for record in run.history] == pytest.approx([1e-4, 1e-4 * u, 1e-4 * u, 1e-4 * u**2])
    assert run.history[1].val_accuracy == eval(row["R_VAL_ACC"])[1]  # noqa: S307 - our own list


def test_abbreviated_batch_times_are_no_batch_times(read_one: Callable[..., Run]) -> None:
    run = read_one(R_BATCH_TIME="[9.94578028 0.75633478 1.27589822 ... 1.29897475 1.64117527\n 1.32639432]")
    assert {record.batch_seconds for record in run.history} == {()}
    assert run.notes == ("numpy printed only the first and last of its batch times",)


def test_the_accuracy_has_the_interval_of_its_photos(read_one: Callable[..., Run]) -> None:
    accuracy = read_one().accuracy
    assert accuracy is not None
    assert accuracy.n == 773
    assert accuracy.low < accuracy.value < accuracy.high
    assert accuracy.high - accuracy.low < 0.06


def test_an_accuracy_that_no_count_gives_is_noted(read_one: Callable[..., Run]) -> None:
    run = read_one(R_EVA_VAL_ACC="0.8314723793640146")
    assert run.notes == ("R_EVA_VAL_ACC is no whole count of the 773 validation photos: it was not measured on them",)
    assert run.accuracy is not None
    assert run.accuracy.value == 0.8314723793640146


def test_no_accuracy_is_none(read_one: Callable[..., Run]) -> None:
    assert read_one(R_EVA_VAL_ACC="").accuracy is None


@pytest.mark.parametrize("photos", [773, 2329, 3109])
def test_photos_are_found_from_float32_accuracies(photos: int) -> None:
    import numpy as np

    counts = np.array([0.71, 0.83, 0.9, 0.95]) * photos
    accuracies = (counts.astype(int).astype(np.float32) / np.float32(photos)).astype(np.float32)
    assert photos_behind(accuracies.astype(float).tolist()) == photos
    assert photos_behind(accuracies.astype(float).tolist()[:2]) is None
    assert photos_behind([0.123456789, 0.2345678901, 0.345678]) is None


# ---- refused --------------------------------------------------------------------------------------------------------


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    rows = [
        training(1) | {"R_LOSS": "[0.5, 0.4"},
        training(2) | {"R_ACC": "[0.5 0.x 0.7 0.8]", "C_LR": "fast"},
        training(3) | {"R_VAL_ACC": "[0.5, 0.6]"},
        training(3),
        training(4) | {"TIME": "yesterday", "AUG_BRIGHTNES_RANGE": "[1.5]"},
        training(5) | {"C_LR": ""},
        training(6) | {"M_EPOCHS": "2.5", "R_EVA_VAL_ACC": "93"},
        training(7) | {"C_LR": "-1", "NUM_EXP": ""},
        training(8) | {"R_LOSS": "[nan, nan, nan, nan]"},
    ]
    with pytest.raises(SourceError) as told:
        read_seed_log(write_log(tmp_path, rows))
    for part in (
        "line 2: R_LOSS is '[0.5, 0.4', a list without its brackets",
        "line 3: R_ACC holds '0.x'",
        "line 4: a history needs one value per epoch in each column, got R_EPOCH_TIME 4, R_LOSS 4",
        "lines 4 and 5 are both NUM_EXP 3",
        "line 9 has no NUM_EXP",
        "line 10: R_LOSS holds 'nan'",
    ):
        assert part in str(told.value)
    assert all("\n" not in problem for problem in told.value.problems)


def test_settings_that_are_none_are_said_at_once(tmp_path: Path) -> None:
    rows = [
        training(1) | {"C_LR": "fast"},
        training(2) | {"TIME": "yesterday", "AUG_BRIGHTNES_RANGE": "[1.5]"},
        training(3) | {"C_LR": ""},
        training(4) | {"M_EPOCHS": "2.5", "R_EVA_VAL_ACC": "93"},
        training(5) | {"C_LR": "-1"},
    ]
    with pytest.raises(SourceError) as told:
        read_seed_log(write_log(tmp_path, rows))
    for part in (
        "line 2: C_LR = fast: expected a number",
        "line 3: TIME = 'yesterday', expected a moment as in 20201209__19_23",
        "line 3: AUG_BRIGHTNES_RANGE = [1.5]: expected [low, high]",
        "line 4: C_LR is empty",
        "line 5: M_EPOCHS = 2.5: expected a whole number",
        "line 5: R_EVA_VAL_ACC = '93', expected a share",
        "line 6: stage.0.lr: Input should be greater than 0",
    ):
        assert part in str(told.value)


def test_other_columns_are_named(tmp_path: Path) -> None:
    header = [column for column in HEADER if column != "R_LOSS"] + ["WEATHER"]
    with pytest.raises(SourceError) as told:
        read_seed_log(write_log(tmp_path, [training(1)], header=header))
    lacking, strange = told.value.problems
    assert "lacks R_LOSS; expected the columns of the seed's log" in lacking
    assert "columns of unknown meaning, WEATHER" in strange


def test_a_place_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds 0 CSV tables"):
        read_seed_log(tmp_path)
    with pytest.raises(SourceError, match=r"cannot read .*nowhere"):
        read_seed_log(tmp_path / "nowhere")
    folder = write_log(tmp_path / "a", [training(1)])
    (folder / "descriptions.json").unlink()
    with pytest.raises(SourceError, match=r"descriptions\.json.*put it beside the table"):
        read_seed_log(folder)
    (folder / "descriptions.json").write_text("[1]")
    with pytest.raises(SourceError, match="is not a JSON object of texts"):
        read_seed_log(folder)
    (folder / "descriptions.json").write_text("{")
    with pytest.raises(SourceError, match="is not JSON"):
        read_seed_log(folder)


def test_the_table_itself_may_be_named(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [training(1)])
    (folder / "report.csv").write_text("a second table")
    with pytest.raises(SourceError, match=r"holds 2 CSV tables \(report\.csv, results\.csv\)"):
        read_seed_log(folder)
    assert len(read_seed_log(folder / "results.csv").runs) == 1


# ---- into the store -------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    first = training(1)
    rows = [first, training(2), edited(copy(first, 3, 9, C_LR="0.01"), "R_EPOCH_TIME", 2, "301.12345678")]
    return write_log(tmp_path / "log", [*rows, without_history(copy(first, 4, 10))])


def test_every_row_becomes_a_run_and_a_second_import_adds_nothing(store: RunStore, log: Path) -> None:
    found = read_seed_log(log)
    added = import_seed_log(store, found)
    assert {run.id for run in store.list()} == {run.id for run in found.runs}
    assert sorted(store.list(), key=lambda run: run.id) == sorted(found.runs, key=lambda run: run.id)
    assert added == found.runs
    assert [bool(run.excluded) for run in found.runs] == [False, False, True, True]
    assert found.runs[2].excluded.startswith("row 3 carries the history of row 1, edited: R_EPOCH_TIME differs")
    journals = {run.id: (store.folder(run.id) / "journal.jsonl").read_bytes() for run in added}
    assert import_seed_log(store, read_seed_log(log)) == ()
    assert {run_id: (store.folder(run_id) / "journal.jsonl").read_bytes() for run_id in journals} == journals
    assert len(store.list()) == 4


def test_new_rows_of_a_longer_log_are_added(store: RunStore, log: Path, tmp_path: Path) -> None:
    import_seed_log(store, read_seed_log(log))
    rows = [training(7), training(2)]  # one is known, wherever it stands now
    added = import_seed_log(store, read_seed_log(write_log(tmp_path / "later", rows)))
    assert [run.name for run in added] == ["seed log 7"]


def test_the_report_has_one_row_per_row(log: Path, tmp_path: Path) -> None:
    found = read_seed_log(log)
    write_table(tmp_path / "report.csv", REPORT_COLUMNS, found.report())
    lines = (tmp_path / "report.csv").read_text().splitlines()
    assert lines[0] == "NUM_EXP,distinct,copy_of,reason"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["1", "true", ""],
        ["2", "true", ""],
        ["3", "false", "1"],
        ["4", "false", ""],
    ]
    assert str(found) == (
        "4 rows: 2 trainings of their own, 1 copy of another row's history, 1 without a whole history"
    )


@pytest.mark.real
def test_the_seed_s_own_log_becomes_runs(shared: Path) -> None:
    found = read_seed_log(shared / "seed_log")
    runs = {run.name.removeprefix("seed log "): run for run in found.runs}
    assert len(runs) == 56
    assert sum(not run.excluded for run in runs.values()) == 19
    assert {number for number, run in runs.items() if any("double 1/255" in note for note in run.notes)} == {"3", "4"}
    best = runs["56"]
    assert best.accuracy is not None
    assert (round(best.accuracy.value, 4), best.accuracy.n) == (0.9741, 773)
    assert (best.recipe.stage[0].height, best.recipe.stage[0].batch, len(best.history)) == (520, 12, 12)
    assert all(run.imported and len(run.imported.descriptions) == 33 for run in runs.values())
    assert len(runs["1"].history[0].batch_seconds) == 195
