from __future__ import annotations

import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from carspotter.data.listing import list_photos, list_place
from carspotter.errors import Reason, SourceError
from carspotter.records import Location


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def pack(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


def ids(*paths: str | Path) -> list[str]:
    return [photo.id for photo in list_photos(paths).photos]


def test_folder_is_read_to_the_bottom_in_order(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "b.jpg", "a/z.png", "a/b/c", "a.txt")
    assert ids(folder) == ["a.txt", "a/b/c", "a/z.png", "b.jpg"]
    assert list_photos([folder]).photos[1].where == Location(str(folder / "a/b/c"))


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    path = pack(tmp_path / "z.zip", "p/b.jpg", "p/a.jpg")
    assert ids(path) == ["p/a.jpg", "p/b.jpg"]
    assert list_photos([path]).photos[0].where == Location(str(path), "p/a.jpg")


def test_zip_is_known_by_content_and_a_workbook_is_none(tmp_path: Path) -> None:
    pack(tmp_path / "photos.bin", "a.jpg")
    pack(tmp_path / "t.xlsx", "xl/workbook.xml")
    assert ids(tmp_path / "photos.bin") == ["a.jpg"]
    with pytest.raises(SourceError, match="neither a folder nor a zip"):
        list_place(tmp_path / "t.xlsx")


def test_hidden_files_and_tables_are_skipped_and_named(tmp_path: Path) -> None:
    names = ("a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.jpg", ".git/x", "labels.csv", "x/t.XLSX")
    folder = fill(tmp_path / "d", *names)
    dataset = list_photos([folder])
    assert [photo.id for photo in dataset.photos] == ["a.jpg"]
    hidden, table = dataset.notes
    assert "5 hidden or system files: .DS_Store, .git, Thumbs.db and 2 more" in hidden
    assert "2 tables: labels.csv, x/t.XLSX" in table
    zipped = list_photos([pack(tmp_path / "z.zip", *names)])
    assert [photo.id for photo in zipped.photos] == ["a.jpg"]
    assert any("labels.csv" in note for note in zipped.notes)


def test_plain_files_keep_their_names_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.jpg", "x/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert ids("./a.jpg", "x/b.jpg", str(tmp_path / "a.jpg")) == ["./a.jpg", "x/b.jpg", str(tmp_path / "a.jpg")]


def test_an_argument_given_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.jpg", "b.jpg", "d/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert ids("a.jpg", "b.jpg", "./a.jpg", "d", "d/") == ["a.jpg", "b.jpg", "c.jpg"]


def test_equal_ids_of_several_arguments_get_the_argument_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "d/a.jpg", "d/b.jpg", "e/a.jpg", "a.jpg")
    pack(tmp_path / "z.zip", "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert ids("d", "e", "z.zip", "a.jpg") == ["d/a.jpg", "b.jpg", "e/a.jpg", "z.zip/a.jpg", "a.jpg"]


def test_ids_stay_unique_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "d/a.jpg", "e/a.jpg")
    monkeypatch.chdir(tmp_path)
    found = ids("d", "e", "d/a.jpg")
    assert found == ["d/a.jpg", "e/a.jpg", "d/a.jpg (2)"]


def test_a_file_that_is_not_there_is_one_rejected_row(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    dataset = list_photos([tmp_path / "a.jpg", tmp_path / "nope.jpg", tmp_path / "a.jpg" / "b.jpg"])
    assert len(dataset.photos) == 1
    assert [refused.reason for refused in dataset.rejected] == [Reason.MISSING, Reason.MISSING]
    assert dataset.rejected[0].id == str(tmp_path / "nope.jpg")


def test_pipes_and_sockets_are_named_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "d", "a.jpg")
    os.mkfifo(folder / "pipe.jpg")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.jpg")
        dataset = list_photos([folder])
    assert [photo.id for photo in dataset.photos] == ["a.jpg"]
    assert "2 pipes, devices or sockets: pipe.jpg, sock.jpg" in dataset.notes[0]
    assert list_photos([folder / "pipe.jpg"]).rejected[0].reason is Reason.UNREADABLE


def test_loops_of_links_end(tmp_path: Path) -> None:
    folder = fill(tmp_path / "d", "a/x.jpg", "b/y.jpg")
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "b").symlink_to("../b")
    (folder / "self").symlink_to("self")
    (folder / "gone").symlink_to("nowhere")
    dataset = list_photos([folder])
    assert [photo.id for photo in dataset.photos] == ["a/x.jpg", "b/y.jpg"]
    nowhere, loops = dataset.notes
    assert "2 links that lead nowhere: gone, self" in nowhere
    assert "2 links to folders already read: a/b, a/up" in loops


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "far", "x.jpg")
    folder = fill(tmp_path / "d", "a.jpg")
    (folder / "l").symlink_to(tmp_path / "far")
    (folder / "m.jpg").symlink_to(tmp_path / "far" / "x.jpg")
    assert ids(folder) == ["a.jpg", "l/x.jpg", "m.jpg"]


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may open everything, so guards for rights are tried as another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("as_nobody")
def test_a_folder_without_rights_is_named() -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = fill(Path(home), "a.jpg", "locked/b.jpg")
        (folder / "locked").chmod(0)
        dataset = list_photos([folder])
        (folder / "locked").chmod(0o700)
    assert [photo.id for photo in dataset.photos] == ["a.jpg"]
    (refused,) = dataset.rejected
    assert (refused.id, refused.reason) == ("locked", Reason.UNREADABLE)
    assert "Permission denied" in refused.sentence


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(b"x")
    (photo,) = list_photos([tmp_path / "d"]).photos
    assert photo.id == "caf\\xe9.jpg"
    assert isinstance(photo.where, Location)
    assert Path(photo.where.path).read_bytes() == b"x"


def test_all_refused_zips_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    pack(tmp_path / "b.zip", "../x.jpg")
    with pytest.raises(SourceError) as caught:
        list_photos([tmp_path / "a.zip", tmp_path / "b.zip"])
    assert len(caught.value.problems) == 2


def test_nothing_to_list(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for paths in ([], [tmp_path / "empty"]):
        with pytest.raises(SourceError, match="no photos"):
            list_photos(paths)
