"""The one place where an error becomes an exit code and a line on stderr.

0 done · 1 our fault · 2 usage or an unusable source · 3 finished, some rows refused · 130, 143 interrupted
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from threading import Timer

from carspotter.apps.console import note
from carspotter.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_DONE,
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_UNUSABLE,
    CarspotterError,
    ManyProblems,
    MissingExtra,
    is_full_memory,
)

EXTRAS = {
    "torch": ("training", "train"),
    "accelerate": ("several processes", "train"),
    "torchvision": ("training", "train"),
    "timm": ("training", "train"),
    "onnx": ("exporting a model", "train"),
    "huggingface_hub": ("fetching weights", "train"),
    "imagehash": ("finding near copies", "train"),
    "faiss": ("auditing", "audit"),
    "sklearn": ("auditing", "audit"),
    "matplotlib": ("drawing", "train"),
    "optuna": ("searching settings", "train"),
    "mlflow": ("the run store", "train"),
    "sqlalchemy": ("the run store", "train"),
    "alembic": ("the run store", "train"),
    "psycopg": ("a PostgreSQL database", "postgres"),
    "duckdb": ("a DuckDB database", "sql"),
    "ray": ("a cluster", "ray"),
    "pillow_heif": ("reading HEIC photos", "heic"),
    "fastapi": ("serving", "serve"),
    "fastapi_offline": ("serving", "serve"),
    "nicegui": ("the page", "serve"),
    "uvicorn": ("serving", "serve"),
    "prometheus_client": ("serving", "serve"),
    "python_multipart": ("serving", "serve"),
}
"""Top-level module of an optional dependency → what it is for, and the extra that brings it."""
SEND_AGAIN_SECONDS = 0.1
"""Assumption: longer than any finaliser goes on after a signal that it was not to hear."""


def exit_code(work: Callable[[], object]) -> int:
    """Do the work; print what went wrong, if anything did, in one line per problem.

    Args:
        work: may raise anything, SystemExit too.

    Returns:
        The exit code of the process.
    """
    code = _outcome(work)
    try:
        sys.stdout.flush()  # here, because what the interpreter's own last flush raises is shown as a traceback
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as fault:
        _drop_stdout()
        return code or _explain(fault)
    return code


def _outcome(work: Callable[[], object]) -> int:
    try:
        with _terminable():
            work()
    except SystemExit as leave:
        return _leave(leave)
    except KeyboardInterrupt:
        return _say_interrupted(EXIT_INTERRUPTED)
    except Exception as fault:  # noqa: BLE001 - the outermost frame: a user never sees a traceback
        return _explain(fault)
    return EXIT_DONE


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds the stack like Ctrl-C does, so that runs are marked and temporary files removed."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        with _heard():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _heard() -> Iterator[None]:
    """Send a signal again that came where Python drops exceptions: in a finaliser, or at the end of a weak reference.

    By a thread, since in the hook itself it would be dropped once more.
    """
    before = sys.unraisablehook

    def hear(dropped: sys.UnraisableHookArgs) -> None:
        sent = {SystemExit: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(dropped.exc_type)
        if sent is None:
            before(dropped)
        else:
            Timer(SEND_AGAIN_SECONDS, os.kill, (os.getpid(), sent)).start()

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = before


def _leave(leave: SystemExit) -> int:
    code = leave.code if isinstance(leave.code, int) else EXIT_DONE if leave.code is None else EXIT_FAULT
    return _say_interrupted(code) if code in (EXIT_INTERRUPTED, EXIT_TERMINATED) else code


def _say_interrupted(code: int) -> int:
    note("interrupted" if code == EXIT_INTERRUPTED else "terminated")
    return code


def _drop_stdout() -> None:
    """Let the interpreter's last flush go nowhere: what is still buffered cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@singledispatch
def _explain(fault: Exception) -> int:
    """Anything that nobody raised on purpose."""
    if is_full_memory(fault):
        return _explain(MemoryError())
    text = "".join(traceback.format_exception(fault))
    summary = (str(fault).splitlines() or [""])[0][:200]
    note(f"error: this is a fault of carspotter: {type(fault).__name__}: {summary} ({_keep(text)})")
    return EXIT_FAULT


@_explain.register
def _(fault: CarspotterError) -> int:
    for problem in fault.problems if isinstance(fault, ManyProblems) else (fault,):
        note(f"error: {problem}")
    return fault.exit_code


@_explain.register
def _(fault: ModuleNotFoundError) -> int:
    module = (fault.name or "").partition(".")[0]
    if module not in EXTRAS:
        return _explain.dispatch(Exception)(fault)
    return _explain(MissingExtra(*EXTRAS[module]))


@_explain.register
def _(fault: OSError) -> int:
    """A full disk, a missing right, a folder in the place of a file: the user's world, not our fault."""
    what = fault.strerror or str(fault) or type(fault).__name__
    note(f"error: {what}" if fault.filename is None else f"error: {fault.filename}: {what}")
    return EXIT_UNUSABLE


@_explain.register
def _(_: MemoryError) -> int:
    note("error: out of memory; close other programs, or use smaller photos or batches (--set stage.0.batch=16)")
    return EXIT_FAULT


def _keep(text: str) -> str:
    """Leave the traceback where a bug report can take it from."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="carspotter-fault-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError as fault:
        return f"the traceback could not be kept: {fault.strerror}"
    return f"please report it with {file.name}"
