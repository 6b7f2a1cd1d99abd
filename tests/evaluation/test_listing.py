from __future__ import annotations

import numpy as np
import pytest

from carspotter.errors import Reason
from carspotter.evaluation.listing import check_listing, find_class, join_photos, price_gaps, read_price
from carspotter.records import Calibration, Evidence, Listed, ListingVerdict, Rejected, Scores, Verdict

CLASSES = ("BMW_X5", "BMW_X6", "AUDI_A4")
TRUST = Calibration(temperature=1.0, method="by hand", photos=100, name_at=0.8, set_at=0.1, error=0.05)
BAD = Rejected("bad.jpg", Reason.TRUNCATED, "the file ends early")


def checked(
    declared: str, *photos: list[float], strange: dict[int, Verdict] | None = None, rejected: tuple[Rejected, ...] = ()
) -> Listed:
    ids = tuple(f"{i}.jpg" for i in range(len(photos)))
    logits = np.log(np.array(photos, np.float32).reshape(len(photos), 3))
    scores = Scores(ids, logits, np.zeros((len(photos), 2), np.float32), rejected)
    return check_listing(declared, scores, CLASSES, TRUST, {ids[at]: v for at, v in (strange or {}).items()})


def test_photos_are_joined_into_one_probability() -> None:
    two = np.log(np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1]], np.float32))
    product = np.sqrt(np.array([0.42, 0.06, 0.01])) ** np.sqrt(2)
    assert join_photos(two, 1.0) == pytest.approx(product / product.sum(), abs=1e-6)
    assert join_photos(two[:1], 1.0) == pytest.approx([0.6, 0.3, 0.1], abs=1e-6)  # one photo says what it says
    agreeing = join_photos(np.repeat(two[:1], 4, axis=0), 1.0)[0]
    assert 0.6 < agreeing < 0.6**4 / (0.6**4 + 0.3**4 + 0.1**4)  # surer than one, less than independent witnesses
    assert join_photos(two, 100.0) == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    with pytest.raises(ValueError, match="no photo"):
        join_photos(two[:0], 1.0)


def test_a_declared_model_meets_its_class_by_letters_and_digits() -> None:
    assert [find_class(name, CLASSES) for name in ("bmw x5", "BMW-X6", " Audi A4 ", "BMW", "", "—")] == [
        0, 1, 2, None, None, None,
    ]  # fmt: skip
    assert find_class("a b", ("A_B", "ab")) is None  # which one is meant cannot be told


def test_a_declared_model_with_more_words_meets_the_class_that_it_names() -> None:
    classes = ("BMW_X5", "X5", "BMW_X6", "2114", "Audi_80", "—")
    said = {
        "BMW X5 xDrive30d, 2015": 0,  # the longer of two that are named
        "new bmw-x6!": 2,
        "ВАЗ 2114 Samara": 3,
        "BMW X5M": None,
        "BMW 21144": None,
        "BMW X5 or BMW X6": None,
        "Audi 80 for 2114": None,
        "—": None,
    }
    assert {name: find_class(name, classes) for name in said} == said


def test_a_match() -> None:
    found = checked("BMW X5", [0.7, 0.2, 0.1], [0.85, 0.1, 0.05])
    assert (found.verdict, found.recognised) == (ListingVerdict.MATCH, "BMW_X5")
    assert found.suspicion == pytest.approx(1 - found.probability)
    assert found.reason.startswith("2 photos: BMW_X5 ")


def test_a_mismatch_needs_another_model_that_is_sure() -> None:
    found = checked("Audi A4", [0.95, 0.04, 0.01])
    assert (found.verdict, found.recognised) == (ListingVerdict.MISMATCH, "BMW_X5")
    assert found.probability == pytest.approx(0.01, abs=1e-4)
    assert found.reason == "1 photo: BMW_X5 95%; AUDI_A4 1%"
    assert found.evidence == Evidence(1, "BMW_X5", pytest.approx(0.95, abs=1e-4), 0, 0, 0)
    unsure = checked("Audi A4", [0.6, 0.39, 0.01])
    assert (unsure.verdict, unsure.recognised) == (ListingVerdict.CANNOT_TELL, None)
    close = checked("BMW X6", [0.85, 0.14, 0.01])  # sure of another, and yet the declared one is not out of question
    assert (close.verdict, close.recognised) == (ListingVerdict.CANNOT_TELL, "BMW_X5")


