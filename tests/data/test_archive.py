"""Zips: what is sound is read in place, what is hostile is refused whole, what is damaged is one photo's fault."""

from __future__ import annotations

import os
import random
import stat
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from carspotter.data import archive as archive_module
from carspotter.data import zip_directory
from carspotter.data.archive import MAX_RATIO, RATIO_FREE_BYTES, open_archive
from carspotter.errors import ArchiveError, PhotoRefused, Reason


@dataclass
class Part:
    """One entry of a hand-made zip; None: as it should be."""

    name: bytes
    body: bytes = b"photo"
    method: int = 0
    flags: int = 0
    mode: int = 0
    size: int | None = None
    crc: int | None = None
    at: int | None = None
    local_name: bytes | None = None
    extra: bytes = b""
    disk: int = 0
    packed: bytes | None = None


def noise(seed: int, length: int) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def times_open(path: Path) -> int:
    """How often this process has a file open; others come and go in its threads."""
    return sum(os.path.realpath(one) == str(path.resolve()) for one in Path("/proc/self/fd").iterdir())


def deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


def make(path: Path, parts: Sequence[Part], *, disk: int = 0, missing: int = 0, zip64: bool = False) -> Path:
    """Write the parts byte by byte, so that any of them may lie."""
    out, directory = bytearray(), bytearray()
    for part in parts:
        packed = part.packed if part.packed is not None else deflate(part.body) if part.method == 8 else part.body
        size = len(part.body) if part.size is None else part.size
        crc = zlib.crc32(part.body) if part.crc is None else part.crc
        start = len(out) if part.at is None else part.at
        shared = (part.flags, part.method, 0, 0, crc, len(packed), size)
        local = part.name if part.local_name is None else part.local_name
        out += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, *shared, len(local), 0) + local + packed
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 0x0314, 20, *shared, len(part.name), len(part.extra), 0, part.disk, 0,
            part.mode << 16, start,
        )  # fmt: skip
        directory += part.name + part.extra
    count, length, start = len(parts) + missing, len(directory), len(out)
    end = b""
    if zip64:
        end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, disk, 0, len(parts), count, length, start)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, start + length, 1)
        count, length, start = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    end += struct.pack("<4sHHHHIIH", b"PK\5\6", disk, 0, min(len(parts), count), count, length, start, 0)
    path.write_bytes(out + directory + end)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        open_archive(path)
    assert all("\n" not in problem and str(path) in problem for problem in caught.value.problems)
    return "\n".join(caught.value.problems).replace(str(path), "")  # its words must not come from the path


def read_refused(path: Path, name: str = "a.jpg", **limits: int) -> PhotoRefused:
    with pytest.raises(PhotoRefused) as caught:
        open_archive(path).read(name, **limits)
    assert "\n" not in str(caught.value)
    return caught.value


# ---- sound zips -----------------------------------------------------------------------------------------------------


