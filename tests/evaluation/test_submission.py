from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.data.table import Table
from carspotter.errors import Reason, SourceError, SubmissionError
from carspotter.evaluation.submission import write_submission
from carspotter.records import Answer, Guess, Verdict

CLASSES, CODES = ("BMW 3", "Audi A4"), ("7", "03")


def sample(*ids: str, columns: tuple[str, ...] = ("Id", "Category")) -> Table:
    rows = tuple((i, *["0"] * (len(columns) - 1)) for i in ids)
    return Table("sample-submission.csv", columns, rows, tuple(range(2, 2 + len(rows))))


def named(photo: str, label: str = "Audi A4") -> Answer:
    return Answer(photo, Verdict.NAMED, (Guess(label, 0.9),))


def bad(photo: str, code: Reason = Reason.TRUNCATED) -> Answer:
    return Answer(photo, Verdict.BAD_PHOTO, reason="ends early", code=code)


def test_ids_columns_and_order_are_the_samples_and_categories_the_tables(tmp_path: Path) -> None:
    answers = [named("1e5.jpg", "BMW 3"), named("=007.jpg"), named("-3.jpg"), named("extra.jpg")]
    write_submission(tmp_path / "s.csv", sample("=007.jpg", "1e5.jpg", "-3.jpg"), answers, CLASSES, CODES)
    assert (tmp_path / "s.csv").read_bytes() == b"Id,Category\n=007.jpg,03\n1e5.jpg,7\n-3.jpg,03\n"


def test_further_columns_are_copied(tmp_path: Path) -> None:
    table = Table("s.csv", ("note", "label", "file"), (("keep me", "0", "a.jpg"),), (2,))
    write_submission(tmp_path / "s.csv", table, [named("a.jpg")], CLASSES, CODES)
    assert (tmp_path / "s.csv").read_text() == "note,label,file\nkeep me,03,a.jpg\n"


@pytest.mark.parametrize("columns", [("Id", "Prediction"), ("image_name", "Category")])
def test_of_two_columns_one_known_name_tells_both(tmp_path: Path, columns: tuple[str, str]) -> None:
    write_submission(tmp_path / "s.csv", sample("a.jpg", columns=columns), [named("a.jpg")], CLASSES, CODES)
    assert (tmp_path / "s.csv").read_text() == ",".join(columns) + "\na.jpg,03\n"


def test_columns_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has the columns x, y; expected one id"):
        write_submission(tmp_path / "s.csv", sample("a.jpg", columns=("x", "y")), [named("a.jpg")], CLASSES, CODES)


def test_everything_unanswered_is_listed_by_kind_and_nothing_is_written(tmp_path: Path) -> None:
    target = tmp_path / "s.csv"
    target.write_text("the old one")
    lost = [f"lost{i}.jpg" for i in range(5)]
    answers = [named("a.jpg"), bad("b.jpg"), bad("c.jpg"), bad("d.jpg", Reason.EMPTY)]
    with pytest.raises(SubmissionError) as caught:
        write_submission(target, sample("a.jpg", "b.jpg", "c.jpg", "d.jpg", "a.jpg", *lost), answers, CLASSES, CODES)
    assert caught.value.problems == (
        "sample-submission.csv names 1 id more than once: a.jpg; mend the sample",
        "5 ids of sample-submission.csv without a photo: lost0.jpg, lost1.jpg, lost2.jpg and 2 more; add the photos",
        "2 photos refused as truncated: b.jpg (ends early), c.jpg (ends early); replace them",
        "1 photo refused as empty: d.jpg (ends early); replace them",
    )
    assert target.read_text() == "the old one"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["s.csv"]


def test_only_a_bad_photo_is_enough_to_refuse(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="1 photo refused as truncated"):
        write_submission(tmp_path / "s.csv", sample("a.jpg", "b.jpg"), [named("a.jpg"), bad("b.jpg")], CLASSES, CODES)
    assert not (tmp_path / "s.csv").exists()
