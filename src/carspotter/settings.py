"""Settings on top of a recipe's plain values: `--set stage.0.lr=3e-3`."""

from __future__ import annotations

import tomllib
from typing import Any


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain values.

    Raises:
        ValueError: it is none, is nested too deeply, or holds a number of thousands of digits.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def apply_setting(tree: dict[str, Any], setting: str) -> str | None:
    """Put one `a.b.0.c=value` into the tree; the value is TOML, or else plain text.

    Returns:
        A sentence when that is not possible.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in setting):  # what Python makes of such bytes of a command line
        return f"--set {setting!r}: it holds bytes that are no UTF-8"
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        return f"--set {setting!r}: expected key=value, as in stage.0.lr=3e-3"
    *path, last = key.strip().split(".")
    spot: Any = tree
    for step in path:
        if isinstance(spot, list) and step in _positions(spot):
            spot = spot[int(step)]
        elif isinstance(spot, dict):
            spot = spot.setdefault(step, {})
        else:
            return f"--set {setting!r}: there is no {step!r} in {key!r}" + _length(spot)
    if isinstance(spot, list):
        if last not in _positions(spot):
            return f"--set {setting!r}: there is no {last!r} in {key!r}" + _length(spot)
        spot[int(last)] = _value(text)
    elif isinstance(spot, dict):
        spot[last] = _value(text)
    else:
        return f"--set {setting!r}: {'.'.join(path)!r} is a value, not a table"
    return None


def _positions(items: list[Any]) -> list[str]:
    """What a step of a key may be: not every digit of Unicode is a number, nor is every number of digits an int."""
    return [str(at) for at in range(len(items))]


def _length(spot: Any) -> str:
    return f" (0..{len(spot) - 1})" if isinstance(spot, list) else ""


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none (`--set backbone=xception` needs no quotes)."""
    try:
        return parse_toml(f"v = {text.strip()}")["v"]
    except ValueError:
        return text.strip()
