"""MLflow behind one seam: which runs exist, and their figures for MLflow's own page.

What a run *is* lies in its journal; this is the index over all of them. No other module imports MLflow.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from carspotter.errors import MissingExtra, TrackingError
from carspotter.tracking import database
from carspotter.tracking.lock import Lock

EXPERIMENT = "carspotter"
MAX_PARAMS = 100  # MLflow's MAX_PARAMS_TAGS_PER_BATCH
MAX_VALUE = 6000  # characters; MLflow's MAX_PARAM_VAL_LENGTH, the smaller one of parameters and tags
PAGE = 1000  # runs asked for at once; MLflow allows up to 50,000
DEFAULT_PATIENCE = 20.0  # seconds; what MLflow itself waits for SQLite's lock

End = Literal["FINISHED", "FAILED", "KILLED"]


class Index:
    """The runs' database at one address. Connects when first asked.

    Args:
        uri: `sqlite:///PATH` or `postgresql://…`.
        patience: seconds to wait for another program's lock on opening.

    Raises:
        TrackingError: the address is of another kind.
    """

    def __init__(self, uri: str, patience: float = DEFAULT_PATIENCE) -> None:
        if not uri.startswith(("sqlite:///", "postgresql://", "postgresql+")):
            raise TrackingError(
                f"CARSPOTTER_RUNS = {database.hide_password(uri)!r} is no address of a run database; "
                "expected sqlite:///FOLDER/runs.db or postgresql://USER@HOST/NAME"
            )
        self._patience = patience
        path = uri.partition("?")[0].removeprefix("sqlite:///")
        self.file = Path(path).absolute() if uri.startswith("sqlite:///") else None
        self.uri = f"sqlite:///{self.file}" if self.file else uri
        self._artifacts = (self.file.parent if self.file else Path("runs").absolute()) / "artifacts"

    @property
    def is_new(self) -> bool:
        """True while nothing was ever written there."""
        return self.file is not None and not self.file.exists()

    def begin(self, name: str, tags: Mapping[str, str]) -> tuple[str, Path]:
        """A new run: its id and the folder for its files."""
        with self._clear():
            run = self._client.create_run(self._experiment, run_name=name, tags=_short(tags))
            return run.info.run_id, self._folder(run.info)

    def settings(self, run_id: str, settings: Mapping[str, Any]) -> None:
        """Write settings for MLflow's page; a long value is cut, the journal has it whole."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in _short(settings).items()]
        with self._clear():
            for start in range(0, len(params), MAX_PARAMS):
                self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])

    def figures(self, run_id: str, figures: Mapping[str, float | None], *, step: int = 0) -> None:
        """Write figures in one batch; None is left out."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(key, float(value), now, step) for key, value in figures.items() if value is not None]
        with self._clear():
            self._client.log_batch(run_id, metrics=metrics)

    def end(self, run_id: str, status: End, tags: Mapping[str, str]) -> None:
        """Close the run."""
        from mlflow.entities import RunTag

        with self._clear():
            self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in _short(tags).items()])
            self._client.set_terminated(run_id, status)

    def folders(self) -> dict[str, Path]:
        """Every run's id and folder, the newest first."""
        found: dict[str, Path] = {}
        token: str | None = ""
        with self._clear():
            while token is not None:
                page = self._client.search_runs(
                    [self._experiment],
                    max_results=PAGE,
                    order_by=["attributes.start_time DESC"],
                    page_token=token or None,
                )
                found |= {run.info.run_id: self._folder(run.info) for run in page}
                token = page.token or None
        return found

    def _folder(self, info: Any) -> Path:
        # Beside the database wherever that is now: MLflow stores the path of the day, and folders are moved.
        if self.file:
            return self._artifacts / str(info.run_id) / "artifacts"
        place = urlsplit(info.artifact_uri)
        return Path(url2pathname(place.path) if place.scheme == "file" else info.artifact_uri)

    @cached_property
    def _client(self) -> Any:
        mlflow = _import_mlflow()
        if self.file:
            self._ready_sqlite(self.file)
        return mlflow.MlflowClient(self.uri, registry_uri=self.uri)

    @cached_property
    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return str(self._client.create_experiment(EXPERIMENT, artifact_location=str(self._artifacts)))
            except MlflowException:  # another writer made it at the same moment, or it cannot be made at all
                found = self._client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _ready_sqlite(self, file: Path) -> None:
        if self.is_new:
            with Lock(file.with_name(f"{file.name}.lock")):
                if self.is_new:  # still, now that nobody else is making it
                    _create(file, self._artifacts)
        known, head = _revisions()
        database.check_sqlite(file, known, head, patience=self._patience)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """One clear line instead of what MLflow, SQLAlchemy and the database say."""
        _import_mlflow()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _no_chatter():
                yield
        except (MlflowException, SQLAlchemyError, OSError) as fault:
            raise TrackingError(database.sentence(self.uri, str(fault))) from None


def _import_mlflow() -> Any:
    # Before the import: MLflow reads both there. A program that imported MLflow itself keeps its own choice.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        with _no_chatter():
            mlflow = import_module("mlflow")
            import_module("mlflow.store.tracking.sqlalchemy_store")  # wants sqlalchemy and alembic too
    except ImportError:
        raise MissingExtra("keeping runs", "train") from None
    return mlflow


@contextmanager
def _no_chatter() -> Iterator[None]:
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


def _create(file: Path, artifacts: Path) -> None:
    """Make the tables in a file beside, then rename it: a kill in these seconds leaves no half-made database."""
    make_store: Any = import_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    store = make_store(f"sqlite:///{fresh}", str(artifacts))
    store.create_experiment(EXPERIMENT, str(artifacts))
    store.engine.dispose()
    fresh.replace(file)


def _revisions() -> tuple[frozenset[str], str]:
    """Schema revisions the installed MLflow knows, and the one it writes."""
    import mlflow
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return frozenset(step.revision for step in script.walk_revisions()), str(script.get_current_head())


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_VALUE] for key, value in values.items()}
