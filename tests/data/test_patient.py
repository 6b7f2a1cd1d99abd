"""Bytes that never come are left, with a reason; what comes is what `read_bytes` gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from carspotter.data import patient
from carspotter.data.patient import PatientReader
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Location, Remote
from helpers.hanging import hanging_disk, silent_server


def refused(read: PatientReader, where: Location | Remote | bytes) -> PhotoRefused:
    with pytest.raises(PhotoRefused) as told:
        read(where)
    assert "\n" not in told.value.sentence
    return told.value


def test_it_reads_as_ever(tmp_path: Path) -> None:
    read = PatientReader(60)
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    with ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("in/b.jpg", "another")
    assert read(Location(str(tmp_path / "a.jpg"))) == b"a photo"
    assert read(Location(str(tmp_path / "a.zip"), "in/b.jpg")) == b"another"
    assert read(b"bytes") == b"bytes"
    assert refused(read, Location(str(tmp_path / "gone.jpg"))).reason is Reason.MISSING


@pytest.mark.parametrize("where", [Location("a.jpg"), Location("a.zip", "b.jpg")])
def test_a_disk_that_hangs_costs_its_patience(where: Location, tmp_path: Path) -> None:
    with hanging_disk(tmp_path / "away"):
        said = refused(PatientReader(0.2), Location(str(tmp_path / "away" / where.path), where.member))
    assert said.reason is Reason.TIMEOUT
    assert said.sentence == "reading it took longer than 0.2 s; check its disk, or ask again later"


def test_so_does_a_store() -> None:
    with silent_server() as address:
        assert refused(PatientReader(0.2), Remote(f"{address}/a.jpg")).reason is Reason.TIMEOUT


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """All reads hang until it is set."""
    event = threading.Event()
    monkeypatch.setattr(patient, "read_bytes", lambda _: event.wait(60) and b"late")
    monkeypatch.setattr(patient, "MOST", 2)
    yield event
    event.set()


def test_so_many_hang_and_no_more(gate: threading.Event) -> None:
    read, where = PatientReader(0.1), Location("a.jpg")
    assert [refused(read, where).sentence.split(";")[0] for _ in range(3)] == [
        "reading it took longer than 0.1 s",
        "reading it took longer than 0.1 s",
        "not tried, since 2 other reads hang",
    ]
    gate.set()
    for thread in [one for one in threading.enumerate() if one.name == "left-alone"]:
        thread.join(60)
    assert read(where) == b"late"
