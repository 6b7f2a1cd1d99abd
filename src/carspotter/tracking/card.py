"""A run on one page: its settings and figures by what they are about, each with its description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from carspotter.recipe import Recipe
from carspotter.records import ClassFigures, Evaluation, Figure, Machine, Run
from carspotter.tracking.differences import UNKNOWN, known_settings

Group = Literal["run", "data", "augmentation", "model", "head", "optimisation", "result", "time", "machine"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""In the order shown."""

_PARTS: Mapping[str, Group] = {"split": "data", "head": "head", "augment": "augmentation", "schedule": "optimisation"}
"""Tables of a recipe, wherever they stand."""
_KEYS: Mapping[str, Group] = {
    **dict.fromkeys(("fit", "frame", "light", "height", "width", "seed"), "data"),
    **dict.fromkeys(("outside_weight", "pseudo_bar", "pseudo_weight"), "data"),
    **dict.fromkeys(("views", "mixup", "cutmix"), "augmentation"),
    **dict.fromkeys(("backbone", "weights", "trains", "freeze_batchnorm"), "model"),
    **dict.fromkeys(("name", "about"), "run"),
    **dict.fromkeys(("threads", "shards", "precision", "compile"), "machine"),
}
"""Single settings; every other one is optimisation."""
_LOG_PARTS: Mapping[str, Group] = {"AUG": "augmentation", "M": "model", "H": "head", "C": "optimisation", "R": "result"}
"""First part of a column of the seed's log."""
_LOG_KEYS: Mapping[str, Group] = {
    **dict.fromkeys(("AUG_VAL_SPLIT", "AUG_IMG_SIZE"), "data"),
    **dict.fromkeys(("AUG_BATCH_SIZE", "M_EPOCHS", "M_EPOCHS_DROP", "M_LR_UPDATE", "M_CALLBACKS_TYPE"), "optimisation"),
    "TIME": "time",
    "NUM_EXP": "run",
}

_PLAIN: Mapping[str, str] = {
    "id": "a beginning of it is enough to name the run",
    "status": "running, finished, failed or interrupted",
    "photos": "of the source, without those left out",
    "code_version": "of carspotter, with the commit in a checkout",
    "bundle_hash": "equal where the same model came out",
    "error": "what stopped it",
    "system": "operating system",
    "processor": "as its maker calls it",
    "cores": "that this program may use",
    "threads": "that it used",
    "device": "cpu, or the name of the GPU",
    "python": "version",
}
"""Fields whose record gives no sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a card.

    Attributes:
        group: what it is about.
        key: dotted, as `--set` names a setting.
        value: as text.
        about: what it is.
    """

    group: Group
    key: str
    value: str
    about: str


def card(run: Run) -> tuple[Entry, ...]:
    """Everything about a run, by group; within a group in the order of recipe and record.

    Of an imported run only what its log says: a default of ours would pass for a setting.
    """
    entries = (*_facts(run), *_settings(run), *_figures(run), *_times(run), *_machine(run), *_log(run))
    return tuple(sorted(entries, key=lambda entry: GROUPS.index(entry.group)))


def _facts(run: Run) -> Iterator[Entry]:
    shown: dict[str, Group] = {
        **dict.fromkeys(("id", "status", "started", "code_version", "error", "excluded", "notes"), "run"),
        **dict.fromkeys(("origin", "dataset", "photos", "extra", "rejected", "split", "validation"), "data"),
        **dict.fromkeys(("bundle", "bundle_hash"), "result"),
    }
    for name, group in shown.items():
        if value := getattr(run, name):
            yield Entry(group, name, _text(value), _about(Run, name))
    if run.classes:
        yield Entry("data", "classes", str(len(run.classes)), "how many there are")


def _settings(run: Run) -> Iterator[Entry]:
    for key, value in known_settings(run).items():
        if value not in ("", UNKNOWN):
            yield Entry(_group(key), key, _text(value), describe(key))


