"""The cache on disk: the same pixels, from the right bytes, within its limit, whatever happens to the disk."""

from __future__ import annotations

import hashlib
import io
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.data import cache as cache_module
from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.photo import decode
from carspotter.data.views import fit
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Geometry, Location, Photo, Pixels

SMALL = Geometry(height=32, width=48, fit="pad")
ENTRY = 24 + 32 * 48 * 3  # bytes


def photo_bytes(seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def photo(tmp_path: Path, seed: int = 0, *, scanned: bool = True) -> Photo:
    data = photo_bytes(seed)
    (tmp_path / f"{seed}.png").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest() if scanned else None
    return Photo(f"{seed}.png", Location(str(tmp_path / f"{seed}.png")), digest=digest)


def expected(seed: int = 0, geometry: Geometry = SMALL) -> Pixels:
    return fit(decode(photo_bytes(seed)).pixels, geometry)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_without_a_folder_each_photo_is_decoded(tmp_path: Path) -> None:
    assert np.array_equal(PhotoCache(None).pixels(photo(tmp_path), SMALL), expected())
    assert [path.name for path in entries(tmp_path)] == ["0.png"]


def test_what_the_decoder_noted_comes_from_disk_too(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "red").save(file, "JPEG", exif=b"Exif\0\0garbage")
    one = Photo("one", file.getvalue(), digest=hashlib.sha256(file.getvalue()).hexdigest())
    cache = PhotoCache(tmp_path / "c")
    first = cache.look(one, SMALL)
    (entry,) = entries(tmp_path)
    again = cache.look(Photo("one", b"not read", digest=one.digest), SMALL)
    assert len(first.notes) == 1
    assert "EXIF" in first.notes[0]
    assert again.notes == first.notes
    assert np.array_equal(again.pixels, first.pixels)
    whole = entry.read_bytes()
    for damaged in (whole[:-1], whole + b"x", whole.replace(b"EXIF", b"EXAM")):
        entry.write_bytes(damaged)
        assert cache.look(one, SMALL).notes == first.notes
        assert entry.read_bytes() == whole


@pytest.mark.parametrize("scanned", [True, False])
def test_the_second_look_comes_from_disk(tmp_path: Path, scanned: bool) -> None:
    cache = PhotoCache(tmp_path / "c")
    one = photo(tmp_path, scanned=scanned)
    first = cache.pixels(one, SMALL)
    (entry,) = entries(tmp_path / "c")
    made = entry.stat().st_ino
    again = PhotoCache(tmp_path / "c").pixels(one, SMALL)
    assert np.array_equal(first, expected())
    assert np.array_equal(again, first)
    assert again.flags.writeable
    assert entry.stat().st_ino == made


def test_with_a_digest_the_photo_itself_is_not_read_again(tmp_path: Path) -> None:
    cache, one = PhotoCache(tmp_path / "c"), photo(tmp_path)
    cache.pixels(one, SMALL)
    (tmp_path / "0.png").unlink()
    assert np.array_equal(cache.pixels(one, SMALL), expected())


def test_each_geometry_and_each_content_has_its_own_entry(tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "c")
    for geometry in (SMALL, SMALL.model_copy(update={"fit": "crop"}), Geometry(height=48, width=32)):
        assert np.array_equal(cache.pixels(photo(tmp_path), geometry), expected(0, geometry))
    assert np.array_equal(cache.pixels(photo(tmp_path, 1), SMALL), expected(1))
    assert len(entries(tmp_path / "c")) == 4


def test_a_copy_under_another_name_shares_the_entry(tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "c")
    cache.pixels(photo(tmp_path), SMALL)
    cache.pixels(Photo("upload", photo_bytes()), SMALL)
    assert len(entries(tmp_path / "c")) == 1


def test_a_photo_changed_since_its_scan_does_not_take_the_others_place(tmp_path: Path) -> None:
    cache, one = PhotoCache(tmp_path / "c"), photo(tmp_path)
    (tmp_path / "0.png").write_bytes(photo_bytes(1))
    assert np.array_equal(cache.pixels(one, SMALL), expected(1))
    (tmp_path / "0.png").write_bytes(photo_bytes(0))
    assert np.array_equal(cache.pixels(one, SMALL), expected(0))


@pytest.mark.parametrize("damage", ["flip", "header", "cut", "longer", "empty", "other_size"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    cache, one = PhotoCache(tmp_path / "c"), photo(tmp_path)
    cache.pixels(one, SMALL)
    (entry,) = entries(tmp_path / "c")
    whole = entry.read_bytes()
    flipped = bytearray(whole)
    flipped[3000] ^= 1
    entry.write_bytes(
        {
            "flip": bytes(flipped),
            "header": b"x" + whole[1:],
            "cut": whole[:-1],
            "longer": whole + b"x",
            "empty": b"",
            "other_size": whole[:8] + whole[12:16] + whole[8:12] + whole[16:],
        }[damage]
    )
    assert np.array_equal(cache.pixels(one, SMALL), expected())
    assert entry.read_bytes() == whole


def test_another_version_of_the_decoder_makes_its_own_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, one = PhotoCache(tmp_path / "c"), photo(tmp_path)
    cache.pixels(one, SMALL)
    monkeypatch.setattr(cache_module, "MADE_BY", "another")
    cache.pixels(one, SMALL)
    assert len(entries(tmp_path / "c")) == 2


def test_a_refused_photo_stays_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(PhotoRefused) as caught:
            PhotoCache(tmp_path / "c").pixels(Photo("x", b"no photo"), SMALL)
        assert caught.value.reason is Reason.NOT_A_PHOTO
    assert entries(tmp_path / "c") == []


# ---- its limit ------------------------------------------------------------------------------------------------------


def test_the_folder_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    limit = 5 * ENTRY
    cache = PhotoCache(tmp_path / "c", limit)
    for seed in range(12):
        cache.pixels(photo(tmp_path, seed), SMALL)
        assert sum(path.stat().st_size for path in entries(tmp_path / "c")) <= limit
    assert len(entries(tmp_path / "c")) >= 4


def test_what_others_wrote_counts_too(tmp_path: Path) -> None:
    for seed in range(12):
        PhotoCache(tmp_path / "c", 5 * ENTRY).pixels(photo(tmp_path, seed), SMALL)
    assert 4 <= len(entries(tmp_path / "c")) <= 5


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "c", 3 * ENTRY)
    ages = {}
    for seed, hours in ((0, 9), (1, 8), (2, 7)):
        cache.pixels(photo(tmp_path, seed), SMALL)
        (new,) = set(entries(tmp_path / "c")) - set(ages)
        ages[new] = seed
        os.utime(new, (time.time() - hours * 3600,) * 2)
    cache.pixels(photo(tmp_path, 0), SMALL)  # the oldest, but used now
    cache.pixels(photo(tmp_path, 3), SMALL)
    left = {ages.get(path, 3) for path in entries(tmp_path / "c")}
    assert 1 not in left
    assert {0, 3} <= left


def test_an_entry_larger_than_the_limit_is_not_written(tmp_path: Path) -> None:
    assert np.array_equal(PhotoCache(tmp_path / "c", ENTRY - 1).pixels(photo(tmp_path), SMALL), expected())
    assert entries(tmp_path / "c") == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "c")
    cache.pixels(photo(tmp_path), SMALL)
    old, new = (entries(tmp_path / "c")[0].with_name(name) for name in ("old.tmp", "new.tmp"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    PhotoCache(tmp_path / "c").pixels(photo(tmp_path, 1), SMALL)
    assert not old.exists()
    assert new.exists()


# ---- a disk that fails ----------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    cache = PhotoCache(tmp_path / "file" / "c")
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            assert np.array_equal(cache.pixels(photo(tmp_path, seed), SMALL), expected(seed))
    assert len(caplog.messages) == 1
    assert cache.notes == tuple(caplog.messages)
    assert "CARSPOTTER_CACHE" in cache.notes[0]
    assert "\n" not in cache.notes[0]


FULL = """
import resource, signal, sys, logging
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from carspotter.data.cache import PhotoCache
from carspotter.records import Geometry, Photo
cache = PhotoCache(Path(sys.argv[1]))
for _ in range(2):
    shape = cache.pixels(Photo("a", Path(sys.argv[2]).read_bytes()), Geometry(height=32, width=48)).shape
print(shape, len(cache.notes), sum(path.is_file() for path in Path(sys.argv[1]).rglob("*")))
"""


def test_a_full_disk_leaves_no_half_entry(tmp_path: Path) -> None:
    photo(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "c", tmp_path / "0.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(32, 48, 3) 1 0"
    assert done.stderr.count("cannot be written") == 1


# ---- several processes ----------------------------------------------------------------------------------------------


def _fill(cache: PhotoCache, photos: list[Photo]) -> int:
    return sum(int(cache.pixels(one, SMALL).sum()) for _ in range(3) for one in photos)


def test_processes_share_a_small_folder(tmp_path: Path) -> None:
    photos = [photo(tmp_path, seed) for seed in range(8)]
    alone = _fill(PhotoCache(None), photos)
    cache = PhotoCache(tmp_path / "c", 4 * ENTRY)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.starmap(_fill, [(cache, photos)] * 3) == [alone] * 3
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_a_cache_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    cache = pickle.loads(pickle.dumps(PhotoCache(tmp_path / "c")))  # noqa: S301 - our own object
    assert np.array_equal(cache.pixels(photo(tmp_path), SMALL), expected())


def test_where_it_lies_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSPOTTER_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("CARSPOTTER_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "carspotter"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_folder() == Path.home() / ".cache" / "carspotter"
