"""What the seed's log says of a training, as a recipe, and what it leaves open."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carspotter.data.wording import brief
from carspotter.errors import RecipeError
from carspotter.recipe import Recipe, validate_recipe
from carspotter.tracking.seed.columns import COLUMNS, LISTS, Row, canonical, number

Settings = dict[str, Any]
"""Dotted key of a recipe → value."""

BACKBONES = {"xception": "legacy_xception"}
"""Keras' network → timm's name of the same architecture; EfficientNets are named by rule."""
OPTIMIZERS = {"adam_amsgrad": "amsgrad"}
"""The log's name → ours, where they differ in more than capitals."""
KERAS_PENALTY = 0.01
"""What Keras makes of the texts `l1` and `l2`."""
HIDDEN = 128
"""Width of the hidden layer of the notebook's head; the log does not say it, but a bias needs a layer."""
PATIENCE = 4
"""Epochs, of the notebook's EarlyStopping; the log names the callback only."""
SEEDS_FACTOR = math.exp(-0.1)
"""Of the notebook's schedule; spreadsheets rounded it in some rows, which must not make two settings of one."""
INVERSE_255 = 1 / 255
"""AUG_RESCALE where the pixels are divided by 255."""
DOUBLE_SCALING = "double 1/255: AUG_RESCALE divided the pixels by 255, and Keras' EfficientNet divides by 255 itself"
"""Said of a row that `scales_twice`."""
OUTCOMES = frozenset({"NUM_EXP", "TIME", "R_EVA_VAL_ACC", "R_EVA_VAL_LOSS", *LISTS})
"""Columns that name a row or tell what came out of it; all others tell how it was trained."""
DIGITS = 6
"""Of a number that is compared: 1/255 stands in the log with two last digits."""
NEEDED = ("AUG_IMG_SIZE", "M_EPOCHS", "C_LR", "M_BASE_TYPE")
"""No training is described without these."""


class Foreign(Exception):
    """A value that a recipe cannot express; the log is right, our recipe is narrower."""


@dataclass(frozen=True, slots=True)
class Told:
    """A row's settings.

    Attributes:
        recipe: with our defaults where the log is silent.
        stated: dotted keys that the log gives; the others are unknown.
        notes: what is odd about the settings, a sentence each.
    """

    recipe: Recipe
    stated: tuple[str, ...]
    notes: tuple[str, ...]


def tell(row: Row, name: str, origin: str) -> Told:
    """The settings of a row.

    Args:
        row: of the log.
        name: for the recipe.
        origin: what stands before a problem, as in `log.csv: line 7`.

    Raises:
        RecipeError: every value that is missing, no value of its column, or out of range.
    """
    settings, faults, notes = _read(row, origin)
    tree = _tree({"name": name, "fit": "stretch", "head.hidden": HIDDEN, "stage.0.name": "as logged", **settings})
    if not faults:
        try:
            recipe = validate_recipe(tree, origin)
        except RecipeError as fault:
            faults.extend(fault.problems)
    if faults:
        raise RecipeError(faults)
    return Told(recipe, tuple(settings), (*notes, *([DOUBLE_SCALING] if scales_twice(row.cells) else [])))


def _read(row: Row, origin: str) -> tuple[Settings, list[str], list[str]]:
    settings: Settings = {}
    faults, notes = [], []
    for column, read in READERS.items():
        text = row.cells[column]
        if not text:
            if column in NEEDED:
                faults.append(f"{origin}: {column} is empty; a training is not described without it")
            continue
        try:
            settings |= read(text)
        except Foreign:
            notes.append(f"{column} = {brief(text)}: a recipe has nothing like it, so that setting stays unknown")
        except ValueError as fault:
            faults.append(f"{origin}: {column} = {brief(text)}: {fault}")
    return settings, faults, notes


def scales_twice(cells: Mapping[str, str]) -> bool:
    """Whether a row's network was shown next to nothing: its pixels divided by 255, and divided again by itself."""
    scale = number(cells.get("AUG_RESCALE", ""))
    by_255 = scale is not None and math.isclose(scale, INVERSE_255, rel_tol=1e-3)
    return by_255 and cells.get("M_BASE_TYPE", "").casefold().startswith("efficientnet")


def beyond_recipes(cells: Mapping[str, str]) -> dict[str, float | str]:
    """What a row says of its training and no recipe can: column → value; `1.0` and `1` are one."""
    found: dict[str, float | str] = {}
    for column in COLUMNS:
        text = cells.get(column, "")
        if text and column not in OUTCOMES and _is_foreign(column, text):
            value = number(text)
            found[column] = text if value is None else float(f"{value:.{DIGITS}g}")
    return found


