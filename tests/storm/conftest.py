"""What storms share: a process that forks others, drawn photos, and the tiniest training there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.storm.harness import Driver
from tests.training.conftest import lot  # noqa: F401 - a fixture
from tests.training.test_resume import RECIPE

from carspotter.apps.toml import toml_lines


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with Driver(tmp_path) as ready:
        yield ready


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Driver]:
    """Another such process, in a folder of its own."""
    folder = tmp_path / "second"
    folder.mkdir()
    with Driver(folder) as ready:
        yield ready


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    return path