def _group(key: str) -> Group:
    parts = [part for part in key.split(".") if part != "stage" and not part.isdigit()]
    if len(parts) > 1:
        return _PARTS.get(parts[0], "optimisation")
    return "run" if key.startswith("stage.") and parts == ["name"] else _KEYS.get(parts[0], "optimisation")


def describe(key: str) -> str:
    """What a setting is, by its dotted key: the sentence that the recipe itself gives; empty where it gives none."""
    *path, last = (part for part in key.split(".") if not part.isdigit())
    model: type[BaseModel] = Recipe
    for step in path:
        model = _table(model.model_fields[step].annotation)
    return _about(model, last)


def _table(annotation: Any) -> type[BaseModel]:
    """The table behind `Stage`, `tuple[Stage, ...]` or `Stage | None`."""
    if get_origin(annotation) in (tuple, list, Union, UnionType):
        return _table(get_args(annotation)[0])
    assert isinstance(annotation, type)  # noqa: S101
    assert issubclass(annotation, BaseModel), f"{annotation} has no settings of its own"  # noqa: S101
    return annotation


def _about(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].description or _PLAIN.get(name, "")


def _figures(run: Run) -> Iterator[Entry]:
    if run.evaluation is None:
        if run.accuracy is not None:
            yield Entry("result", "accuracy", _figure(run.accuracy), "on its validation photos, as the log says")
    else:
        for name, value in run.evaluation:
            if isinstance(value, Figure | float):
                yield Entry("result", name, _text(value), _about(Evaluation, name))
        for figures in run.evaluation.per_class:
            yield Entry("result", f"recall of {figures.label}", _recall(figures), "share of its photos found")
    best = [record.val_accuracy for record in run.history if record.val_accuracy is not None]
    if best:
        yield Entry("result", "best epoch", f"{max(best):.3f}", "highest validation accuracy of all epochs")
    yield Entry("result", "epochs", str(len(run.history)), "trained, over all stages")


def _recall(figures: ClassFigures) -> str:
    return "–" if figures.recall is None else f"{figures.recall:.3f} of {figures.photos} photos"


def _times(run: Run) -> Iterator[Entry]:
    if run.seconds is not None:
        yield Entry("time", "seconds", f"{run.seconds:.1f}", "the whole run")
    for phase, seconds in run.timings.items():
        yield Entry("time", phase, f"{seconds:.1f}", "seconds of this phase")
    for stage in dict.fromkeys(record.stage for record in run.history):
        each = [record.seconds for record in run.history if record.stage == stage]
        yield Entry("time", f"epoch of {stage}", f"{sum(each) / len(each):.1f}", f"seconds, mean of {len(each)}")
    batches = [seconds for record in run.history for seconds in record.batch_seconds]
    if batches:
        yield Entry("time", "batch", f"{sum(batches) / len(batches):.3f}", f"seconds, mean of {len(batches):,}")


def _machine(run: Run) -> Iterator[Entry]:
    if run.imported is None:
        for name, value in run.machine:
            yield Entry("machine", name, _text(value), _about(Machine, name))


def _log(run: Run) -> Iterator[Entry]:
    """What an imported log says, in its own words."""
    if run.imported is None:
        return
    yield Entry("run", "imported from", f"{run.imported.source}, row {run.imported.row}", "another program's log")
    for column, text in run.imported.cells.items():
        if text:
            group = _LOG_KEYS.get(column) or _LOG_PARTS.get(column.partition("_")[0], "run")
            yield Entry(group, column, text, run.imported.descriptions.get(column, ""))


def _text(value: Any) -> str:
    if isinstance(value, Figure):
        return _figure(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return "; ".join(map(str, value)) if value and isinstance(value[0], str) else str(list(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(figure: Figure) -> str:
    return str(figure) if figure.n else f"{figure.value:.3f}, on how many photos is not known"
