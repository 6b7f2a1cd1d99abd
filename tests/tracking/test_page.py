from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from carspotter.errors import MissingExtra
from carspotter.tracking.page import check_page, page_command, page_environment


def is_installed() -> bool:
    try:
        metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.slow
def test_the_words_are_mlflow_s_own() -> None:
    """`--help` makes MLflow read every word before it ends; an option that it does not know would be refused."""
    words = page_command("127.0.0.1", 5007)
    assert words[1:7] == ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port"]
    assert words[7] == "5007"
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    shown = done.stdout
    assert all(option in shown for option in words if option.startswith("--"))
    assert "MLFLOW_BACKEND_STORE_URI" in shown or "--backend-store-uri" in shown


def test_a_password_is_in_no_word(tmp_path: Path) -> None:
    uri = "postgresql://me:secret@host/runs"
    environment = page_environment(uri, tmp_path)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == str(tmp_path)
    assert environment["PATH"] == os.environ["PATH"]
    assert "secret" not in " ".join(page_command("127.0.0.1", 5000))


@pytest.mark.skipif(is_installed(), reason="the page is installed here")
def test_without_the_page_the_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r'MLflow\'s page needs an optional part: pip install "carspotter\[ui\]"'):
        check_page()


@pytest.mark.skipif(not is_installed(), reason="the page is not installed here")
def test_the_page_has_the_version_of_the_rest() -> None:
    check_page()
    assert metadata.version("mlflow") == metadata.version("mlflow-skinny")


def test_the_interpreter_is_ours() -> None:
    assert page_command("127.0.0.1", 5000)[0] == sys.executable
