"""A space says which settings of a recipe a sweep tries, and within which bounds: TOML in, one typed object.

recipe = "fast"                      # what is varied
set = ["stage.2.epochs=0"]           # what is changed in it for every trial
hold = 4                             # trials that share one drawing of the axes that decide the photos' features

[axes]                               # by the keys of `--set`
"head.hidden" = { choices = [0, 128, 256] }
"head.dropout" = { low = 0.0, high = 0.5 }
"stage.0.lr" = { low = 1e-4, high = 1e-2, log = true }
"stage.0.height" = { choices = [160, 224], also = ["stage.0.width"] }      # both get the one value
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from carspotter.errors import RecipeError
from carspotter.recipe import Recipe, load_recipe

LUCK = re.compile(r"(seed|split|name|about|threads)(\.|$)")
"""Settings that no sweep may choose: a seed or a split that looks best is luck, the others decide nothing."""
AFTER_FEATURES = re.compile(r"head\.(?!pooling$)|stage\.\d+\.(?!(height|width|trains|views|augment)(\.|$))")
"""Settings that come into play behind a frozen backbone; all others decide what its features are."""
PLAIN = re.compile(r"[A-Za-z_][\w.-]*")
DIGITS = 4
"""Of a drawn number: a rate of 0.001234 says what 0.0012340981 does, and can be read and typed (assumption)."""
SPACE_KEYS = frozenset({"about", "recipe", "set", "hold", "axes"})
AXIS_KEYS = frozenset({"choices", "low", "high", "log", "step", "also"})

Value = str | int | float
"""A drawn value: a number of a range, or a choice as TOML text."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting that is searched.

    Attributes:
        key: dotted, as `--set` names it.
        choices: as TOML texts; empty for a range.
        low: least value of a range.
        high: largest value, included.
        log: drawn evenly on a logarithmic scale.
        step: between values; None: any.
        also: keys that get the same value.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    also: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All settings that it decides."""
        return (self.key, *self.also)

    @property
    def whole(self) -> bool:
        """A range of integers."""
        return not self.choices and isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def decides_features(self) -> bool:
        """A trial with another value cannot read the features of a frozen backbone that an earlier one stored."""
        return any(AFTER_FEATURES.match(key) is None for key in self.keys)

    def settings(self, value: Value) -> tuple[str, ...]:
        """`--set` texts of a value."""
        if isinstance(value, float) and not self.choices:
            value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        text = value if self.choices else json.dumps(value)
        return tuple(f"{key}={text}" for key in self.keys)

    @property
    def probes(self) -> tuple[Value, ...]:
        """Values that the recipe must accept, so that no trial is refused hours later."""
        if self.choices:
            return self.choices
        if self.step:
            return self.low, self.low + self.step, self.high
        inside = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return self.low, int(inside) if self.whole else inside + (self.high - inside) * 0.1, self.high


@dataclass(frozen=True, slots=True)
class Space:
    """What a sweep tries.

    Attributes:
        name: of the packaged space, or the file's without its ending.
        about: one sentence.
        recipe: name or path of what is varied.
        fixed: `--set` texts for every trial.
        axes: what is searched.
        hold: trials that share one drawing of the axes that decide features.
    """

    name: str
    about: str
    recipe: str
    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    hold: int = 1

    def settings(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """`--set` texts of a trial, in the order of the axes."""
        return tuple(text for axis in self.axes for text in axis.settings(values[axis.key]))

    def trial(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe of a trial.

        Raises:
            RecipeError: values that are sound one by one do not go together, or nothing would be left to judge by.
        """
        return _judgeable(load_recipe(self.recipe, [*self.fixed, *self.settings(values)]))


