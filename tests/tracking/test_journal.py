from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from carspotter.errors import TrackingError
from carspotter.records import EpochRecord, Run
from carspotter.tracking.journal import Journal, read_journal


@pytest.fixture
def journal(tmp_path: Path, make_run: Callable[..., Run]) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    born = make_run(status="running", seconds=None, evaluation=None, bundle=None, bundle_hash=None, timings={})
    journal.append("born", born.model_dump(mode="json"))
    return journal


@pytest.fixture
def epoch(make_epoch: Callable[..., EpochRecord]) -> dict[str, Any]:
    return make_epoch().model_dump(mode="json")


def test_a_run_is_what_its_events_add_up_to(
    journal: Journal, make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord]
) -> None:
    for number in range(3):
        journal.append("epoch", make_epoch(number).model_dump(mode="json"))
    journal.append("split", {"method": "by hand", "validation": "c" * 64})
    for seconds in (1.0, 2.5):
        journal.append("timing", {"phase": "decode", "seconds": seconds})
    journal.append("failed", {"error": "it burnt", "seconds": 9.0})
    assert read_journal(journal.path) == make_run(
        status="failed",
        error="it burnt",
        seconds=9.0,
        split="by hand",
        validation="c" * 64,
        timings={"decode": 3.5},
        history=tuple(make_epoch(number) for number in range(3)),
        evaluation=None,
        bundle=None,
        bundle_hash=None,
    )


def test_not_a_number_survives(journal: Journal, epoch: dict[str, Any]) -> None:
    journal.append("epoch", {**epoch, "train_loss": float("nan"), "val_loss": float("inf")})
    (record,) = read_journal(journal.path).history
    assert record.train_loss != record.train_loss
    assert record.val_loss == float("inf")


def test_other_scripts_and_line_ends_stay_as_they_are(journal: Journal) -> None:
    text = "ВАЗ\u2028\r\n\t{"
    journal.append("failed", {"error": text, "seconds": 1.0})
    assert read_journal(journal.path).error == text


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_the_torn_line_of_a_killed_writer_is_no_event(journal: Journal, epoch: dict[str, Any], kept: int) -> None:
    journal.append("epoch", epoch)
    whole = journal.path.read_bytes()
    journal.append("epoch", {**epoch, "epoch": 1})
    torn = journal.path.read_bytes()[len(whole) :][:kept]
    journal.path.write_bytes(whole + torn)
    assert [record.epoch for record in read_journal(journal.path).history] == [0]


def test_damage_before_the_last_line_is_named(journal: Journal, epoch: dict[str, Any]) -> None:
    journal.append("epoch", epoch)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join([lines[0], lines[1][:30] + b"\n", lines[1]]))
    with pytest.raises(TrackingError, match="line 2 is damaged; restore"):
        read_journal(journal.path)


@pytest.mark.parametrize("data", [b"", b'{"epoch":{}}\n', b'{"born"'])
def test_a_journal_without_a_birth_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(data)
    with pytest.raises(TrackingError, match="does not begin with a run"):
        read_journal(tmp_path / "journal.jsonl")


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"cannot read .*nowhere .*put the folder back"):
        read_journal(tmp_path / "nowhere")


def test_another_version_s_record_is_named(journal: Journal, epoch: dict[str, Any]) -> None:
    journal.append("epoch", {**epoch, "momentum": 0.9})
    with pytest.raises(
        TrackingError, match=r"another version of carspotter \(0\.1\.0\+g.*history\.0\.momentum"
    ) as told:
        read_journal(journal.path)
    assert "\n" not in str(told.value)


def test_a_stranger_s_key_stays_on_one_line(journal: Journal, epoch: dict[str, Any]) -> None:
    journal.append("epoch", {**epoch, "mo\nmentum": 0.9})
    with pytest.raises(TrackingError, match=r"history\.0\.mo\\nmentum"):
        read_journal(journal.path)


def test_a_full_disk_leaves_the_journal_as_it_was(
    journal: Journal, epoch: dict[str, Any], disk_of: Callable[[int], AbstractContextManager[None]]
) -> None:
    journal.append("epoch", epoch)
    whole = journal.path.read_bytes()
    with disk_of(len(whole) + 40), pytest.raises(TrackingError, match=r"cannot write .*journal\.jsonl"):
        journal.append("epoch", {**epoch, "epoch": 1})
    assert journal.path.read_bytes() == whole
    journal.append("epoch", {**epoch, "epoch": 2})
    assert [record.epoch for record in read_journal(journal.path).history] == [0, 2]


def test_an_event_is_on_the_disk_when_append_returns(
    journal: Journal, epoch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), fsync(fd)))
    journal.append("epoch", epoch)
    assert synced == [journal.path.stat().st_size]


@pytest.mark.parametrize(
    "line",
    [
        '{"born":null}',
        '{"freezing":{}}',
        '{"timing":{"phase":"x"}}',
        '{"timing":{"phase":"x","seconds":"a"}}',
        '{"timing":{"phase":"x","seconds":1e308}}',
        '{"split":{}}',
        '{"resumed":{}}',
        '{"resumed":{"epochs":1,"timings":{"x":"y"}}}',
        '{"finished":5}',
        '{"finished":{"seconds":1e308}}',
        '{"epoch":{}}',
        "[" * 200_000,
    ],
)
def test_sound_json_of_another_shape_is_one_clear_line(journal: Journal, line: str) -> None:
    with journal.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(TrackingError):
        read_journal(journal.path)


def test_an_end_is_called_by_its_event(journal: Journal) -> None:
    journal.append("failed", {"error": "it burnt", "seconds": 1.0, "status": "running"})
    assert read_journal(journal.path).status == "failed"


def test_a_line_that_is_not_on_disk_does_not_count(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    before = journal.path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrackingError, match="cannot write"):
        journal.append("failed", {"error": "x", "seconds": 1.0})
    assert journal.path.read_bytes() == before


def test_a_run_begins_at_a_moment(journal: Journal) -> None:
    journal.path.write_text(journal.path.read_text().replace('"started":"', '"started":"yesterday '))
    with pytest.raises(TrackingError, match="started"):
        read_journal(journal.path)
