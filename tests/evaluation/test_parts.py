"""The parts of a batch: the same bytes whenever they are made, and believed only when they are whole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from carspotter.errors import NOT_HAD, Reason, SourceError
from carspotter.evaluation.answer import answer_rows
from carspotter.evaluation.parts import ABANDONED_AFTER, Parts, open_parts
from carspotter.records import Answer, Batch, Guess, Verdict

BATCH = Batch(
    carspotter="0.1.0",
    pillow="13.0.0",
    runtime_version="1.31.0",
    bundle="b" * 64,
    manifest="a" * 64,
    folder="",
    rows=5,
    chunk_rows=2,
    tta=1,
    runtime="onnxruntime",
)
ANSWERS = (
    Answer("007", Verdict.NAMED, (Guess("Golf", 0.75), Guess("Polo", 0.25))),
    Answer("=bad\udcff", Verdict.BAD_PHOTO, reason="it is cut off", code=Reason.TRUNCATED),
)
ROWS = answer_rows(ANSWERS)[1]
IDS = ("007", "=bad\\udcff")
COUNTS = {"named": 1, "truncated": 1}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return open_parts(tmp_path / "out", BATCH)


def test_a_part_is_the_table_of_predict(parts: Parts) -> None:
    parts.write(0, ROWS)
    assert parts.path(0).name == "part-00000.parquet"
    assert pyarrow.parquet.read_table(parts.path(0)).to_pylist()[0] == {
        "id": "007",
        "verdict": "named",
        "label": "Golf",
        "probability": 0.75,
        "label2": "Polo",
        "probability2": 0.25,
        "label3": None,
        "probability3": None,
        "group": None,
        "reason": "",
    }
    assert parts.read(0, IDS) == COUNTS
    assert parts.there() == [0]


def test_a_part_without_any_answer_has_the_same_columns(parts: Parts) -> None:
    """Whoever reads all parts at once must find one type in each column."""
    parts.write(0, ROWS[:1] * 2)
    parts.write(1, ROWS[1:] * 2)
    tables = [pyarrow.parquet.read_table(parts.path(chunk)) for chunk in (0, 1)]
    assert pyarrow.concat_tables(tables).num_rows == 4


def test_the_same_bytes_again(parts: Parts) -> None:
    parts.write(0, ROWS)
    before = parts.path(0).read_bytes()
    parts.write(0, ROWS)
    assert parts.path(0).read_bytes() == before


def test_names_sort_as_the_rows_do(tmp_path: Path) -> None:
    parts = Parts(tmp_path, BATCH.model_copy(update={"rows": 300_000, "chunk_rows": 1}))
    names = [parts.path(chunk).name for chunk in (0, 9, 99_999, 100_000, 299_999)]
    assert names == sorted(names)


def test_no_damage_is_believed(parts: Parts) -> None:
    """Wherever a bit is turned or the file is cut: an error, or the very same table."""
    parts.write(0, ROWS)
    whole = parts.path(0).read_bytes()
    table = pyarrow.parquet.read_table(parts.path(0))
    for at in [*range(0, len(whole), 61), len(whole) - 1]:
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            parts.path(0).write_bytes(damaged)
            try:
                assert parts.read(0, IDS) == COUNTS
                assert pyarrow.parquet.read_table(parts.path(0)).equals(table)
            except SourceError as fault:
                assert "part-00000.parquet" in str(fault)  # noqa: PT017 - either is right


def test_a_part_from_elsewhere(parts: Parts, tmp_path: Path) -> None:
    other = open_parts(tmp_path / "other", BATCH.model_copy(update={"tta": 2}))
    other.write(0, ROWS)
    parts.path(0).write_bytes(other.path(0).read_bytes())
    with pytest.raises(SourceError, match="no part of this batch"):
        parts.read(0, IDS)
    parts.write(1, ROWS)
    parts.path(0).write_bytes(parts.path(1).read_bytes())
    with pytest.raises(SourceError, match="no part of this batch"):
        parts.read(0, IDS)
    with pytest.raises(SourceError, match="other rows"):
        parts.read(1, ("007", "8"))
    with pytest.raises(SourceError, match="damaged"):
        parts.read(2, IDS)


def test_another_batch_is_refused_with_every_difference(parts: Parts) -> None:
    assert open_parts(parts.folder, BATCH) == parts
    other = BATCH.model_copy(update={"bundle": "c" * 64, "tta": 3})
    with pytest.raises(SourceError) as caught:
        open_parts(parts.folder, other)
    first, second = caught.value.problems
    assert "a batch with bundle bbbbbbbbbbbb, this one has cccccccccccc" in first
    assert "tta 1, this one has 3" in second


@pytest.mark.parametrize("plan", ["", "{}", '{"format_version": 2, "more": 1}'])
def test_a_plan_that_cannot_be_read(parts: Parts, plan: str) -> None:
    (parts.folder / "batch.json").write_text(plan)
    with pytest.raises(SourceError, match="damaged or of a newer version"):
        open_parts(parts.folder, BATCH)


def test_parts_without_a_plan_are_left_alone(parts: Parts) -> None:
    parts.write(0, ROWS)
    (parts.folder / "batch.json").unlink()
    with pytest.raises(SourceError, match=r"holds part-00000\.parquet but no batch\.json"):
        open_parts(parts.folder, BATCH)


def test_what_a_killed_process_left_goes_after_an_hour(parts: Parts) -> None:
    old, new = parts.folder / ".part-00000.parquet.1234.part", parts.folder / ".part-00001.parquet.1234.part"
    old.touch()
    new.touch()
    past = time.time() - ABANDONED_AFTER - 60
    os.utime(old, (past, past))
    open_parts(parts.folder, BATCH)
    assert not old.exists()
    assert new.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot write"):
        open_parts(tmp_path / "file", BATCH)


def test_what_could_not_be_had_is_asked_for_again_and_nothing_else(parts: Parts, tmp_path: Path) -> None:
    """Whatever says nothing of the photo's own bytes; with `--gone` a missing one is final too."""
    reasons = list(Reason)
    batch = BATCH.model_copy(update={"rows": len(reasons), "chunk_rows": len(reasons)})
    parts = open_parts(tmp_path / "all", batch)
    answers = [Answer(reason, Verdict.BAD_PHOTO, reason="why", code=reason) for reason in reasons]
    parts.write(0, answer_rows(answers)[1])
    assert parts.read(0) == dict.fromkeys(map(str, Reason), 1)
    rows = parts.final(0, reasons)
    open_ = {reason for reason, row in zip(reasons, rows, strict=True) if row is None}
    assert open_ == NOT_HAD == {"missing", "timeout", "unreachable", "not_allowed", "missing_extra", "crashed"}
    kept = [row for row in rows if row is not None]
    assert kept == [row for row in answer_rows(answers)[1] if row[0] not in NOT_HAD]
    assert parts.final(0, IDS) == [None, None]  # no part of these
    gone = open_parts(tmp_path / "all", batch, NOT_HAD - {Reason.MISSING})
    assert gone.final(0, reasons)[reasons.index(Reason.MISSING)] is not None


def test_a_folder_that_is_not_the_batch_s_is_never_taken_for_it_or_made(parts: Parts) -> None:
    """As where a machine has not mounted the disk that the others share."""
    parts.must_be_here()
    other = Parts(parts.folder, BATCH.model_copy(update={"tta": 2}))
    nowhere = Parts(parts.folder / "absent", BATCH)
    for wrong in (other, nowhere):
        with pytest.raises(SourceError, match="is not the folder of this batch on this machine"):
            wrong.must_be_here()
    assert not nowhere.folder.exists()