def packaged_spaces() -> tuple[str, ...]:
    """Names of the spaces that ship with the package."""
    folder = resources.files("carspotter") / "spaces"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_space(name: str | Path, *, recipe: str | None = None, settings: Sequence[str] = ()) -> Space:
    """Read a packaged space by name, or a TOML file by path; every value it names is tried on its recipe.

    Args:
        name: `seed`, `default`, or a path that ends in `.toml`.
        recipe: varied instead of the space's own.
        settings: `key=value` as in `--set`; what is set is not searched.

    Raises:
        RecipeError: every fault at once: not found, not TOML, unknown keys, values that the recipe refuses.
    """
    text, origin = _space_text(name)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise RecipeError(f"{origin} is not TOML: {fault}") from None
    told = _outline_faults(tree)
    axes = _axes(tree["axes"], told) if isinstance(tree.get("axes"), dict) else []
    faults = [f"{origin}: {fault}" for fault in told]
    varied, fixed = recipe or tree.get("recipe", "fast"), tree.get("set", [])
    if not axes or not isinstance(varied, str) or not _texts(fixed):  # no recipe could tell more
        raise RecipeError(faults)
    space = Space(
        name=Path(name).stem,
        about=tree.get("about", ""),
        recipe=varied,
        fixed=(*fixed, *settings),
        axes=_searched(tuple(axes), settings, origin),
        hold=tree.get("hold", 1),
    )
    faults += _value_faults(space, origin)
    if faults:
        raise RecipeError(list(dict.fromkeys(faults)))
    return space


def _space_text(name: str | Path) -> tuple[str, str]:
    path = Path(name)
    try:
        if path.suffix == ".toml":
            return path.read_text(encoding="utf-8"), str(path)
        if str(name) in packaged_spaces():
            packaged = resources.files("carspotter") / "spaces" / f"{name}.toml"
            return packaged.read_text(encoding="utf-8"), f"space {name}"
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"cannot read space {name}: {fault}") from None
    known = ", ".join(packaged_spaces())
    raise RecipeError(f"there is no space {str(name)!r}; name one of {known}, or a path that ends in .toml")


def _outline_faults(tree: dict[str, Any]) -> list[str]:
    """What is wrong outside the axes."""
    faults = [f"unknown key {key!r}; expected {', '.join(sorted(SPACE_KEYS))}" for key in tree.keys() - SPACE_KEYS]
    faults += [f"{key} must be text" for key in ("about", "recipe") if not isinstance(tree.get(key, ""), str)]
    if not _texts(tree.get("set", [])):
        faults.append("set must be a list of texts as in --set, such as ['stage.1.epochs=0']")
    hold = tree.get("hold", 1)
    if type(hold) is not int or hold < 1:
        faults.append(f"hold = {hold!r}: a number of trials, 1 or more")
    axes = tree.get("axes")
    if not isinstance(axes, dict) or not axes:
        faults.append(
            'there is nothing to search; add [axes] with lines like "stage.0.lr" = { low = 1e-4, high = 1e-2 }'
        )
    return faults


def _axes(tables: dict[str, Any], faults: list[str]) -> list[Axis]:
    """The sound axes; what is wrong with the others joins `faults`."""
    axes: list[Axis] = []
    for key, table in tables.items():
        wrong = _axis_faults(table)
        faults += [f"axis {key!r}: {fault}" for fault in wrong]
        if not wrong:
            also = tuple(table.get("also", ()))
            choices = tuple(_toml(choice) for choice in table.get("choices", ()))
            ends = {name: table[name] for name in ("low", "high", "log", "step") if name in table}
            axes.append(Axis(key, choices, also=also, **ends))
    decided = [key for axis in axes for key in axis.keys]
    faults += [
        f"{key!r} is decided by two axes; leave one" for key in sorted({k for k in decided if decided.count(k) > 1})
    ]
    faults += [
        f"axis {key!r}: a sweep must not choose it, what looks best would be luck" for key in decided if LUCK.match(key)
    ]
    return axes


def _axis_faults(table: Any) -> list[str]:
    if not isinstance(table, dict):
        return [
            "must be a table: a key with a dot in it needs quotes, and { choices = [...] } or { low = …, high = … }"
        ]
    faults = [f"unknown key {key!r}; expected {', '.join(sorted(AXIS_KEYS))}" for key in table.keys() - AXIS_KEYS]
    if not _texts(table.get("also", [])):
        faults.append("also must be a list of keys")
    if "choices" in table:
        return faults + _choice_faults(table)
    if not {"low", "high"} <= table.keys():
        return [*faults, "needs either choices = [...], or both low and high"]
    return faults + _range_faults(table)