def test_a_zip_of_python_is_read_as_python_reads_it(tmp_path: Path) -> None:
    bodies = {f"cars/{i}/фото {i}.jpg": os.urandom(500) * (i + 1) for i in range(20)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.mkdir("cars")
        for i, (name, body) in enumerate(bodies.items()):
            file.writestr(name, body, zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED)
        file.comment = b"hello PK\5 there"
    found = open_archive(tmp_path / "a.zip")
    assert found.names == tuple(bodies)
    assert {name: found.read(name) for name in found.names} == bodies
    assert found.notes == ()


def test_a_zip_written_to_a_pipe_has_its_sizes_behind_the_data(tmp_path: Path) -> None:
    body = os.urandom(3000)
    with (tmp_path / "a.zip").open("wb") as raw:
        raw.seekable = lambda: False  # type: ignore[method-assign]
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.jpg", body)
            file.writestr("b.jpg", body)
    assert open_archive(tmp_path / "a.zip").read("b.jpg") == body


def test_zip64(tmp_path: Path) -> None:
    found = open_archive(make(tmp_path / "a.zip", [Part(b"a.jpg"), Part(b"b.jpg")], zip64=True))
    assert found.names == ("a.jpg", "b.jpg")
    assert found.read("b.jpg") == b"photo"
    assert "split" in refused(make(tmp_path / "b.zip", [Part(b"a.jpg")], zip64=True, disk=1))


def test_a_zip64_field_of_one_entry_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, file.open("a.jpg", "w", force_zip64=True) as entry:
        entry.write(b"photo")
    assert open_archive(tmp_path / "a.zip").read("a.jpg") == b"photo"


def test_system_files_are_skipped_with_a_note(tmp_path: Path) -> None:
    names = [
        b"__MACOSX/._a.jpg",
        b"x/.DS_Store",
        b"x/Thumbs.db",
        b".git/config",
        b"x/._b.jpg",
        b"a.jpg",
        b"x/desktop.ini",
    ]
    found = open_archive(make(tmp_path / "a.zip", [Part(name) for name in names]))
    assert found.names == ("a.jpg",)
    assert len(found.notes) == 1
    assert "skipped 6" in found.notes[0]


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    fancy = "Лада.jpg".encode()
    unicode_path = b"\1" + struct.pack("<I", zlib.crc32(b"??.jpg")) + "Ока.jpg".encode()
    parts = [
        Part(fancy),
        Part(b"caf\x82.jpg"),
        Part(b"bad\xff.jpg", flags=1 << 11),
        Part(b"??.jpg", extra=struct.pack("<HH", 0x7075, len(unicode_path)) + unicode_path),
    ]
    found = open_archive(make(tmp_path / "a.zip", parts))
    assert found.names == ("Лада.jpg", "café.jpg", "bad\u00a0.jpg", "Ока.jpg")
    assert [found.read(name) for name in found.names] == [b"photo"] * 4
    assert "2 names" in found.notes[0]


def test_an_archive_is_opened_once_until_it_changes(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [Part(b"a.jpg")])
    first = open_archive(path)
    assert open_archive(path) is first
    make(path, [Part(b"a.jpg", b"another photo")])
    assert open_archive(path).read("a.jpg") == b"another photo"


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    bodies = {f"{i}.jpg": noise(i, 30_000) + bytes(9000) for i in range(64)}
    path = make(tmp_path / "a.zip", [Part(name.encode(), body, 8) for name, body in bodies.items()])
    found = open_archive(path)
    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(bodies, pool.map(found.read, bodies), strict=True)) == bodies


def test_a_forked_process_and_its_parent_read_at_the_same_time(tmp_path: Path) -> None:
    bodies = {f"{i}.jpg": noise(i, 5000) for i in range(300)}
    found = open_archive(make(tmp_path / "a.zip", [Part(name.encode(), body, 8) for name, body in bodies.items()]))
    child = os.fork()
    sound = all(found.read(name) == body for name, body in bodies.items())
    if child == 0:
        os._exit(0 if sound else 1)
    assert sound
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- refused whole --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Part(b"../evil.jpg"), "'..'"),
        (Part(b"a/../../evil.jpg"), "'..'"),
        (Part(b"__MACOSX/../../evil.jpg"), "'..'"),
        (Part(b"/etc/evil.jpg"), "absolute"),
        (Part(b"C:evil.jpg"), "absolute"),
        (Part(b"c:/evil.jpg"), "absolute"),
        (Part(b"a\\evil.jpg"), "backslash"),
        (Part(b"evil.jpg\0.txt"), "no usable name"),
        (Part(b""), "no usable name"),
        (Part(b"link.jpg", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "symlink"),
        (Part(b"device.jpg", b"", mode=stat.S_IFCHR | 0o666), "device"),
        (Part(b"pipe.jpg", b"", mode=stat.S_IFIFO | 0o666), "pipe"),
        (Part(b"secret.jpg", flags=1), "encrypted"),
        (Part(b"secret.jpg", flags=1 << 6 | 1), "encrypted"),
        (Part(b"new.jpg", method=93), "method 93"),
        (Part(b"new.jpg", method=14), "method 14"),
        (Part(b"two.jpg", size=10**6), "two different lengths"),
        (Part(b"far.jpg", disk=3), "split"),
        (Part(b"bomb.jpg", bytes(RATIO_FREE_BYTES + MAX_RATIO * 10), 8), "over 200 times"),
    ],
)
def test_a_hostile_entry_refuses_the_whole_archive_by_name(part: Part, word: str, tmp_path: Path) -> None:
    message = refused(make(tmp_path / "a.zip", [Part(b"good.jpg"), part]))
    assert word in message
    assert repr(part.name.decode())[1:-1] in message


