"""The seed's experiment log becomes runs: every row one run, and those that are no training of their own marked so.

`seed/columns.py` reads the rows, `seed/copies.py` finds what is no training of its own, `seed/settings.py` maps the
settings, `seed/counts.py` finds the number of validation photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from carspotter.data.wording import count
from carspotter.errors import RecipeError, SourceError
from carspotter.recipe import Stage
from carspotter.records import EpochRecord, Figure, Imported, Machine, Run, hash_json
from carspotter.tracking.runs import RunStore
from carspotter.tracking.seed.columns import CURVES, LISTS, Log, Row, number, read_log
from carspotter.tracking.seed.copies import Finding, judge
from carspotter.tracking.seed.counts import figure, is_count, photos_behind
from carspotter.tracking.seed.settings import Told, tell

REPORT_COLUMNS = ("NUM_EXP", "distinct", "copy_of", "reason")
UNKNOWN = "not recorded"
STARTED = "%Y%m%d__%H_%M"
"""How the log writes TIME."""
ID_LENGTH = 32
"""Characters, as MLflow's ids. An id from the row's content makes a second import find the first."""


@dataclass(frozen=True, slots=True)
class SeedLog:
    """A log as runs.

    Attributes:
        runs: one per row, in the log's order; `excluded` is set where a row is no training of its own.
        findings: what each row is, same order.
    """

    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]

    def report(self) -> list[tuple[str, str, str, str]]:
        """Rows for `REPORT_COLUMNS`."""
        pairs = zip(self.runs, self.findings, strict=True)
        return [(_row_of(run), str(f.distinct).lower(), f.copy_of, f.reason) for run, f in pairs]

    def __str__(self) -> str:
        copies = sum(bool(finding.copy_of) for finding in self.findings)
        trained = sum(finding.distinct for finding in self.findings)
        rest = len(self.findings) - copies - trained
        whose = "its" if trained == 1 else "their"
        return (
            f"{count(len(self.runs), 'row')}: {count(trained, 'training')} of {whose} own, "
            f"{count(copies, 'copy', 'copies')} of another row's history, {rest} without a whole history"
        )


def read_seed_log(place: str | Path) -> SeedLog:
    """Read a log and judge its rows.

    Args:
        place: the folder with the table and its `descriptions.json`, or the table with that beside it.

    Raises:
        SourceError: every problem at once, with line numbers.
    """
    log = read_log(place)
    findings = judge(log.rows)
    told, faults = _tell_all(log)
    starts = {row.number: _started(row, log, faults) for row in log.rows}
    finals = {row.number: _accuracy(row, log, faults) for row in log.rows}
    if faults:
        raise SourceError(faults)
    photos = _validation_photos(log.rows, findings)
    runs = []
    for row, finding, settings in zip(log.rows, findings, told, strict=True):
        accuracy, odd = _judged(finals[row.number], photos.get(row.cells["AUG_VAL_SPLIT"]))
        noted = replace(settings, notes=(*settings.notes, *odd, *_abbreviated(row)))
        runs.append(_run(log, row, finding, noted, starts[row.number], accuracy))
    return SeedLog(tuple(runs), findings)


def import_seed_log(store: RunStore, log: SeedLog) -> tuple[Run, ...]:
    """Add the runs that the store does not have; what is there is never touched.

    Returns:
        Those that were added; none when the log was imported before.

    Raises:
        TrackingError: the store cannot be read or written.
    """
    return store.adopt(log.runs)


# ---- from a row to a run --------------------------------------------------------------------------------------------


def _tell_all(log: Log) -> tuple[list[Told], list[str]]:
    told: list[Told] = []
    faults: list[str] = []
    for row in log.rows:
        try:
            told.append(tell(row, f"seed log {row.number}", f"{log.path.name}: line {row.line}"))
        except RecipeError as fault:
            faults.extend(fault.problems)
    return told, faults


def _started(row: Row, log: Log, faults: list[str]) -> str:
    try:
        moment = datetime.strptime(row.cells["TIME"], STARTED).replace(tzinfo=UTC)  # assumption: no zone is written
    except ValueError:
        faults.append(
            f"{log.path.name}: line {row.line}: TIME = {row.cells['TIME']!r}, expected a moment as in 20201209__19_23"
        )
        return ""
    return moment.isoformat(timespec="seconds")


def _accuracy(row: Row, log: Log, faults: list[str]) -> float | None:
    text = row.cells["R_EVA_VAL_ACC"]
    value = number(text)
    if text and (value is None or not 0 <= value <= 1):
        faults.append(f"{log.path.name}: line {row.line}: R_EVA_VAL_ACC = {text!r}, expected a share from 0 to 1")
    return value


def _validation_photos(rows: Sequence[Row], findings: Sequence[Finding]) -> dict[str, int | None]:
    """AUG_VAL_SPLIT → photos it held out, from the accuracies of the trainings that had it."""
    measured: dict[str, list[float]] = {}
    for row, finding in zip(rows, findings, strict=True):
        if finding.distinct:
            measured.setdefault(row.cells["AUG_VAL_SPLIT"], []).extend(row.values("R_VAL_ACC"))
    return {share: photos_behind(accuracies) for share, accuracies in measured.items()}


def _judged(accuracy: float | None, photos: int | None) -> tuple[Figure | None, tuple[str, ...]]:
    if accuracy is None:
        return None, ()
    if photos is None or is_count(accuracy, photos):
        return figure(accuracy, photos), ()
    note = f"R_EVA_VAL_ACC is no whole count of the {photos:,} validation photos: it was not measured on them"
    return figure(accuracy, photos), (note,)


def _abbreviated(row: Row) -> tuple[str, ...]:
    return () if row.is_whole("R_BATCH_TIME") else ("numpy printed only the first and last of its batch times",)


def _run(log: Log, row: Row, finding: Finding, told: Told, started: str, accuracy: Figure | None) -> Run:
    seconds = sum(row.values("R_TRAIN_TIME")) or None
    key = hash_json(row.cells)
    share = row.cells["AUG_VAL_SPLIT"]
    return Run(
        id=key[:ID_LENGTH],
        name=told.recipe.name,
        status="finished",
        started=started,
        seconds=seconds,
        recipe=told.recipe,
        dataset=UNKNOWN,
        origin=str(log.path),
        photos=0,
        classes=(),
        code_version=UNKNOWN,
        machine=_UNKNOWN_MACHINE,
        split=f"{share} of the photos validate; which ones is {UNKNOWN}",
        history=_history(row, told.recipe.stage[0]),
        timings={} if seconds is None else {"training": seconds},
        excluded="" if finding.distinct else f"row {row.number} {finding.reason}",
        notes=told.notes,
        imported=Imported(
            source=str(log.path),
            row=row.number,
            key=key,
            accuracy=accuracy,
            cells={column: text for column, text in row.cells.items() if column not in LISTS},
            descriptions=dict(log.descriptions),
            stated=told.stated,
        ),
    )


_UNKNOWN_MACHINE = Machine(
    system=UNKNOWN, processor=UNKNOWN, cores=0, threads=0, device=UNKNOWN, python=UNKNOWN, packages={}
)


def _history(row: Row, stage: Stage) -> tuple[EpochRecord, ...]:
    if not all(row.lists[column] for column in CURVES):
        return ()
    batches = _batch_seconds(row)
    curves = zip(*(row.values(column) for column in CURVES), strict=True)
    return tuple(
        EpochRecord(
            stage=stage.name,
            epoch=epoch,
            lr=_rate(stage, epoch),
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=seconds,
            batch_seconds=batches[epoch] if batches else (),
        )
        for epoch, (seconds, loss, accuracy, val_loss, val_accuracy) in enumerate(curves)
    )


def _batch_seconds(row: Row) -> list[tuple[float, ...]]:
    """Per epoch; nothing where they are not all there."""
    times, epochs = row.values("R_BATCH_TIME"), len(row.lists["R_LOSS"])
    if not row.is_whole("R_BATCH_TIME") or not times or len(times) % epochs:
        return []
    each = len(times) // epochs
    return [times[start : start + each] for start in range(0, len(times), each)]


def _rate(stage: Stage, epoch: int) -> float:
    """What the notebook's scheduler sets: LR · u^floor((1+epoch)/drop)."""
    if stage.schedule.kind != "steps":
        return stage.lr
    return float(stage.lr * stage.schedule.factor ** ((1 + epoch) // stage.schedule.every))


def _row_of(run: Run) -> str:
    return run.imported.row if run.imported else run.id
