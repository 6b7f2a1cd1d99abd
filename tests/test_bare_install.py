"""The base install answers, and holds no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tiny import colour_photo, write_tiny_bundle

OPTIONAL = ("torch", "torchvision", "timm", "onnx", "mlflow", "matplotlib", "imagehash", "pillow_heif")


def run(*words: str | Path, expect: int = 0) -> str:
    """What a command printed, both streams."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The programs of a venv with the base install, built from this checkout."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", pytestconfig.rootpath)
    return folder / "bin"


@pytest.mark.slow
def test_the_base_install_predicts(
    bin_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing may come from the checkout
    found = run(
        bin_folder / "python",
        "-c",
        f"from importlib.util import find_spec; print([name for name in {OPTIONAL!r} if find_spec(name)])",
    )
    assert found.strip() == "[]"
    model = write_tiny_bundle(tmp_path / "models" / "tiny").folder
    (tmp_path / "photo.png").write_bytes(colour_photo(10, 200, 10))
    answers = tmp_path / "answers.csv"
    run(bin_folder / "carspotter", "predict", model, "photo.png", "-o", answers, "--tta", "2")
    assert answers.read_text(encoding="utf-8").splitlines()[1].startswith("photo.png,named,green,")
    with capsys.disabled():
        print(f"\nbase install: {megabytes(bin_folder.parent):.0f} MB")  # noqa: T201 - a figure of the README


@pytest.mark.slow
def test_training_without_its_extra_is_one_line_with_the_cure(bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(colour_photo(10, 200, 10))
    said = run(bin_folder / "carspotter", "train", tmp_path, expect=2)
    assert said == 'error: training needs an optional part: pip install "carspotter[train]"\n'


def megabytes(venv: Path) -> float:
    """What lies in site-packages apart from pip, which every venv has."""
    packages = next(venv.glob("lib/python*/site-packages"))
    files = (file for file in packages.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files if file.relative_to(packages).parts[0] != "pip") / 1e6