def test_all_problems_are_reported_and_many_are_counted(tmp_path: Path) -> None:
    message = refused(make(tmp_path / "a.zip", [Part(b"../%d.jpg" % i) for i in range(50)])).splitlines()
    assert len(message) == 11
    assert "40 problems more" in message[-1]


@pytest.mark.parametrize("other", [b"A.JPG", "é.jpg".encode(), b"./a.jpg", b"a.jpg"])
def test_names_that_clash_on_some_system(other: bytes, tmp_path: Path) -> None:
    first = unicodedata.normalize("NFD", "é.jpg").encode() if other[0] > 127 else b"a.jpg"
    assert "one name" in refused(make(tmp_path / "a.zip", [Part(first), Part(other)]))


def test_entries_that_share_bytes(tmp_path: Path) -> None:
    kernel = bytes(900_000)
    one = make(tmp_path / "same.zip", [Part(b"a.jpg", kernel, 8), Part(b"b.jpg", kernel, 8, at=0)])
    assert "shares bytes" in refused(one)
    # the way of the 10 GB zip: each header's data reaches over the headers and data that follow
    inner = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, 0, 0, 0, 5, 0) + b"b.jpg" + deflate(kernel)
    outer = Part(b"a.jpg", inner)
    assert "shares bytes" in refused(make(tmp_path / "quoted.zip", [outer, Part(b"b.jpg", kernel, 8, at=35)]))


def test_an_entry_whose_header_pushes_it_into_the_next_one(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [Part(b"a.jpg"), Part(b"b.jpg")])
    data = bytearray(path.read_bytes())
    data[28:30] = struct.pack("<H", 12)  # an extra field that its own header alone declares
    path.write_bytes(data)
    assert "next entry" in read_refused(path).sentence


def test_an_entry_over_the_directory_or_behind_the_end(tmp_path: Path) -> None:
    assert "shares bytes" in refused(make(tmp_path / "a.zip", [Part(b"a.jpg"), Part(b"b.jpg", at=10**6)]))


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.zip", [Part(b"%d.jpg" % i, bytes(100)) for i in range(20)])
    monkeypatch.setattr(archive_module, "MAX_TOTAL_BYTES", 1999)
    assert "2,000 bytes" in refused(path)
    monkeypatch.setattr(zip_directory, "MAX_ENTRIES", 19)
    assert "20 entries" in refused(path)
    monkeypatch.setattr(zip_directory, "MAX_ENTRIES", 20)
    monkeypatch.setattr(zip_directory, "MAX_DIRECTORY_BYTES", 500)
    assert "20 entries" in refused(path)


