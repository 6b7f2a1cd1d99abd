"""Runs as people read them."""

from __future__ import annotations

from carspotter.apps.console import say, table
from carspotter.records import Run
from carspotter.tracking.differences import known_settings
from carspotter.tracking.sides import SHORT
from carspotter.tracking.verdict import show_figure

RUN_COLUMNS = ("id", "name", "status", "started", "seconds", "photos", "accuracy", "model")


def run_row(run: Run) -> tuple[object, ...]:
    """One line of `runs ls`."""
    shown = None if run.accuracy is None else show_figure(run.accuracy)
    seconds = None if run.seconds is None else round(run.seconds)
    return (run.id[:SHORT], run.name, run.status, run.started[:16], seconds, run.photos, shown, run.bundle)


def print_run(run: Run) -> None:
    """Everything about a run, in the order one asks: what, on what, how it went, what came out, with which settings."""
    table(("run", run.id), _facts(run))
    for title, print_part in (
        ("left out", _print_rejected),
        ("frozen and trained", _print_freezing),
        ("history", _print_history),
        ("classes", _print_classes),
        ("settings", _print_settings),
    ):
        say()
        say(f"# {title}")
        print_part(run)


def _facts(run: Run) -> list[tuple[str, object]]:
    machine = run.machine
    timings = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in run.timings.items())
    facts: list[tuple[str, object]] = [
        ("name", run.name),
        ("status", run.status if run.error is None else f"{run.status}: {run.error}"),
        ("started", run.started),
        ("took", None if run.seconds is None else f"{run.seconds:.1f} s ({timings})"),
        ("source", f"{run.origin}, {run.photos} photos, {len(run.classes)} classes"),
        ("fingerprint", run.dataset),
        ("split", run.split),
        ("code", run.code_version),
        ("machine", f"{machine.processor}, {machine.threads} threads, {machine.device}, {machine.system}"),
        ("python", machine.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in machine.packages.items())),
        ("model", run.bundle),
        ("bundle hash", run.bundle_hash),
    ]
    return [*facts, *_figures(run)]


def _figures(run: Run) -> list[tuple[str, object]]:
    if run.evaluation is None:
        return [("accuracy", run.accuracy)] if run.accuracy else []
    e = run.evaluation
    return [
        ("accuracy", e.accuracy),
        ("top-3 accuracy", e.top3_accuracy),
        ("mean recall", e.macro_recall),
        ("log loss", e.log_loss),
    ]


def _print_rejected(run: Run) -> None:
    for sentence in run.left_out or ("nothing",):
        say(sentence)


def _print_freezing(run: Run) -> None:
    for summary in run.freezing:
        say(summary)


def _print_history(run: Run) -> None:
    columns = ("stage", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
    rows = [tuple(getattr(record, name) for name in columns) for record in run.history]
    table(columns, [(stage, epoch, f"{lr:.2e}", *rest) for stage, epoch, lr, *rest in rows])


def _print_classes(run: Run) -> None:
    columns = ("label", "photos", "precision", "recall")
    figures = run.evaluation.per_class if run.evaluation else ()
    table(columns, [tuple(getattr(one, name) for name in columns) for one in figures])


def _print_settings(run: Run) -> None:
    table(("setting", "value"), list(known_settings(run).items()))