def keys_of(column: str, rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The keys of a recipe that a column became, however it was typed; none where it is no column, or no recipe has it.

    Args:
        column: of the log.
        rows: cells of some rows.
    """
    name = canonical(column)
    texts = sorted({cells[name] for cells in rows if cells.get(name)})
    said = [READERS[name](text) for text in texts if not _is_foreign(name, text)]
    return tuple(dict.fromkeys(key for settings in said for key in settings))


def _is_foreign(column: str, text: str) -> bool:
    if column not in READERS:
        return True
    try:
        READERS[column](text)
    except (Foreign, ValueError):
        return True
    return False


def _tree(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables from dotted keys; there is one stage."""
    tree: dict[str, Any] = {}
    stage: dict[str, Any] = {}
    for key, value in settings.items():
        inside = key.startswith("stage.0.")
        *path, last = key.removeprefix("stage.0.").split(".")
        spot = stage if inside else tree
        for step in path:
            spot = spot.setdefault(step, {})
        spot[last] = value
    return {**tree, "stage": [stage]}


# ---- one column's text ----------------------------------------------------------------------------------------------


def _number(*keys: str) -> Callable[[str], Settings]:
    def read(text: str) -> Settings:
        value = number(text)
        if value is None:
            raise ValueError("expected a number")
        return dict.fromkeys(keys, value)

    return read


def _whole(*keys: str) -> Callable[[str], Settings]:
    def read(text: str) -> Settings:
        value = number(text)
        if value is None or value != int(value):
            raise ValueError("expected a whole number")
        return dict.fromkeys(keys, int(value))

    return read


def _switch(key: str, default: bool) -> Callable[[str], Settings]:
    """`Default` is Keras' own."""
    values = {"true": True, "false": False, "default": default}

    def read(text: str) -> Settings:
        if text.casefold() not in values:
            raise ValueError("expected True, False or Default")
        return {key: values[text.casefold()]}

    return read


def _factor(text: str) -> Settings:
    factor = _number("stage.0.schedule.factor")(text)
    near = math.isclose(factor["stage.0.schedule.factor"], SEEDS_FACTOR, rel_tol=1e-12)
    return {"stage.0.schedule.factor": SEEDS_FACTOR} if near else factor


def _span(text: str) -> Settings:
    found = re.fullmatch(r"\[\s*([^\s,\]]+)[\s,]+([^\s,\]]+)\s*\]", text)
    values = [number(item) for item in found.groups()] if found else []
    if not values or None in values:
        raise ValueError("expected [low, high]")
    return {"stage.0.augment.brightness": values}


def _backbone(text: str) -> Settings:
    name = text.casefold()
    if found := re.fullmatch(r"efficientnet_?(b\d)", name):
        return {"backbone": f"tf_efficientnet_{found[1]}"}
    return {"backbone": BACKBONES.get(name, name)}


def _optimizer(text: str) -> Settings:
    name = OPTIMIZERS.get(text.casefold(), text.casefold())
    if name not in ("adam", "amsgrad", "adamax", "nadam", "adamw", "sgd"):
        raise Foreign
    return {"stage.0.optimizer": name}


def _penalty(text: str) -> Settings:
    penalties = {"default": (0.0, 0.0), "none": (0.0, 0.0), "l1": (KERAS_PENALTY, 0.0), "l2": (0.0, KERAS_PENALTY)}
    penalties["l1_l2"] = (KERAS_PENALTY, KERAS_PENALTY)
    if text.casefold() not in penalties:
        raise Foreign
    return dict(zip(("head.l1", "head.l2"), penalties[text.casefold()], strict=True))


def _callbacks(text: str) -> Settings:
    """MC ModelCheckpoint, ES EarlyStopping, LRS LearningRateScheduler, T timer."""
    given = set(text.upper().split("_"))
    if given - {"MC", "ES", "LRS", "T"}:
        raise Foreign
    return {
        "stage.0.keep": "best" if given & {"MC", "ES"} else "last",
        "stage.0.early_stop": PATIENCE if "ES" in given else 0,
        "stage.0.schedule.kind": "steps" if "LRS" in given else "constant",
    }


READERS: Mapping[str, Callable[[str], Settings]] = {
    "AUG_ROTATION_RANGE": _number("stage.0.augment.rotation"),
    "AUG_BRIGHTNES_RANGE": _span,
    "AUG_WIDTH_SHIFT_RANGE": _number("stage.0.augment.shift_x"),
    "AUG_HEIGHT_SHIFT_RANGE": _number("stage.0.augment.shift_y"),
    "AUG_HORIZONTAL_FLIP": _switch("stage.0.augment.flip", default=False),
    "AUG_VAL_SPLIT": _number("split.share"),
    "AUG_IMG_SIZE": _whole("stage.0.height", "stage.0.width"),
    "AUG_BATCH_SIZE": _whole("stage.0.batch"),
    "M_BASE_TYPE": _backbone,
    "M_EPOCHS": _whole("stage.0.epochs"),
    "M_CALLBACKS_TYPE": _callbacks,
    "M_EPOCHS_DROP": _whole("stage.0.schedule.every"),
    "M_LR_UPDATE": _factor,
    "H_DROPOUT_RATE": _number("head.dropout"),
    "H_USE_BIAS": _switch("head.hidden_bias", default=True),
    "H_KERNEL_REG": _penalty,
    "H_BATCHNORM": _switch("head.batchnorm", default=False),
    "C_LR": _number("stage.0.lr"),
    "C_OPTIMIZER_TYPE": _optimizer,
}
"""Columns that a recipe has; the others stay in the run as the log wrote them."""