def test_a_model_that_was_not_taught() -> None:
    found = checked("Lada 2109", [0.95, 0.04, 0.01])
    assert (found.verdict, found.suspicion, found.probability) == (ListingVerdict.CANNOT_TELL, 0.5, None)
    assert found.reason.startswith("the model was not taught Lada 2109; 1 photo: BMW_X5 95%")
    strange = {0: Verdict.UNKNOWN, 1: Verdict.UNKNOWN}
    both = checked("Lada 2109", [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], strange=strange)
    assert both.verdict is ListingVerdict.CANNOT_TELL


def test_photos_that_show_no_known_model() -> None:
    one, sure = Verdict.UNKNOWN, [0.98, 0.01, 0.01]
    assert checked("BMW X5", sure, strange={0: one}).verdict is ListingVerdict.CANNOT_TELL  # one in twenty is strange
    two = checked("BMW X5", sure, sure, strange={0: one, 1: one})
    assert (two.verdict, two.suspicion, two.probability) == (ListingVerdict.MISMATCH, 0.95, None)
    assert two.reason == "2 unlike every known model, so hardly BMW X5"
    inside = checked("BMW X5", sure, strange={0: Verdict.NOT_A_CAR}, rejected=(BAD,))
    assert inside.verdict is ListingVerdict.NOT_EXTERIOR
    assert inside.reason == "1 without a car seen from outside; 1 unusable"
    broken = checked("BMW X5", sure, strange={0: Verdict.NOT_A_CAR}, rejected=(BAD,) * 2)
    assert broken.verdict is ListingVerdict.CANNOT_TELL  # of most photos nothing is known
    assert broken.reason == "1 without a car seen from outside; 2 unusable"
    for nothing in (checked("BMW X5"), checked("BMW X5", rejected=(BAD,))):
        assert (nothing.verdict, nothing.suspicion) == (ListingVerdict.CANNOT_TELL, 0.5)


def test_what_was_left_out_is_said_and_is_not_unusable() -> None:
    more = Rejected("photo", Reason.TOO_MANY, "more than 50 photos")
    found = checked("BMW X5", [0.9, 0.05, 0.05], rejected=(BAD, more))
    assert found.reason == "1 photo: BMW_X5 90%; 1 unusable; more than 50 photos"
    assert (found.evidence.unusable, found.evidence.left_out) == (1, ("more than 50 photos",))
    assert checked("BMW X5", rejected=(more,)).reason == "no photo; more than 50 photos"


def test_strangers_are_left_out_of_the_evidence() -> None:
    alone = checked("BMW X5", [0.9, 0.05, 0.05])
    beside = checked("BMW X5", [0.9, 0.05, 0.05], [0.01, 0.01, 0.98], strange={1: Verdict.NOT_A_CAR}, rejected=(BAD,))
    assert beside.probability == pytest.approx(alone.probability)
    assert beside.reason == "1 photo: BMW_X5 90%; 1 without a car seen from outside; 1 unusable"


def test_prices_are_compared_within_a_model_and_year() -> None:
    models = ["A", "A", "A", "B", "B", None, "A"]
    prices = [100.0, 200.0, 300.0, 50.0, 60.0, 10.0, None]
    assert price_gaps(prices, models) == (0.5, 0.0, -0.5, None, None, None, None)
    years = ["2010", "2010", " 2010", "2010", "2010", "2010", "2010"]
    assert price_gaps(prices, models, years) == (0.5, 0.0, -0.5, None, None, None, None)
    assert price_gaps(prices, models, ["2010", "2011", "2010", "", "", "", ""]) == (None,) * 7


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1 250 000 ₽", 1_250_000),
        ("1\u00a0250\u00a0000", 1_250_000),
        ("1,250,000.50", 1_250_000.5),
        ("1.250.000,5", 1_250_000.5),
        ("$12.500", 12_500),
        ("900", 900),
        ("12,50", 12.5),
        ("договорная", None),
        ("", None),
        ("0", None),
        ("1e99" * 9, None),
        ("2010-2012", None),
        ("=1+1", None),
        ("1,2 млн ₽", None),
        ("850 тыс.", None),
        ("15k", None),
        ("12500.125", None),
        ("5 000 6 000", None),
        ("1 250 000 руб.", 1_250_000),
        ("12 500 €", 12_500),
        ("от 900'000 руб.", 900_000),
    ],
)
def test_prices_as_people_write_them(text: str, price: float | None) -> None:
    assert read_price(text) == price
