from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import carspotter
from carspotter.tracking.machine import code_version, this_machine
from carspotter.workers import usable_cores


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with one commit; returns its package folder."""
    package = tmp_path / "project" / "src" / "carspotter"
    package.mkdir(parents=True)
    (package / "code.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q", "project")
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "One")
    return package


def test_a_clean_checkout_names_its_commit(checkout: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    assert code_version(checkout) == f"{carspotter.__version__}+g{head[:12]}"


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_or_new_code_is_dirty(checkout: Path, name: str) -> None:
    (checkout / name).write_text("a = 2\n")
    assert code_version(checkout).endswith(".dirty")


def test_a_note_beside_the_code_is_not_dirty(checkout: Path) -> None:
    (checkout.parents[1] / "runs.txt").write_text("not code")
    assert not code_version(checkout).endswith(".dirty")


def test_an_installed_package_has_its_version_alone(checkout: Path) -> None:
    """Even in a virtual environment below somebody else's checkout."""
    installed = checkout.parents[1] / "lib" / "carspotter"
    installed.mkdir(parents=True)
    assert code_version(installed) == carspotter.__version__


def test_without_git_it_is_the_version_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_version(checkout) == carspotter.__version__


def test_a_git_that_refuses_is_the_version_alone(checkout: Path) -> None:
    (checkout.parents[1] / ".git" / "HEAD").write_text("nonsense")
    assert code_version(checkout) == carspotter.__version__


def test_machine_names_what_touches_the_result() -> None:
    machine = this_machine(threads=3, device="cpu")
    assert machine.threads == 3
    assert machine.packages["numpy"] == metadata.version("numpy")
    assert machine.packages["pillow"] == metadata.version("pillow")
    assert "pytest" not in machine.packages
    assert machine.processor


def test_no_threads_means_all_cores() -> None:
    assert this_machine().threads == this_machine().cores == usable_cores()
