"""What stands above each class, as a table tells it: a family, and what is above that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from carspotter.data.table import Table, read_table
from carspotter.data.wording import brief, some
from carspotter.errors import SourceError
from carspotter.records import Dataset

CLASS, PARENT = "class", "parent"
"""Columns of such a table."""


def with_families(dataset: Dataset, path: str | Path) -> Dataset:
    """The same photos with the families of a table above their classes.

    Args:
        dataset: labelled.
        path: a table (CSV, TSV, Parquet or XLSX) with the columns `class` and `parent`; a row may also name a family
            and what stands above it. Classes that it leaves out have none.

    Raises:
        SourceError: every fault of the table with its line number, also a name that leads to no class of the set.
    """
    table = read_table(path)
    parents = _parents(table)
    if faults := [*_strange(table, parents, dataset.classes), *_circles(table, parents)]:
        raise SourceError(faults)
    reading = dataset.reading and dataset.reading.model_copy(update={"families": str(Path(path).absolute())})
    return replace(dataset, parents=parents, reading=reading)


def _parents(table: Table) -> dict[str, str]:
    """Name → what stands above it.

    Raises:
        SourceError: columns are missing, a cell is empty, or a name has two parents.
    """
    name = brief(table.path)
    if missing := [column for column in (CLASS, PARENT) if column not in table.columns]:
        raise SourceError(f"{name} has no column {some(missing, 2)}; expected {CLASS} and {PARENT}")
    faults, found = list[str](), dict[str, str]()
    for line, child, parent in _rows(table):
        if not child or not parent:
            faults.append(f"{name}: line {line}: expected a {CLASS} and its {PARENT}")
        elif found.setdefault(child, parent) != parent:
            faults.append(f"{name}: line {line}: {child!r} stands under {found[child]!r} already; keep one")
    if faults:
        raise SourceError(faults)
    return found


def _strange(table: Table, parents: Mapping[str, str], classes: Sequence[str]) -> list[str]:
    """Names that are neither a class nor above one: a misspelt class would silently have no family."""
    known = {*classes, *parents.values()}
    return [
        f"{brief(table.path)}: line {line}: {child!r} is neither a class nor above one; the classes are "
        f"{some(classes, 8)}"
        for line, child, _ in _rows(table)
        if child not in known
    ]


def _circles(table: Table, parents: Mapping[str, str]) -> list[str]:
    faults = []
    for line, child, _ in _rows(table):
        seen, here = [child], parents[child]
        while here not in seen and here in parents:
            seen.append(here)
            here = parents[here]
        if here == child:
            faults.append(f"{brief(table.path)}: line {line}: {child!r} stands above itself")
    return faults


def _rows(table: Table) -> list[tuple[int, str, str]]:
    """Line, class, parent; without spaces around them."""
    cells = zip(table.lines, table.column(CLASS), table.column(PARENT), strict=True)
    return [(line, child.strip(), parent.strip()) for line, child, parent in cells]
