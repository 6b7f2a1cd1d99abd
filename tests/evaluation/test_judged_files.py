"""Files beside a report, of answers that can be counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from carspotter.errors import Reason
from carspotter.evaluation import report_page as pages
from carspotter.evaluation.judged_files import judged_rows, metrics
from carspotter.evaluation.judging import Judged, flat, judge
from carspotter.evaluation.shares import wilson
from carspotter.records import Rejected, Scores

CLASSES = ("a", "b", "c")
ANSWERED = [0, 1, 1, 1]
TRUTH = np.array([0, 0, 0, 1])


@pytest.fixture
def judged() -> Judged:
    logits = 3 * np.eye(3, dtype=np.float32)[ANSWERED]
    refused = tuple(Rejected(photo, Reason.EMPTY, "no bytes; copy it again") for photo in ("x", "y"))
    scores = Scores(tuple("pqrs"), logits, np.zeros((4, 1), np.float32), refused)
    return judge(scores, TRUTH, CLASSES, None)


def test_every_photo_has_a_row_with_its_truth(judged: Judged) -> None:
    columns, rows = judged_rows(judged, {"x": "c"})
    assert columns[:5] == ("id", "label", "named", "verdict", "probability")
    assert columns[-2:] == ("reason", "right")
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(one["id"], one["label"], one["named"], one["right"]) for one in told] == [
        *[("p", "a", "a", 1), ("q", "a", "b", 0), ("r", "a", "b", 0), ("s", "b", "b", 1)],
        *[("x", "c", None, None), ("y", None, None, None)],
    ]  # fmt: skip
    assert told[4]["verdict"] == "bad_photo"
    assert told[4]["reason"] == "empty: no bytes; copy it again"
    assert sum(not one["right"] for one in told[:4]) == len(judged.wrong)


def test_classes_and_confusions_stand_in_the_figures(judged: Judged) -> None:
    found = json.loads(json.dumps(metrics(judged)))
    assert found.items() >= flat(judged).items()
    first, second, third = found["classes"]
    assert (first["label"], first["photos"], first["answered"], first["precision"]) == ("a", 3, 1, 1.0)
    assert first["recall_low"] < first["recall"] == 1 / 3 < first["recall_high"]
    assert (second["precision"], second["recall"]) == (1 / 3, 1.0)
    assert third == {"label": "c", "photos": 0, "answered": 0, "precision": None, "recall": None}
    assert found["confusions"] == [{"truth": "a", "answered": "b", "photos": 2, "of": 3}]


def test_a_page_that_stops_says_where_the_rest_is(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "answers.csv" not in pages.report_page("m", (), judged, {})
    monkeypatch.setattr(pages, "WRONG", 1)
    assert "The first 1 of 2; answers.csv has all" in pages.report_page("m", (), judged, {})


def test_classes_take_copies_as_one_witness() -> None:
    """Four photos of one car, all right, say of their class no more than one photo does."""
    logits, truth = 3 * np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1]], np.array([0, 0, 0, 0, 1])
    scores = Scores(tuple("pqrst"), logits, np.zeros((5, 1), np.float32))
    alone, copies = (
        metrics(judge(scores, truth, CLASSES, None, groups=some))["classes"][0]
        for some in (None, np.array([7, 7, 7, 7, 1]))
    )
    one = wilson(1, 1)
    for figure in ("precision", "recall"):
        assert copies[figure] == alone[figure] == 1.0
        assert copies[f"{figure}_low"] == pytest.approx(one.low)
        assert alone[f"{figure}_low"] == pytest.approx(wilson(4, 4).low)
