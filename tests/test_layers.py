"""The layers hold, and nothing heavy is loaded before it is needed.

What single commands load is in `apps/test_startup.py`; here are the modules that must stay light by themselves.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import carspotter

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime",
    "mlflow",
    "sqlalchemy",
    "alembic",
    "pandas",
    "scipy",
    "sklearn",
    "pyarrow",
    "openpyxl",
    "imagehash",
    "matplotlib",
    "PIL",
)


def loaded_after(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter holds after this code."""
    script = f"{code}\nimport sys\nprint('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()[-1].split()[1:]


def test_imports_go_only_downwards_and_vendors_stay_in_their_files() -> None:
    """The contracts of pyproject.toml; in a process of its own, for the check silences every logger there is."""
    check = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(check, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_a_manifest_names_photos_in_stores() -> None:
    """So that nothing a client of the server says is ever fetched."""
    source = ROOT / "src" / "carspotter"
    makers = [path for path in source.rglob("*.py") if "Remote(" in path.read_text(encoding="utf-8")]
    assert makers == [source / "data" / "uri.py"]


def test_the_check_itself_sees_a_heavy_library() -> None:
    assert loaded_after("import sqlalchemy") == ["sqlalchemy"]


@pytest.mark.parametrize(
    "code",
    [
        "import carspotter; dir(carspotter)",
        "import carspotter.records, carspotter.recipe, carspotter.errors, carspotter.progress",
        "from carspotter.recipe import load_recipe; load_recipe('fast')",
        "import carspotter.tracking.runs, carspotter.tracking.compare, carspotter.tracking.machine",
        "import carspotter.apps.cli",
        "from carspotter.apps.cli import main; main(['--help'])",
    ],
)
def test_light_modules_stay_light(code: str) -> None:
    assert loaded_after(code) == []


def test_import_carspotter_does_not_even_load_numpy() -> None:
    script = "import carspotter, sys; print(sorted({'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_every_public_name_is_handed_on() -> None:
    light = [name for name in carspotter.__all__ if name != "train"]  # that one would import torch
    assert len(light) == len(carspotter.__all__) - 1
    for name in light:
        assert getattr(carspotter, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        carspotter.nonsense  # noqa: B018
