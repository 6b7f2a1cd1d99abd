"""MLflow's own page over the runs, in a process of its own. It needs the full MLflow; keeping runs does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from carspotter.errors import MissingExtra

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def page_command(host: str, port: int) -> list[str]:
    """The words that start the page; where the runs lie goes through the environment, for it may hold a password."""
    words = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    return [*words, "--workers", "1"]  # MLflow starts four otherwise; one serves one person


def page_environment(uri: str, artifacts: Path) -> dict[str, str]:
    """This process's environment, with the place of the runs in it."""
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(artifacts),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a runner of jobs that nobody sends
    }


def check_page() -> None:
    """Whether the page is installed: `mlflow-skinny` has the same modules without it.

    Raises:
        MissingExtra: it is not.
    """
    try:
        metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        raise MissingExtra("MLflow's page", "ui") from None


def become_page(words: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Turn this process into the page: what stops it, Ctrl-C or SIGTERM, then reaches MLflow itself."""
    sys.stdout.flush()
    os.execve(words[0], words, dict(environment))  # noqa: S606 - our own words, no shell