def test_split_truncated_damaged_and_no_zip(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.zip", [Part(b"a.jpg", bytes(5000)), Part(b"b.jpg")])
    data = whole.read_bytes()
    far = bytearray(make(tmp_path / "far.zip", [Part(b"a.jpg")], zip64=True).read_bytes())
    far[-22 - 20 - 8 : -22 - 20] = b"\xff" * 8
    end = struct.pack("<HH", 2, 2)
    assert data.count(end, len(data) - 22) == 1
    wrong = {
        "hidden.zip": (data[:-22] + data[-22:].replace(end, struct.pack("<HH", 1, 1)), "damaged"),
        "far.zip": (bytes(far), "damaged"),
        "beyond.zip": (data[:-10] + struct.pack("<IIH", 2**31, 5000, 0), "damaged"),
        "split.zip": (make(tmp_path / "split.zip", [Part(b"a.jpg")], disk=2).read_bytes(), "split"),
        "lost.zip": (make(tmp_path / "lost.zip", [Part(b"a.jpg")], missing=1).read_bytes(), "split"),
        "cut.zip": (data[:-60], "no zip"),
        "front.zip": (data[2000:], "damaged"),
        "text.zip": (b"Id,Category\n", "no zip"),
        "empty.zip": (b"", "no zip"),
        "end.zip": (data[-22:], "damaged"),
        "directory.zip": (data.replace(b"PK\1\2", b"PK\1\3", 1), "damaged"),
    }
    for name, (content, word) in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert word in refused(tmp_path / name), name


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.zip", [Part(b"%d.jpg" % i, bytes(40), 8) for i in range(3)]).read_bytes()
    dice = random.Random(0)  # noqa: S311 - a repeatable test
    opened = 0
    for i in range(600):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.choice((0, 255, dice.randrange(256)))
        path = tmp_path / f"{i}.zip"
        path.write_bytes(data[: dice.randint(0, len(data))] if i % 5 == 0 else data)
        try:
            found = open_archive(path)
            opened += 1
            for name in found.names:
                assert found.read(name) == bytes(40)
        except (ArchiveError, PhotoRefused):
            pass
    assert opened > 50


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    assert "a pipe" in refused(tmp_path / "pipe.zip")
    assert "a folder" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "absent.zip")


def test_a_refused_archive_leaves_no_open_file(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [Part(b"../a.jpg")])
    refused(path)
    for _ in range(20):
        refused(path)
    assert times_open(path) == 0


# ---- one photo's fault ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Part(b"a.jpg", crc=1), "checksum"),
        (Part(b"a.jpg", bytes(5000), 8, crc=1), "checksum"),
        (Part(b"a.jpg", bytes(5000), 8, size=4000), "holds more"),
        (Part(b"a.jpg", bytes(5000), 8, size=6000), "holds fewer"),
        (Part(b"a.jpg", bytes(5000), 8, packed=b"\xff" * 50), "broken"),
        (Part(b"a.jpg", local_name=b"b.jpg"), "header"),
        (Part(b"a.jpg", local_name=b"longer.jpg"), "header"),
    ],
)
def test_a_damaged_entry_is_unreadable_and_the_others_are_not(part: Part, word: str, tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [part, Part(b"good.jpg")])
    fault = read_refused(path)
    assert fault.reason is Reason.UNREADABLE
    assert word in fault.sentence
    assert open_archive(path).read("good.jpg") == b"photo"


def test_an_entry_never_inflates_beyond_what_it_declares(tmp_path: Path) -> None:
    """50 MB behind a declared kilobyte: the bytes really made are counted, not those promised."""
    path = make(tmp_path / "a.zip", [Part(b"a.jpg", b"x" * 1000, 8, packed=deflate(bytes(50_000_000)))])
    tracemalloc.start()
    assert "holds more" in read_refused(path).sentence
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_missing_empty_and_too_large(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.zip", [Part(b"a.jpg", bytes(101)), Part(b"empty.jpg", b""), Part(b"b.jpg", b"", packed=b"")]
    )
    assert read_refused(path, "A.jpg").reason is Reason.MISSING
    assert read_refused(path, "empty.jpg").reason is Reason.EMPTY
    assert read_refused(path, "a.jpg", limit=100).reason is Reason.TOO_LARGE
    assert open_archive(path).read("a.jpg", limit=101) == bytes(101)


def test_an_entry_that_packs_little_into_much_is_not_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [Part(b"a.jpg", b"x", 8, packed=b"\0\0\0\xff\xff" * 1000 + deflate(b"x"))])
    assert read_refused(path, limit=1000).reason is Reason.TOO_LARGE


@pytest.mark.real
def test_the_real_archives_are_read_whole(shared: Path) -> None:
    found = open_archive(shared / "contest" / "train.zip")
    assert len(found.names) == 616
    assert all(found.read(name)[:2] == b"\xff\xd8" for name in found.names)
