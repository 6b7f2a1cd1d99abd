"""Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "onnxruntime", "onnx", "mlflow", "pandas", "pyarrow", "PIL", "matplotlib")


@pytest.mark.parametrize(
    "code",
    [
        "import carspotter",
        "from carspotter.apps.cli import main; main(['--help'])",
        "from carspotter.apps.cli import main; main(['train', '--help'])",
        "from carspotter.apps.cli import main; main(['runs', 'show', '--help'])",
    ],
)
def test_help_and_import_load_no_heavy_library(code: str) -> None:
    script = f"{code}\nimport sys; print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded: []"
