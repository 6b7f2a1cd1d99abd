from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from carspotter.data.disk import check_writable, hash_file, read_capped, whole_file
from carspotter.errors import SourceError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(path: Path, text: str, fault: BaseException | None = None) -> None:
    with whole_file(path) as part:
        part.write_text(text)
        if fault is not None:
            raise fault


def test_a_file_is_written_whole_into_folders_that_are_made(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a" / "b.txt") as part:
        part.write_text("all")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "all"
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("ours")])
def test_whatever_stops_it_the_old_file_stays_and_nothing_beside_it(tmp_path: Path, fault: BaseException) -> None:
    (tmp_path / "b.txt").write_text("old")
    expected = SourceError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(expected):
        write(tmp_path / "b.txt", "half", fault)
    assert (tmp_path / "b.txt").read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "all")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "all"


def test_a_folder_in_its_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(SourceError, match=r"^cannot write .*/b: Is a directory; choose another place$"):
        write(tmp_path / "b", "x")
    assert names(tmp_path) == ["b"]


def test_reading_stops_at_the_limit_and_at_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    assert read_capped(tmp_path / "a", 5) == b"12345"
    for name, limit, why in (("a", 4, "larger than 4 bytes"), ("pipe", 9, "is a pipe"), ("gone", 9, "No such file")):
        with pytest.raises(SourceError, match=why):
            read_capped(tmp_path / name, limit)


def test_a_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_place_is_tried_before_the_work_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("old")
    check_writable(tmp_path / "there.txt")
    check_writable(tmp_path / "new" / "page.html")
    assert (tmp_path / "there.txt").read_text() == "old"
    assert names(tmp_path) == ["new", "there.txt"]
    assert names(tmp_path / "new") == []
    for taken in (tmp_path / "there.txt" / "page.html", tmp_path / "new"):
        with pytest.raises(SourceError, match=r"cannot write .*; choose another place"):
            check_writable(taken)
