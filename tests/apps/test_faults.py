"""Errors become exit codes and lines in one place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from carspotter.apps.faults import EXTRAS, exit_code
from carspotter.errors import BundleError, MissingExtra, SourceError, TrainingError


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_done_is_zero_and_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (
            SourceError(["train.csv:3: one", "train.csv:4: two"]),
            2,
            ["error: train.csv:3: one", "error: train.csv:4: two"],
        ),
        (SourceError("a\nb.jpg: truncated"), 2, ["error: a\\nb.jpg: truncated"]),
        (BundleError("models/x: no card.json"), 2, ["error: models/x: no card.json"]),
        (TrainingError("the loss is not a number"), 1, ["error: the loss is not a number"]),
        (
            MissingExtra("training", "train"),
            2,
            ['error: training needs an optional part: pip install "carspotter[train]"'],
        ),
        (PermissionError(13, "Permission denied", "/x/y"), 2, ["error: /x/y: Permission denied"]),
        (OSError(28, "No space left on device"), 2, ["error: No space left on device"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (SystemExit(143), 143, ["terminated"]),
        (SystemExit(3), 3, []),
        (SystemExit(None), 0, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_has_its_code_and_lines(
    error: BaseException, code: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == lines


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("unable to mmap 172176 bytes from file <views.safetensors>: Cannot allocate memory"),
        ImportError("libscipy_openblas-6cdc3b4a.so: failed to map segment from shared object"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_out_of_memory_names_a_cure(fault: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(fault)) == 1
    assert "stage.0.batch" in capsys.readouterr().err


def test_our_fault_is_one_line_and_leaves_the_traceback_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert exit_code(raising(ValueError("first line\nsecond"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: this is a fault of carspotter: ValueError: first line (")
    kept = re.search(r"report it with (.+)\)$", lines[0])
    assert kept is not None
    text = Path(kept[1]).read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "second" in text


def test_our_fault_without_a_temp_folder_still_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert exit_code(raising(ValueError("x"))) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_absent_optional_library_names_the_pip_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # the import system's own way to say "not installed"

    def work() -> None:
        import torch.nn  # noqa: F401

    assert exit_code(work) == 2
    assert capsys.readouterr().err == 'error: training needs an optional part: pip install "carspotter[train]"\n'


def test_an_absent_module_of_our_own_is_our_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        import carspotter.nowhere  # noqa: F401

    assert exit_code(work) == 1
    assert "fault of carspotter" in capsys.readouterr().err


def test_every_extra_named_exists(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8")
    for _, extra in EXTRAS.values():
        assert re.search(rf"^{extra} = \[", text, re.MULTILINE), extra


def test_sigterm_unwinds_and_the_handler_is_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    unwound = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound.append(True)

    assert exit_code(work) == 143
    assert unwound == [True]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_finaliser_is_not_lost(sign: signal.Signals, code: int) -> None:
    class Slow:
        def __del__(self) -> None:
            os.kill(os.getpid(), sign)
            time.sleep(0)  # the handler raises here, where Python drops what is raised

    def work() -> None:
        Slow()
        time.sleep(60)

    started = time.monotonic()
    assert exit_code(work) == code
    assert time.monotonic() - started < 30


def test_a_reader_that_left_is_no_news() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "carspotter.apps.cli", "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "carspotter.apps.cli", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == "error: No space left on device\n"


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signalled_process_ends_with_the_shells_code(sign: signal.Signals, code: int) -> None:
    script = (
        "import sys, time\n"
        "from carspotter.apps.faults import exit_code\n"
        "def work():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "sys.exit(exit_code(work))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(err.splitlines()) == 1
