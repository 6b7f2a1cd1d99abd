"""A recipe as commented TOML: every setting with its sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


def toml_lines(part: BaseModel, path: str = "") -> Iterator[str]:
    """A recipe as TOML that `load_recipe` reads back to an equal one; plain settings first, then the tables."""
    tables: list[tuple[str, Any]] = []
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel) or _is_list_of_tables(value):
            tables.append((f"{path}{name}", value))
            continue
        yield f"# {field.description}"
        yield f"# {name} = (not set)" if value is None else f"{name} = {_spelled(value)}"
    for name, value in tables:
        for part_of in value if isinstance(value, tuple) else (value,):
            yield ""
            yield f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
            yield from toml_lines(part_of, f"{name}.")


def _spelled(value: object) -> str:
    """JSON, which is TOML but for the one control character that JSON lets stand."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)
