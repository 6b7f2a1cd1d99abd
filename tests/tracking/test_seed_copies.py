"""Which rows of a log are trainings of their own: planted copies, edits and gaps, in any order of the rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from carspotter.tracking.seed.columns import read_log
from carspotter.tracking.seed.copies import Finding, judge
from helpers.seed_log import Row, copy, edited, training, without_history, write_log


def findings(folder: Path, rows: list[Row]) -> dict[str, Finding]:
    log = read_log(write_log(folder, rows))
    return {row.number: finding for row, finding in zip(log.rows, judge(log.rows), strict=True)}


def test_trainings_of_their_own_have_no_remark(tmp_path: Path) -> None:
    found = findings(tmp_path, [training(number) for number in range(1, 9)])
    assert set(found.values()) == {Finding(distinct=True)}


def test_a_copied_history_points_to_the_earliest_training(tmp_path: Path) -> None:
    first = training(1, day=5)
    found = findings(tmp_path, [copy(first, 7, 9, AUG_ROTATION_RANGE="15.0"), first, training(2)])
    assert found["7"] == Finding(
        distinct=False,
        copy_of="1",
        reason="carries the history of row 1, to the last digit; its own AUG_ROTATION_RANGE left no trace in it",
    )
    assert found["1"].distinct
    assert found["1"].reason.startswith("its history stands also in row 7; this one is the earliest")
    assert found["2"] == Finding(distinct=True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("R_EPOCH_TIME", "401.57118964"),
        ("R_LOSS", "0.6666666666666666"),
        ("R_VAL_LOSS", "0.6666666666666666"),
        ("R_ACC", "0.5555555555555556"),
        ("R_VAL_ACC", "0.5148771021992238"),
        ("R_BATCH_TIME", "9.99999999"),
        ("R_TRAIN_TIME", "1999.12345678"),
    ],
)
def test_one_edited_value_does_not_hide_a_copy(tmp_path: Path, column: str, value: str) -> None:
    first = training(1)
    found = findings(tmp_path, [first, edited(copy(first, 2, 9), column, 0, value)])
    assert (found["1"].distinct, found["2"].distinct, found["2"].copy_of) == (True, False, "1")
    size = {"R_BATCH_TIME": 12, "R_TRAIN_TIME": 1}.get(column, 4)
    assert f"edited: {column} differs in 1 of {size}" in found["2"].reason


def test_one_edited_value_in_every_column_does_not_hide_a_copy(tmp_path: Path) -> None:
    first = training(1)
    second = copy(first, 2, 9, R_TRAIN_TIME="[1999.12345678]")
    for column in ("R_EPOCH_TIME", "R_BATCH_TIME", "R_LOSS", "R_ACC", "R_VAL_LOSS", "R_VAL_ACC"):
        second = edited(second, column, 1, "0.51487711")
    assert findings(tmp_path, [first, second])["2"].copy_of == "1"


def test_every_clock_edited_or_every_loss_edited_is_still_a_copy(tmp_path: Path) -> None:
    first, other = training(1), training(2)
    clocks = {column: other[column] for column in ("R_EPOCH_TIME", "R_BATCH_TIME", "R_TRAIN_TIME")}
    losses = {column: other[column] for column in ("R_LOSS", "R_VAL_LOSS", "R_ACC", "R_VAL_ACC")}
    assert findings(tmp_path / "a", [first, copy(first, 3, 9) | clocks])["3"].copy_of == "1"
    assert findings(tmp_path / "b", [first, copy(first, 3, 9) | losses])["3"].copy_of == "1"


def test_a_copy_of_a_shortened_history_is_found(tmp_path: Path) -> None:
    first = training(1, epochs=6)
    short = training(2, epochs=4)
    for column in ("R_EPOCH_TIME", "R_LOSS", "R_ACC", "R_VAL_LOSS", "R_VAL_ACC"):
        items = first[column].strip("[]").replace(",", " ").split()[:4]
        short[column] = "[" + " ".join(items) + "]"
    found = findings(tmp_path, [short, first])
    assert found["2"].copy_of == "1"
    assert "R_LOSS has 4 values instead of 6" in found["2"].reason


def test_accuracies_that_come_twice_are_no_copy(tmp_path: Path) -> None:
    first, second = training(1), training(2)
    second |= {"R_ACC": first["R_ACC"], "R_VAL_ACC": first["R_VAL_ACC"], "R_EVA_VAL_ACC": first["R_EVA_VAL_ACC"]}
    assert all(finding.distinct for finding in findings(tmp_path, [first, second]).values())


def test_rounded_clocks_are_no_evidence(tmp_path: Path) -> None:
    same = {"R_EPOCH_TIME": "[330. 331. 330. 330.]", "R_TRAIN_TIME": "[1321.]", "R_BATCH_TIME": "[1.2 1.3]"}
    rows = [training(1) | same, training(2) | same]
    assert all(finding.distinct for finding in findings(tmp_path, rows).values())


@pytest.mark.parametrize(
    "contradiction",
    [
        {"M_EPOCHS": "9.0"},  # longer than its history, without early stopping
        {"M_EPOCHS": "3.0"},  # shorter than its history
        {"R_EVA_VAL_ACC": "0.5111111"},  # no epoch had it
    ],
)
def test_the_row_that_contradicts_itself_is_the_copy_even_when_it_is_older(
    tmp_path: Path, contradiction: dict[str, str]
) -> None:
    first = training(5, day=20)
    found = findings(tmp_path, [copy(first, 1, 3) | contradiction, first])
    assert (found["5"].distinct, found["1"].copy_of) == (True, "5")
    assert "this one contradicts itself least" in found["5"].reason


@pytest.mark.parametrize("seconds", ["450.12345678", "250.12345678"])
def test_epochs_that_do_not_fill_the_training_s_time_betray_the_edit(tmp_path: Path, seconds: str) -> None:
    first = training(5, day=20)
    found = findings(tmp_path, [edited(copy(first, 1, 3), "R_EPOCH_TIME", 1, seconds), first])
    assert (found["5"].distinct, found["1"].copy_of) == (True, "5")


def test_a_training_that_stopped_early_does_not_contradict_itself(tmp_path: Path) -> None:
    first = training(5, day=20) | {"M_EPOCHS": "15.0", "M_CALLBACKS_TYPE": "MC_ES_LRS_T"}
    found = findings(tmp_path, [first, copy(first, 6, 3, R_EVA_VAL_ACC="0.5111111", M_EPOCHS="4.0")])
    assert found["6"].copy_of == "5"


def test_the_earlier_date_counts_before_the_smaller_number(tmp_path: Path) -> None:
    first = training(9, day=2)
    found = findings(tmp_path, [copy(first, 3, 9), first])
    assert (found["9"].distinct, found["3"].copy_of) == (True, "9")


def test_copies_of_copies_have_one_origin(tmp_path: Path) -> None:
    first = training(1)
    # The first edit is far from the second one, the row between them is near both.
    near = copy(first, 2, 9) | {"R_LOSS": training(8)["R_LOSS"], "R_VAL_LOSS": training(8)["R_VAL_LOSS"]}
    clocks = {column: training(9)[column] for column in ("R_EPOCH_TIME", "R_BATCH_TIME", "R_TRAIN_TIME")}
    far = copy(near, 3, 10) | clocks
    found = findings(tmp_path, [far, near, first])
    assert (found["2"].copy_of, found["3"].copy_of) == ("1", "1")


def test_a_row_without_a_history_says_so_and_whose_result_it_repeats(tmp_path: Path) -> None:
    first = training(1)
    empty, alone = without_history(copy(first, 2, 9)), without_history(training(3))
    partial = training(4) | {"R_VAL_LOSS": "", "R_VAL_ACC": "[]"}
    found = findings(tmp_path, [first, empty, alone, partial])
    assert found["2"] == Finding(False, "", "has no history; its accuracy is that of row 1 to the last digit")
    assert found["3"] == Finding(False, "", "has no history")
    assert found["4"] == Finding(False, "", "has no whole history (R_VAL_LOSS, R_VAL_ACC empty)")


def test_a_spreadsheet_s_rounding_is_no_edit_of_an_accuracy(tmp_path: Path) -> None:
    first = training(1)
    rounded = f"{float(first['R_EVA_VAL_ACC']):.15g}"
    found = findings(tmp_path, [first, without_history(copy(first, 2, 9, R_EVA_VAL_ACC=rounded))])
    assert found["2"].reason.endswith("row 1 to the last digit")


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [training(number) for number in range(1, 8)]
    rows += [copy(rows[0], 20 + n, 20, C_LR="0.01") for n in range(4)]
    rows += [edited(copy(rows[3], 30 + n, 21), "R_EPOCH_TIME", n % 4, f"41{n}.12345678") for n in range(5)]
    rows += [without_history(copy(rows[2], 40, 22))]
    found = findings(tmp_path / "0", rows)
    assert sum(finding.distinct for finding in found.values()) == 7
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))  # noqa: S311
        assert findings(tmp_path / f"s{seed}", shuffled) == found


@pytest.mark.real
def test_the_seed_s_own_log_holds_19_trainings(shared: Path) -> None:
    """What is known of it from reading: rows 8-18 carry 7's history, 43-47 an edited 36's, 33 32's, 22/26/29 5's."""
    log = read_log(shared / "seed_log")
    found = {row.number: finding for row, finding in zip(log.rows, judge(log.rows), strict=True)}
    assert len(found) == 56
    assert sum(finding.distinct for finding in found.values()) == 19
    known = {**dict.fromkeys(range(8, 19), 7), **dict.fromkeys(range(43, 48), 36), 33: 32}
    known |= dict.fromkeys((22, 26, 29), 5)
    assert {int(number): int(f.copy_of) for number, f in found.items() if f.copy_of} == known
    assert sum(finding.reason.startswith("has no history") for finding in found.values()) == 17
    assert all("edited: R_EPOCH_TIME differs in 1 of 15" in found[str(number)].reason for number in range(43, 48))
