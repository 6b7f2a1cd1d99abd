"""MLflow brought in without what it says and sends of itself."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from carspotter.errors import MissingExtra


def import_mlflow() -> Any:
    """MLflow, with everything that its store of runs needs.

    Raises:
        MissingExtra: a part of it is not installed.
    """
    # Before the import: MLflow reads both there. A program that imported MLflow itself keeps its own choice.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        with no_chatter():
            mlflow = import_module("mlflow")
            import_module("mlflow.store.tracking.sqlalchemy_store")  # wants sqlalchemy and alembic too
    except ImportError:
        raise MissingExtra("keeping runs", "train") from None
    return mlflow


@contextmanager
def no_chatter() -> Iterator[None]:
    """No log line of a first migration or a failed statement, and no deprecation that only MLflow can mend."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"The ``noload`` loader strategy", category=DeprecationWarning)
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
