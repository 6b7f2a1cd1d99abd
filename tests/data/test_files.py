"""Regular files, and what only looks like one."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from carspotter.data.files import NotAFile, is_system_file, open_regular


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "a/.DS_Store",
        "__MACOSX/a.jpg",
        "a/__macosx/b",
        "Thumbs.db",
        "a/THUMBS.DB",
        "._a.jpg",
        ".git/a",
        "desktop.ini",
    ],
)
def test_system_files(name: str) -> None:
    assert is_system_file(name)


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "a.b/c", "macosx/a.jpg", "./a.jpg", "thumbs.dbx", "", "фото.jpg"])
def test_files_of_people(name: str) -> None:
    assert not is_system_file(name)


def test_a_symlink_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    handle = open_regular(tmp_path / "b")
    assert os.read(handle, 9) == b"x"
    os.close(handle)


def test_everything_else_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a pipe"), (Path("/dev/null"), "a device")):
        with pytest.raises(NotAFile, match=kind):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular("a\0b")


def test_a_pipe_swapped_in_after_the_look_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    calm = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: calm)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(NotAFile, match="a pipe"):
        open_regular(tmp_path / "pipe")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_who_waits_at_a_pipe_is_left_waiting(tmp_path: Path) -> None:
    """Opening it for a moment would let its writer go, into a broken pipe."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: os.close(os.open(tmp_path / "pipe", os.O_WRONLY)), daemon=True)
    writer.start()
    time.sleep(0.1)
    with pytest.raises(NotAFile):
        open_regular(tmp_path / "pipe")
    writer.join(0.2)
    assert writer.is_alive()
    os.close(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)
