"""Families that a table tells: read whole, or refused with every fault and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.data.hierarchy import with_families
from carspotter.errors import SourceError
from carspotter.records import Dataset, Reading

PLAIN = Dataset((), ("Camry 40", "Camry 50", "Rio"), reading=Reading(source="/cars"))


def table(folder: Path, text: str) -> Path:
    path = folder / "families.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_tells_families_and_what_is_above_them(tmp_path: Path) -> None:
    path = table(tmp_path, "class,parent\nCamry 40, Camry\nCamry 50,Camry\nCamry,Toyota\n")
    found = with_families(PLAIN, path)
    assert found.parents == {"Camry 40": "Camry", "Camry 50": "Camry", "Camry": "Toyota"}
    assert found.reading == Reading(source="/cars", families=str(path))
    assert PLAIN.parents == {}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("Camri 40,Camry", "line 2: 'Camri 40' is neither a class nor above one; the classes are Camry 40, "),
        ("Rio,Kia\nRio,Hyundai", "line 3: 'Rio' stands under 'Kia' already"),
        ("Rio,Kia\nRio,", "line 3: expected a class and its parent"),
        ("Rio,Kia\nKia,Rio", "line 2: 'Rio' stands above itself"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, rows: str, fault: str) -> None:
    with pytest.raises(SourceError, match=fault):
        with_families(PLAIN, table(tmp_path, f"class,parent\n{rows}\n"))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as told:
        with_families(PLAIN, table(tmp_path, "class,parent\nA,B\nB,A\nC,D\n"))
    assert "'C' is neither" in str(told.value)
    assert "'A' stands above itself" in str(told.value)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no column parent; expected class and parent"):
        with_families(PLAIN, table(tmp_path, "class,family\nRio,Kia\n"))
