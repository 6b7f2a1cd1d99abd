"""What answers on labelled photos tell, on scores whose every figure can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import precision_recall_fscore_support

from carspotter.errors import Reason
from carspotter.evaluation.by_value import by_value
from carspotter.evaluation.judged_files import metrics
from carspotter.evaluation.judging import Judged, flat, judge, macro_figures, sort_by
from carspotter.evaluation.report_page import report_page
from carspotter.records import Calibration, Rejected, Scores, Verdict

CLASSES = ("BMW_X3", "BMW_X5", "<AUDI>")
PROBABILITIES = [  # truth: 0, 0, 1, 1, 2, 2
    [0.9, 0.05, 0.05],
    [0.2, 0.7, 0.1],
    [0.55, 0.4, 0.05],
    [0.1, 0.85, 0.05],
    [0.3, 0.3, 0.4],
    [0.6, 0.3, 0.1],
]
TRUTH = np.array([0, 0, 1, 1, 2, 2])
CALIBRATION = Calibration(temperature=1.0, method="by hand", photos=9, name_at=0.8, set_at=0.25, error=0.1)


def scores(probabilities: npt.ArrayLike = PROBABILITIES, rejected: tuple[Rejected, ...] = ()) -> Scores:
    logits = np.log(np.asarray(probabilities, dtype=np.float32))
    ids = tuple(f"{i}.jpg" for i in range(len(logits)))
    return Scores(ids, logits, np.zeros((len(logits), 2), np.float32), rejected)


@pytest.fixture
def judged() -> Judged:
    kinds = {"dark": np.array([True, True, False, False, False, False]), "tiny": np.zeros(6, dtype=bool)}
    bad = Rejected("x.jpg", Reason.EMPTY, "no bytes; copy it again")
    return sort_by(judge(scores(rejected=(bad,)), TRUTH, CLASSES, CALIBRATION), kinds)


def test_right_and_wrong_photos_are_told_apart(judged: Judged) -> None:
    assert (judged.evaluation.accuracy.value, len(judged.rejected)) == (0.5, 1)
    assert judged.wrong == (1, 5, 2)  # by falling confidence: .7, .6, .55
    pairs = [(one.truth, one.answered, one.photos, one.of) for one in judged.confusions]
    assert pairs == [
        ("<AUDI>", "BMW_X3", (5,), 2),
        ("BMW_X3", "BMW_X5", (1,), 2),
        ("BMW_X5", "BMW_X3", (2,), 2),
    ]


def test_the_most_frequent_confusion_comes_first() -> None:
    found = judge(scores([[0.1, 0.9, 0.0001]] * 3 + [[0.9, 0.1, 0.0001]] * 2), np.array([0, 0, 1, 1, 1]), CLASSES, None)
    assert [(one.truth, len(one.photos)) for one in found.confusions] == [("BMW_X3", 2), ("BMW_X5", 2)]
    again = judge(scores([[0.9, 0.1, 0.0001]] * 5), np.array([1, 1, 2, 0, 0]), CLASSES, None)
    assert [(one.truth, len(one.photos)) for one in again.confusions] == [("BMW_X5", 2), ("<AUDI>", 1)]


def test_verdicts_are_judged_by_what_they_claim(judged: Judged) -> None:
    """Named are .9 and .85, both right; of the others each claims two or three, and only the last misses."""
    assert {v: (n, held and held.value) for v, (n, held) in judged.verdicts.items()} == {
        Verdict.NAMED: (2, 1.0),
        Verdict.ONE_OF: (4, 0.75),
    }
    assert [a.claim for a in judged.answers][1:3] == [("BMW_X5", "BMW_X3"), ("BMW_X3", "BMW_X5")]
    loose = judge(scores(), TRUTH, CLASSES, CALIBRATION.model_copy(update={"set_at": 0.0001}))
    assert all(len(a.claim) == 3 for a in loose.answers if a.verdict is Verdict.ONE_OF)


def test_what_claims_nothing_is_not_judged_by_it() -> None:
    many = scores(np.full((4, 5), 0.2))
    found = judge(many, np.zeros(4, dtype=np.int64), tuple("abcde"), CALIBRATION.model_copy(update={"set_at": 0.1}))
    assert found.verdicts == {Verdict.UNSURE: (4, None)}
    assert "verdict_unsure_true" not in flat(found)


def test_macro_figures_are_scikit_learns(judged: Judged) -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    guess[:150] = truth[:150]
    found = macro_figures(truth, guess, 4)
    expected = precision_recall_fscore_support(truth, guess, average="macro")[:3]
    assert [found[name].value for name in ("precision", "recall", "f1")] == pytest.approx(expected)
    assert all(figure.low < figure.value < figure.high for figure in found.values())
    assert found["f1"].high - found["f1"].low < 0.15


def test_kinds_of_photos_stand_beside_all_others(judged: Judged) -> None:
    (dark,) = judged.slices  # nothing is tiny, and nothing is said of it
    assert (dark.name, dark.accuracy.value, dark.accuracy.n) == ("dark", 0.5, 2)
    assert dark.rest is not None
    assert (dark.rest.value, dark.rest.n) == (0.5, 4)


def test_photos_are_judged_by_the_values_of_a_column(judged: Judged) -> None:
    assert metrics(judged)["columns"] == {}
    sorted_by_view = sort_by(judged, {}, {"view": by_value(["<front>", "", "<front>", "rear", "<front>", "rear"])})
    front, rear, none = metrics(sorted_by_view)["columns"]["view"]
    assert (front["value"], front["photos"], front["accuracy"]) == ("<front>", 3, 2 / 3)
    assert front["accuracy_low"] < 2 / 3 < front["accuracy_high"]
    assert [(one["value"], one["photos"], one["accuracy"]) for one in (rear, none)] == [
        ("rear", 2, 0.5),
        ("no value", 1, 0),
    ]
    html = report_page("m", (), sorted_by_view, {})
    assert "<th>view</th>" in html
    assert "<td>&lt;front&gt;</td><td>3</td><td>0.667 (" in html


def test_flat_figures_have_their_bounds(judged: Judged) -> None:
    found = flat(judged)
    assert (found["n"], found["rejected"], found["accuracy"], found["slice_dark_n"]) == (6, 1, 0.5, 2)
    for name in ("accuracy", "top3_accuracy", "macro_f1", "calibration_error", "slice_dark_accuracy"):
        assert 0 <= found[f"{name}_low"] <= found[name] <= found[f"{name}_high"] <= 1
    assert all(np.isfinite(value) for value in found.values())


def test_the_log_loss_is_of_the_probabilities_that_are_told() -> None:
    plain = judge(scores(), TRUTH, CLASSES, None)
    told = judge(scores(), TRUTH, CLASSES, CALIBRATION.model_copy(update={"temperature": 2.0}))
    by_hand = -np.log(told.probabilities[np.arange(6), TRUTH]).mean()
    assert flat(told)["log_loss"] == pytest.approx(by_hand)
    assert flat(told)["log_loss_uncalibrated"] == flat(plain)["log_loss"] == pytest.approx(plain.evaluation.log_loss)
    assert f"log loss, 0 is best</td><td>{by_hand:.3f}" in report_page("m", (), told, {})
    assert "log loss before calibration" in report_page("m", (), told, {})
    assert "log loss before calibration" not in report_page("m", (), plain, {})


def test_one_photo_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="at least two"):
        judge(scores(PROBABILITIES[:1]), TRUTH[:1], CLASSES, None)


class Links(HTMLParser):
    """What a page asks for, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_every_part_and_asks_nobody(judged: Judged) -> None:
    html = report_page("m on <s>", ("a & b",), replace(judged), {})
    seen = Links()
    seen.feed(html)
    assert not {"script", "link", "iframe", "audi", "s"} & set(seen.tags)
    assert all(asked.startswith("#") for asked in seen.asked)
    text = " ".join(seen.words)
    for part in ("m on <s>", "a & b", "<AUDI>", "5.jpg", "one_of", "dark", "confidence", "share answered"):
        assert part in text
    assert seen.tags.count("svg") == 2
    assert seen.tags.count("figcaption") == 2 + 3 + 3  # charts, pairs, wrong photos


def test_a_figure_and_its_interval_are_one_cell_which_wraps_on_a_narrow_screen(judged: Judged) -> None:
    html = report_page("m", (), judged, {})
    accuracy = judged.evaluation.accuracy
    assert f"<td>accuracy</td><td>0.500 ({accuracy.low:.3f} to {accuracy.high:.3f})</td></tr>" in html
    assert html.count("<td>0.500 (0.095 to 0.905)</td>") == 1  # the dark photos
    narrow = html.split("@media (max-width:40rem)", 1)[1].split("}}", 1)[0]
    assert "white-space:normal" in narrow


def test_a_faultless_model_has_a_page_too() -> None:
    right = judge(scores([[0.9, 0.05, 0.05]] * 3), np.zeros(3, dtype=np.int64), CLASSES, None)
    html = report_page("m", (), right, {})
    assert 'id="wrong"' not in html
    assert 'id="pairs"' not in html
