"""What stands beside a report for other programs: every answer as a row, every class and confusion with its counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carspotter.data.table import Cell
from carspotter.evaluation.answer import answer_rows
from carspotter.evaluation.judging import Judged, flat
from carspotter.evaluation.shares import share
from carspotter.records import Answer, Verdict

NOT_TOLD = ("id", "label")
"""Columns of `predict` that have another place here."""


def judged_rows(judged: Judged, labels: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """`answers.csv`: its columns, and a row per photo, those that could not be used last and with their reason.

    `label` is the truth, `named` the likeliest class, `right` 1 where they are the same; then as `predict` has it.

    Args:
        judged: the model on its photos.
        labels: photo id → class, for photos that could not be used; those without one are left empty.
    """
    truth = dict(zip(judged.ids, judged.truth.tolist(), strict=True))
    refused = [Answer(one.id, Verdict.BAD_PHOTO, reason=one.sentence, code=one.reason) for one in judged.rejected]
    columns, cells = answer_rows([*judged.answers, *refused])
    rows: list[tuple[Cell, ...]] = []
    for row in cells:
        told = dict(zip(columns, row, strict=True))
        photo, named = str(told["id"]), told["label"]
        label = judged.classes[truth[photo]] if photo in truth else labels.get(photo)
        rest = [cell for name, cell in told.items() if name not in NOT_TOLD]
        rows.append((photo, label, named, *rest, int(label == named) if photo in truth else None))
    return ("id", "label", "named", *(name for name in columns if name not in NOT_TOLD), "right"), rows


def metrics(judged: Judged) -> dict[str, Any]:
    """`metrics.json`: the flat figures, then lists: classes, confused pairs the worst first, values of each column."""
    lists = {"classes": _classes(judged), "confusions": _confusions(judged), "columns": _columns(judged)}
    return flat(judged) | lists


def _classes(judged: Judged) -> list[dict[str, str | float | None]]:
    guess = judged.probabilities.argmax(1)
    rows: list[dict[str, str | float | None]] = []
    for at, name in enumerate(judged.classes):
        there, answered = judged.truth == at, guess == at
        row: dict[str, str | float | None] = {
            "label": name,
            "photos": int(there.sum()),
            "answered": int(answered.sum()),
        }
        for figure, of in (("precision", answered), ("recall", there)):
            right = there[of] & answered[of]
            row |= share(right, judged.groups[of]).flat(figure) if len(right) else {figure: None}
        rows.append(row)
    return rows


def _confusions(judged: Judged) -> list[dict[str, str | int]]:
    return [
        {"truth": one.truth, "answered": one.answered, "photos": len(one.photos), "of": one.of}
        for one in judged.confusions
    ]


def _columns(judged: Judged) -> dict[str, list[dict[str, str | float]]]:
    return {
        name: [{"value": one.name, "photos": one.accuracy.n, **one.accuracy.flat("accuracy")} for one in slices]
        for name, slices in judged.columns.items()
    }
