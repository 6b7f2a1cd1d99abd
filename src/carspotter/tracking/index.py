"""MLflow behind one seam: which runs exist, and their figures for MLflow's own page.

What a run *is* lies in its journal; this is the index over all of them. No other module imports MLflow.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
MAX_METRICS = 1000  # MLflow's MAX_METRICS_PER_BATCH
MAX_VALUE = 6000  # characters; MLflow's MAX_PARAM_VAL_LENGTH, the smaller one of parameters and tags
PAGE = 1000  # runs asked for at once; MLflow allows up to 50,000
DEFAULT_PATIENCE = 20.0  # seconds; what MLflow itself waits for SQLite's lock

OWN_ID = "carspotter.run_id"
"""Tag of a run that was born in another store: MLflow gives every run an id of its own."""

End = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class Known:
    """A run as the database knows it.

    Attributes:
        folder: where its files lie.
        mlflow_id: what MLflow calls it; the run's own id, except for one born in another store.
        is_open: the database was not told of an end.
    """

    folder: Path
    mlflow_id: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Point:
    """Figures of one step.

    Attributes:
        step: from 0.
        at: milliseconds since 1970.
        figures: by name; None is left out.
    """

    step: int
    at: int
    figures: Mapping[str, float | None]


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
            return run.info.run_id, self._folder(run.info.run_id, run.info)

    @property
    def home(self) -> Path:
        """Where the folders of runs are made, and where an SQLite database expects them."""
        return self._artifacts

    def alone(self) -> Lock:
        """A lock for taking in runs of other stores, so that two at once do not enter the same one twice."""
        return Lock(self._artifacts / "taking-in.lock")

    def place(self, run_id: str) -> Path:
        """Where the files of a run that was born in another store are to lie; nothing is made."""
        with self._clear():
            if self.file:
                return self._artifacts / run_id / "artifacts"
            return _local(self._client.get_experiment(self._experiment).artifact_location) / run_id / "artifacts"

    def adopt(self, run_id: str, name: str, born: int, tags: Mapping[str, str]) -> str:
        """Enter a run that was born in another store; its files already lie in `place`.

        Args:
            run_id: its own.
            name: shown on MLflow's page.
            born: milliseconds since 1970.
            tags: shown on MLflow's page.

        Returns:
            MLflow's id of it.
        """
        with self._clear():
            own = {**_short(tags), OWN_ID: run_id}
            run = self._client.create_run(self._experiment, start_time=born, run_name=name, tags=own)
            return str(run.info.run_id)

    def settings(self, run_id: str, settings: Mapping[str, Any]) -> None:
        """Write settings for MLflow's page; a long value is cut, the journal has it whole."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in _short(settings).items()]
        with self._clear():
            for start in range(0, len(params), MAX_PARAMS):
                self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])

    def figures(self, run_id: str, figures: Mapping[str, float | None], *, step: int = 0) -> None:
        """Write figures in one batch; None is left out."""
        self.points(run_id, [Point(step, time.time_ns() // 1_000_000, figures)])

    def points(self, run_id: str, points: Sequence[Point]) -> None:
        """Write figures of several steps."""
        from mlflow.entities import Metric

        metrics = [
            Metric(key, float(value), point.at, point.step)
            for point in points
            for key, value in point.figures.items()
            if value is not None
        ]
        with self._clear():
            for start in range(0, len(metrics), MAX_METRICS):
                self._client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])

    def steps(self, run_id: str, figure: str) -> frozenset[int]:
        """The steps of which the database has this figure."""
        with self._clear():
            return frozenset(metric.step for metric in self._client.get_metric_history(run_id, figure))

    def end(self, run_id: str, status: End, tags: Mapping[str, str], at: int | None = None) -> None:
        """Close the run, now or at these milliseconds since 1970."""
        from mlflow.entities import RunTag

        with self._clear():
            self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in _short(tags).items()])
            self._client.set_terminated(run_id, status, at)

    def reopen(self, run_id: str) -> None:
        """Show as running what had ended."""
        with self._clear():
            self._client.update_run(run_id, status="RUNNING")

    def folders(self) -> dict[str, Path]:
        """Every run's id and folder, the newest first."""
        return {run_id: known.folder for run_id, known in self.known().items()}

    def known(self) -> dict[str, Known]:
        """Every run by its id, the newest first."""
        found: dict[str, Known] = {}
        token: str | None = ""
        with self._clear():
            while token is not None:
                page = self._client.search_runs(
                    [self._experiment],
                    max_results=PAGE,
                    order_by=["attributes.start_time DESC"],
                    page_token=token or None,
                )
                for run in page:
                    run_id = run.data.tags.get(OWN_ID, run.info.run_id)
                    is_open = run.info.status in ("RUNNING", "SCHEDULED")
                    found[run_id] = Known(self._folder(run_id, run.info), run.info.run_id, is_open)
                token = page.token or None
        return found

    def _folder(self, run_id: str, info: Any) -> Path:
        # Beside the database wherever that is now: MLflow stores the path of the day, and folders are moved.
        if self.file:
            return self._artifacts / run_id / "artifacts"
        return _local(info.artifact_uri).parents[1] / run_id / "artifacts"

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


def _local(uri: str) -> Path:
    place = urlsplit(uri)
    return Path(url2pathname(place.path) if place.scheme == "file" else uri)


def _revisions() -> tuple[frozenset[str], str]:
    """Schema revisions the installed MLflow knows, and the one it writes."""
    import mlflow
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return frozenset(step.revision for step in script.walk_revisions()), str(script.get_current_head())


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_VALUE] for key, value in values.items()}