def _choice_faults(table: dict[str, Any]) -> list[str]:
    choices = table["choices"]
    faults = [f"has choices, so {key} means nothing" for key in ("low", "high", "log", "step") if key in table]
    if not isinstance(choices, list) or any(_is_odd(choice) for choice in choices):
        return [*faults, "choices must be a list of numbers, texts, true, false, or lists of them"]
    if len({json.dumps(choice) for choice in choices}) < max(2, len(choices)):
        faults.append("choices must be two or more and all different; a single value belongs into set")
    return faults


def _is_odd(choice: Any) -> bool:
    if isinstance(choice, list):
        return any(_is_odd(part) for part in choice)
    return not isinstance(choice, str | int | float) or (isinstance(choice, float) and not math.isfinite(choice))


def _toml(choice: Any) -> str:
    """As one writes it after `--set KEY=`: a word needs no quotes there."""
    if isinstance(choice, str) and PLAIN.fullmatch(choice) and choice not in {"true", "false", "inf", "nan"}:
        return choice
    return json.dumps(choice, ensure_ascii=False)


def _range_faults(table: dict[str, Any]) -> list[str]:
    low, high, step, log = table["low"], table["high"], table.get("step"), table.get("log", False)
    numbers = [low, high] if step is None else [low, high, step]
    if any(type(number) not in {int, float} or not math.isfinite(number) for number in numbers):
        return ["low, high and step must be numbers"]
    whole = isinstance(low, int) and isinstance(high, int)
    rules = (
        (low < high, f"low = {low} must lie below high = {high}"),
        (isinstance(log, bool), f"log = {log!r}: expected true or false"),
        (log is not True or low > 0, f"log = true needs low above 0, not {low}"),
        (log is not True or step is None, "log = true and step exclude each other"),
        (step is None or step > 0, f"step = {step} must be above 0"),
        (
            step is None or not whole or isinstance(step, int),
            f"step = {step} must be a whole number, as low and high are",
        ),
        (
            step is None or step <= 0 or _reaches(high - low, step),
            f"steps of {step} from low = {low} miss high = {high}",
        ),
    )
    return [sentence for sound, sentence in rules if not sound]


def _reaches(length: float, step: float) -> bool:
    return math.isclose(length / step, round(length / step), abs_tol=1e-9)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _searched(axes: tuple[Axis, ...], settings: Sequence[str], origin: str) -> tuple[Axis, ...]:
    """The axes without those that `--set` fixes."""
    given = {setting.partition("=")[0].strip() for setting in settings}
    left = tuple(
        replace(axis, key=keys[0], also=keys[1:])
        for axis in axes
        if (keys := tuple(key for key in axis.keys if key not in given))
    )
    if not left:
        raise RecipeError(f"{origin}: --set fixes every axis, so nothing is left to search; set fewer")
    return left


def _judgeable(recipe: Recipe) -> Recipe:
    if recipe.split.method == "none":
        raise RecipeError("split.method = none leaves no photos to judge trials by; set holdout or folds")
    return recipe


def _value_faults(space: Space, origin: str) -> list[str]:
    """Every value that the space names and its recipe refuses, with the recipe's reason."""
    try:
        _judgeable(load_recipe(space.recipe, space.fixed))  # alone first: its faults would be repeated for every value
    except RecipeError as fault:
        return list(fault.problems)
    faults: list[str] = []
    for axis in space.axes:
        for probe in axis.probes:
            texts = [text for key, text in zip(axis.keys, axis.settings(probe), strict=True) if not LUCK.match(key)]
            try:
                load_recipe(space.recipe, [*space.fixed, *texts])
            except RecipeError as fault:
                faults += [f"{origin}: {' '.join(texts)}: {problem}" for problem in fault.problems]
    return faults
