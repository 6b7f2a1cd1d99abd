"""What is published, a wheel built from the source archive: it answers, and holds no PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.training.test_resume import RECIPE

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.data.table import read_table
from carspotter.errors import EXIT_DONE, EXIT_SOME_REFUSED
from helpers.tiny import colour_photo, write_tiny_bundle

OPTIONAL = ("torch", "torchvision", "timm", "onnx", "mlflow", "matplotlib", "imagehash", "pillow_heif")


def run(*words: str | Path, expect: int = 0, cwd: Path | None = None, packages: str = "") -> str:
    """What a command printed, both streams.

    Args:
        words: of the command.
        expect: its exit code.
        cwd: where it is run.
        packages: a further folder of packages.
    """
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": packages},
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Built as `make dist` does: the source archive from this checkout, the wheel from that archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, pytestconfig.rootpath)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The programs of a venv with the base install; with LOCKED, as in CI, every file by its hash."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip")
    if os.environ.get("LOCKED"):
        lock = pytestconfig.rootpath / "requirements-base.lock"
        run(*pip, "install", "--quiet", "--require-hashes", "--requirement", lock)
        run(*pip, "install", "--quiet", "--no-deps", wheel)
    else:
        run(*pip, "install", "--quiet", wheel)
    run(*pip, "check")
    return folder / "bin"


@pytest.mark.slow
def test_the_source_archive_holds_what_is_built_tested_and_measured(dist: Path, pytestconfig: pytest.Config) -> None:
    """What the Makefile names is there; of the rest, every file under version control."""
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    folders = ("src", "tests", "docs", "scripts", "benchmarks")
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=pytestconfig.rootpath, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert {name for name in listed if name} <= held
    assert {"Makefile", "constraints.txt", "requirements.lock", "requirements-base.lock"} <= held


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """`carspotter demo` far from the checkout, with fewer photos, beside the packages that these tests run with."""
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    run("venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    packages = sysconfig.get_path("purelib")
    draw = "from carspotter.data.synthetic import draw_lot; draw_lot('demo', train=60, test=30).write_truth()"
    where = "import carspotter; print(carspotter.__file__)"
    found = run("venv/bin/python", "-c", f"{draw}; {where}", cwd=tmp_path, packages=packages)
    assert Path(found.strip()).is_relative_to(tmp_path / "venv")
    said = run("venv/bin/carspotter", "demo", cwd=tmp_path, packages=packages)
    assert "contest  demo/submission.csv: " in said
    assert len(read_table(tmp_path / "demo" / "submission.csv").rows) == 30
    assert (tmp_path / "models" / "demo" / "model.onnx").exists()


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, pytestconfig: pytest.Config) -> None:
    source = pytestconfig.rootpath / "src"
    listed = subprocess.run(["git", "ls-files"], cwd=source, capture_output=True, text=True, check=True).stdout.split()
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        about = [name.partition("/")[2] for name in file.namelist() if ".dist-info/" in name]
    assert held == set(listed)
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= set(about)


@pytest.mark.slow
@pytest.mark.usefixtures("runs_db")
def test_the_wheel_answers_the_demo_s_contest_as_this_checkout_does(bin_folder: Path, tmp_path: Path) -> None:
    """The second half of `make demo`, on the same drawn cars: only the training needs PyTorch."""
    lot, model = tmp_path / "demo", tmp_path / "m"
    draw = f"from carspotter.data.synthetic import draw_lot; draw_lot({str(lot)!r}, train=60, test=30).write_truth()"
    run(bin_folder / "python", "-c", draw)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text("\n".join(toml_lines(RECIPE)), encoding="utf-8")
    assert main(["train", str(lot), "--recipe", str(recipe), "-o", str(model)]) in (EXIT_DONE, EXIT_SOME_REFUSED)
    assert main(["submit", str(model), str(lot), "-o", str(tmp_path / "here.csv")]) == EXIT_DONE
    run(bin_folder / "carspotter", "submit", model, lot, "-o", tmp_path / "bare.csv")
    assert (tmp_path / "bare.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert len(read_table(tmp_path / "bare.csv").rows) == 30


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
