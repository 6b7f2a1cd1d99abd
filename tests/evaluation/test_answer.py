from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from carspotter.errors import Reason
from carspotter.evaluation.answer import answer, answer_rows
from carspotter.records import Answer, Calibration, Rejected, Scores, Verdict

CLASSES = ("BMW 3", "Audi A4", "Lada 2109", "Kia Rio")
LOGITS = np.array([[0.5, 2.0, 1.0, -3.0], [4.0, 0.0, 0.0, 0.0]], dtype=np.float32)
BAD = Rejected("broken.jpg", Reason.TRUNCATED, "the file ends early; copy it again")


def made(logits: np.ndarray = LOGITS, rejected: tuple[Rejected, ...] = (BAD,)) -> Scores:
    return Scores(("a.jpg", "b.jpg")[: len(logits)], logits, np.zeros((len(logits), 2), np.float32), rejected)


def test_answers_come_in_the_order_asked_and_refused_photos_keep_their_place() -> None:
    answers = answer(made(), CLASSES, None, ["b.jpg", "broken.jpg", "a.jpg", "b.jpg"])
    assert [a.id for a in answers] == ["b.jpg", "broken.jpg", "a.jpg", "b.jpg"]
    assert [a.verdict for a in answers] == [Verdict.NAMED, Verdict.BAD_PHOTO, Verdict.NAMED, Verdict.NAMED]
    assert (answers[1].code, answers[1].reason, answers[1].top) == (Reason.TRUNCATED, BAD.sentence, ())
    assert [g.label for g in answers[2].top] == ["Audi A4", "Lada 2109", "BMW 3"]
    assert [g.probability for g in answers[2].top] == pytest.approx(softmax([2.0, 1.0, 0.5, -3.0])[:3])


def test_a_calibration_divides_the_logits() -> None:
    calibration = Calibration(temperature=2.5, method="by hand", photos=10)
    found = answer(made(), CLASSES, calibration, ["a.jpg"])[0]
    assert [g.probability for g in found.top] == pytest.approx(softmax(np.array([2.0, 1.0, 0.5, -3.0]) / 2.5)[:3])


SURE = Calibration(temperature=1.0, method="by hand", photos=100, name_at=0.8, set_at=0.1, error=0.05)
MODELS = ("BMW_X3", "BMW_X5", "BMW_X6", "BMW_3ER", "AUDI_A4")


def judged(probabilities: list[float], calibration: Calibration = SURE) -> Answer:
    logits = np.log(np.array([probabilities], dtype=np.float32))
    return answer(Scores(("a.jpg",), logits, np.zeros((1, 2), np.float32)), MODELS, calibration, ["a.jpg"])[0]


def test_a_sure_photo_is_named() -> None:
    found = judged([0.81, 0.12, 0.03, 0.03, 0.01])
    assert (found.verdict, found.top[0].label, found.group, found.reason) == (Verdict.NAMED, "BMW_X3", None, "")


def test_one_of_two_or_three_is_claimed_together_with_their_family() -> None:
    two = judged([0.55, 0.38, 0.03, 0.02, 0.02])
    assert (two.verdict, two.group) == (Verdict.ONE_OF, "BMW X")
    assert two.reason == "BMW_X3 or BMW_X5; another model in about 5 % of photos that are not named"
    three = judged([0.4, 0.09, 0.02, 0.31, 0.18])
    assert (three.verdict, three.group) == (Verdict.ONE_OF, None)  # "a BMW" would contradict the Audi
    assert three.reason.startswith("BMW_X3 or BMW_3ER or AUDI_A4;")


def test_families_that_a_table_tells_take_the_place_of_those_that_names_tell() -> None:
    logits = np.log(np.array([[0.45, 0.40, 0.05, 0.05, 0.05]], dtype=np.float32))
    scores = Scores(("a.jpg",), logits, np.zeros((1, 2), np.float32))
    parents = {"BMW_X3": "crossover", "BMW_X5": "crossover"}
    (found,) = answer(scores, MODELS, SURE, ["a.jpg"], parents=parents)
    assert (found.verdict, found.group) == (Verdict.ONE_OF, "crossover")


def test_a_photo_that_is_not_named_never_claims_one_model() -> None:
    """Even where only one class reaches the set's bound: naming it alone would be naming it."""
    alone = judged([0.79, 0.09, 0.05, 0.04, 0.03])
    assert (alone.verdict, alone.reason.split(";")[0]) == (Verdict.ONE_OF, "BMW_X3 or BMW_X5")


def test_more_than_three_are_for_a_person_but_the_family_is_still_told() -> None:
    some_bmw = judged([0.25, 0.25, 0.25, 0.2, 0.05])
    assert (some_bmw.verdict, some_bmw.group) == (Verdict.UNSURE, "BMW")
    assert some_bmw.reason == "a BMW, which one is unsure; a person should look"
    nothing = judged([0.2, 0.2, 0.2, 0.15, 0.25])
    assert (nothing.verdict, nothing.group) == (Verdict.UNSURE, None)
    assert nothing.reason.startswith("5 models may be meant")


def test_nothing_disappears() -> None:
    with pytest.raises(ValueError, match=r"neither scored nor rejected: lost\.jpg"):
        answer(made(), CLASSES, None, ["a.jpg", "lost.jpg"])


def test_a_photo_is_not_both_scored_and_rejected() -> None:
    twice = made(rejected=(Rejected("a.jpg", Reason.MISSING, "gone"),))
    with pytest.raises(ValueError, match=r"more than once: a\.jpg"):
        answer(twice, CLASSES, None, ["b.jpg"])


def test_two_photos_of_one_id_are_not_answered_as_one() -> None:
    same = Scores(("a.jpg", "a.jpg"), LOGITS, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"more than once: a\.jpg"):
        answer(same, CLASSES, None, ["a.jpg", "a.jpg"])


def test_logits_that_are_no_numbers_or_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        answer(made(np.full((1, 4), np.nan, np.float32)), CLASSES, None, ["a.jpg"])
    with pytest.raises(ValueError, match="need another shape"):
        answer(made(), CLASSES[:3], None, ["a.jpg"])


def test_no_photos_give_no_answers() -> None:
    assert answer(made(np.zeros((0, 4), np.float32), ()), CLASSES, None, []) == ()


def test_rows_have_the_columns_of_predict() -> None:
    columns, rows = answer_rows(answer(made(), CLASSES, None, ["a.jpg", "broken.jpg"]))
    assert ",".join(columns) == "id,verdict,label,probability,label2,probability2,label3,probability3,group,reason"
    assert rows[0][:2] + rows[0][2::2] == ("a.jpg", "named", "Audi A4", "Lada 2109", "BMW 3", None)
    assert rows[0][3] == pytest.approx(softmax([2.0, 1.0, 0.5, -3.0])[0])
    assert rows[0][-1] == ""
    assert rows[1] == ("broken.jpg", "bad_photo", *[None] * 7, "truncated: the file ends early; copy it again")


def test_two_classes_leave_the_third_pair_empty() -> None:
    _, rows = answer_rows(answer(made(LOGITS[:1, :2], ()), CLASSES[:2], None, ["a.jpg"]))
    assert [len(row) for row in rows] == [10]
    assert rows[0][6:8] == (None, None)
