"""Made logs of the seed's layout: trainings with the precision of real clocks and losses, and planted faults."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

HEADER = (
    *("NUM_EXP", "AUG_ROTATION_RANGE", "AUG_BRIGHTNES_RANGE", "AUG_WIDTH_SHIFT_RANGE", "AUG_HEIGHT_SHIFT_RANGE"),
    *("AUG_HORIZONTAL_FLIP", "AUG_RESCALE", "AUG_VAL_SPLIT", "AUG_IMG_SIZE", "AUG_BATCH_SIZE", "AUG_TYPE"),
    *("M_BASE_TYPE", "H_DROPOUT_RATE", "C_LR", "\u0421_OPTIMIZER_TYPE", "C_LOSS_TYPE", "M_EPOCHS", "M_CALLBACKS_TYPE"),
    *("M_EPOCHS_DROP", "M_LR_UPDATE", "R_EVA_VAL_ACC", "R_EVA_VAL_LOSS", "R_EPOCH_TIME", "R_BATCH_TIME"),
    *("R_TRAIN_TIME", "R_LOSS", "R_ACC", "R_VAL_LOSS", "R_VAL_ACC", "TIME", "H_USE_BIAS", "H_KERNEL_REG", "H_BATHNORM"),
)
"""With the Cyrillic letter and the typing error."""
OPTIMIZER = HEADER[14]
PHOTOS = 773
Row = dict[str, str]


def training(number: int, *, epochs: int = 4, day: int | None = None, **cells: str) -> Row:
    """A row with a history of its own: seeded by its number, clocks that agree, accuracies counted on 773 photos."""
    rng = random.Random(number)  # noqa: S311
    times = [rng.uniform(320, 340) for _ in range(epochs)]
    right = sorted(rng.sample(range(500, 740), epochs))
    row = dict.fromkeys(HEADER, "")
    row |= {
        "NUM_EXP": f"{number}.0",
        "AUG_ROTATION_RANGE": "5.0",
        "AUG_BRIGHTNES_RANGE": "[0.5, 1.5]",
        "AUG_WIDTH_SHIFT_RANGE": "0.1",
        "AUG_HEIGHT_SHIFT_RANGE": "0.15",
        "AUG_HORIZONTAL_FLIP": "True",
        "AUG_RESCALE": "1.0",
        "AUG_VAL_SPLIT": "0.05",
        "AUG_IMG_SIZE": "224.0",
        "AUG_BATCH_SIZE": "64.0",
        "AUG_TYPE": "ImageDataGenerator",
        "M_BASE_TYPE": "Xception",
        "H_DROPOUT_RATE": "0.25",
        "C_LR": "1E-04",
        OPTIMIZER: "Adam_amsgrad",
        "C_LOSS_TYPE": "categorical_crossentropy",
        "M_EPOCHS": f"{epochs}.0",
        "M_CALLBACKS_TYPE": "MC_LRS_T",
        "M_EPOCHS_DROP": "2.0",
        "M_LR_UPDATE": "0.9048374180359595",
        "R_EVA_VAL_ACC": repr(right[-1] / PHOTOS),
        "R_EPOCH_TIME": "[" + " ".join(f"{seconds:.8f}" for seconds in times) + "]",
        "R_BATCH_TIME": "[" + " ".join(f"{rng.uniform(1.2, 1.4):.8f}" for _ in range(3 * epochs)) + "]",
        "R_TRAIN_TIME": f"[{sum(times) + 0.02 * epochs:.8f}]",
        "R_LOSS": printed(rng.uniform(0.05, 1.0) for _ in range(epochs)),
        "R_ACC": printed(rng.uniform(0.7, 0.99) for _ in range(epochs)),
        "R_VAL_LOSS": printed(rng.uniform(0.2, 1.0) for _ in range(epochs)),
        "R_VAL_ACC": printed(count / PHOTOS for count in right),
        "TIME": f"202012{day or number:02}__10_30",
        "H_USE_BIAS": "False",
        "H_KERNEL_REG": "l2",
        "H_BATHNORM": "True",
    }
    return row | cells


def printed(values: object) -> str:
    """As Python prints a list."""
    return repr([round(value, 16) for value in values])  # type: ignore[attr-defined]


def copy(row: Row, number: int, day: int, **cells: str) -> Row:
    """The same history under another number."""
    return row | {"NUM_EXP": f"{number}.0", "TIME": f"202012{day:02}__11_00"} | cells


def without_history(row: Row) -> Row:
    lists = ("R_EPOCH_TIME", "R_BATCH_TIME", "R_TRAIN_TIME", "R_LOSS", "R_ACC", "R_VAL_LOSS", "R_VAL_ACC")
    return row | dict.fromkeys(lists, "")


def edited(row: Row, column: str, place: int, value: str) -> Row:
    """One value of a list cell changed by hand."""
    comma = "," in row[column]
    items = row[column].strip("[]").replace(",", " ").split()
    items[place] = value
    return row | {column: "[" + (", " if comma else " ").join(items) + "]"}


def write_log(
    folder: Path, rows: Sequence[Row], *, header: Sequence[str] = HEADER, about: Mapping[str, str] | None = None
) -> Path:
    """The folder of a log: the table and its descriptions."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([row.get(column, "") for column in header] for row in rows)
    texts = {OPTIMIZER: "Компиляция модели. Тип оптимайзера", "C_LR": "Шаг обучения модели", "H_BATHNORM": ""}
    texts = dict(about) if about is not None else texts | {"H_BATCHNORM": "Использование BatchNormalization"}
    (folder / "descriptions.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    return folder
