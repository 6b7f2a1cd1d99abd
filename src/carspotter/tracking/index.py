"""MLflow behind one seam: which runs exist, and their figures for MLflow's own page.

What a run *is* lies in its journal; this is the index over all of them. No other module uses MLflow; `quiet.py` brings
it in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from carspotter.errors import TrackingError
from carspotter.tracking import database
from carspotter.tracking.address import read_address
from carspotter.tracking.first_use import STUDIES, first_use
from carspotter.tracking.lock import Lock
from carspotter.tracking.quiet import import_mlflow, no_chatter

if TYPE_CHECKING:
    import sqlalchemy

EXPERIMENT = "carspotter"
MAX_PARAMS = 100  # MLflow's MAX_PARAMS_TAGS_PER_BATCH
MAX_METRICS = 1000  # MLflow's MAX_METRICS_PER_BATCH
MAX_VALUE = 6000  # characters; MLflow's MAX_PARAM_VAL_LENGTH, the smaller one of parameters and tags
PAGE = 1000  # runs asked for at once; MLflow allows up to 50,000
DEFAULT_PATIENCE = 20.0  # seconds; what MLflow itself waits for SQLite's lock

OWN_ID = "carspotter.run_id"
"""Tag of a run that was born in another store: MLflow gives every run an id of its own."""

ARTIFACTS = "artifacts"
"""MLflow's name for a run's folder, and ours for the folder of all runs."""
PLACE = "CARSPOTTER_ARTIFACTS"
"""Names that folder where a server keeps the index; beside an SQLite file it is where that is."""
OPEN = ("RUNNING", "SCHEDULED")
"""MLflow's states of a run that has not ended."""
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
        patience: seconds to wait for another program's lock on opening, and for a server to answer.

    Raises:
        TrackingError: the address is of another kind.
    """

    def __init__(self, uri: str, patience: float = DEFAULT_PATIENCE) -> None:
        self.address = read_address(uri, "run database", "runs.db", "CARSPOTTER_RUNS or --store")
        self._patience = patience
        self._found: Any = None

    @property
    def is_new(self) -> bool:
        """True while nothing was ever written there."""
        return self.address.file is not None and not self.address.file.exists()

    def begin(self, name: str, tags: Mapping[str, str]) -> str:
        """The id of a new run, whose files are to lie in its `folder`."""
        with self._clear():
            run = self._client.create_run(self._made().experiment_id, run_name=name, tags=_short(tags))
            return str(run.info.run_id)

    @property
    def home(self) -> Path:
        """Where the folders of runs are made.

        Beside an SQLite file, wherever that is now: MLflow stores the path of the day, and folders are moved. With a
        server: where this machine's `PLACE` says; else where the first run of all was written, from whichever machine.
        """
        if self.address.file:
            return self.address.file.parent / ARTIFACTS
        if named := os.environ.get(PLACE):
            return Path(named).absolute()
        with self._clear():
            found = self._experiment()
        return Path("runs").absolute() / ARTIFACTS if found is None else _local(found.artifact_location)

    def folder(self, run_id: str) -> Path:
        """Where the files of a run lie, or are to lie."""
        return self.home / run_id / ARTIFACTS

    def alone(self) -> Lock:
        """A lock for taking in runs of other stores, so that two at once do not enter the same one twice."""
        with self._clear():
            self._made()
        return Lock(self.home / "taking-in.lock")

    def adopt(self, run_id: str, name: str, born: int, tags: Mapping[str, str]) -> str:
        """Enter a run that was born in another store; its files already lie in its `folder`.

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
            experiment = self._made().experiment_id
            run = self._client.create_run(experiment, start_time=born, run_name=name, tags=own)
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

    def known(self) -> dict[str, Known]:
        """Every run by its id, the newest first."""
        with self._clear():
            home = self.home
            return {
                _own_id(run): Known(home / _own_id(run) / ARTIFACTS, run.info.run_id, run.info.status in OPEN)
                for run in self._runs("ACTIVE_ONLY")
            }

    def ids(self) -> frozenset[str]:
        """Of every run there ever was, those that were thrown away on MLflow's page included."""
        with self._clear():
            return frozenset(_own_id(run) for run in self._runs("ALL"))

    def _runs(self, kind: Literal["ACTIVE_ONLY", "ALL"]) -> Iterator[Any]:
        """MLflow's runs, the newest first."""
        from mlflow.entities import ViewType

        experiment = self._experiment()
        if experiment is None:
            return
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [experiment.experiment_id],
                run_view_type=ViewType.from_string(kind.lower()),
                max_results=PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token or None,
            )
            yield from page
            token = page.token or None

    @cached_property
    def _client(self) -> Any:
        mlflow = import_mlflow()
        self.address.need_driver()
        connect = partial(mlflow.MlflowClient, self.address.uri, registry_uri=self.address.uri)
        if self.address.file:
            self._ready_sqlite(self.address.file)
            return connect()
        with first_use(self.address, "run database", _look(), patience=self._patience, foreign=STUDIES) as made:
            if not made:
                known, head = _revisions()
                database.check_server(self.address, known, head, patience=self._patience)
            return connect()

    def _experiment(self) -> Any:
        """Ours among MLflow's, which bears the place of the runs' files; None on a server before the first run."""
        if self._found is None:
            self._found = self._client.get_experiment_by_name(EXPERIMENT)
        return self._found

    def _made(self) -> Any:
        """The same, made by whoever is the first to write: one who only looks settles nothing for others."""
        from mlflow.exceptions import MlflowException

        if self._experiment() is None:
            try:
                self._client.create_experiment(EXPERIMENT, artifact_location=str(self.home))
            except MlflowException:  # another writer made it at the same moment, or it cannot be made at all
                if self._experiment() is None:
                    raise
        return self._experiment()

    def _ready_sqlite(self, file: Path) -> None:
        if self.is_new:
            with Lock(file.with_name(f"{file.name}.lock")):
                if self.is_new:  # still, now that nobody else is making it
                    _create(file, self.home)
        known, head = _revisions()
        database.check_sqlite(file, known, head, patience=self._patience)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """One clear line instead of what MLflow, SQLAlchemy and the database say."""
        import_mlflow()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with no_chatter():
                yield
        except (MlflowException, SQLAlchemyError, OSError) as fault:
            raise TrackingError(database.sentence(str(self.address), str(fault))) from None


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


def _look() -> sqlalchemy.Executable:
    """Has a row once MLflow is done with a new database: its last step is an experiment named Default."""
    import sqlalchemy

    made = "SELECT 1 FROM alembic_version WHERE version_num = :head AND EXISTS (SELECT 1 FROM experiments)"
    return sqlalchemy.text(made).bindparams(head=_revisions()[1])


def _own_id(run: Any) -> str:
    return str(run.data.tags.get(OWN_ID, run.info.run_id))


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_VALUE] for key, value in values.items()}
