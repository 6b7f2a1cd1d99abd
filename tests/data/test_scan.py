from __future__ import annotations

import hashlib
import io
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.data.alike import THUMB
from carspotter.data.scan import bits_to_int, scan
from carspotter.errors import MissingExtra, Reason
from carspotter.records import Dataset, Location, Photo, Rejected


def png(width: int = 80, height: int = 60, seed: int = 0) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(out, "PNG")
    return out.getvalue()


def test_facts_digests_and_refusals(tmp_path: Path) -> None:
    data = png(120, 90)
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "cut.png").write_bytes(data[:-200])
    gone = Rejected("gone", Reason.MISSING, "is not there")
    dataset = Dataset(
        (
            Photo("a", Location(str(tmp_path / "a.png")), "A", "g"),
            Photo("cut", Location(str(tmp_path / "cut.png")), "A"),
            Photo("nope", Location(str(tmp_path / "nope.png")), "A"),
            Photo("b", png(60, 80, 1), "A"),
        ),
        ("A",),
        ("A",),
        "here",
        (gone,),
        ("note",),
    )
    found = scan(dataset, workers=2)
    digest = hashlib.sha256(data).hexdigest()
    assert [photo.id for photo in found.dataset.photos] == [fact.id for fact in found.facts] == ["a", "b"]
    assert found.dataset.photos[0] == Photo("a", dataset.photos[0].where, "A", "g", digest)
    assert (found.facts[0].digest, found.facts[0].format) == (digest, "PNG")
    assert (found.facts[0].width, found.facts[0].height) == (120, 90)
    assert (found.facts[1].width, found.facts[1].height) == (60, 80)
    assert found.dataset.rejected[0] == gone
    assert [(r.id, r.reason) for r in found.dataset.rejected[1:]] == [
        ("cut", Reason.TRUNCATED),
        ("nope", Reason.MISSING),
    ]
    assert (found.dataset.classes, found.dataset.origin, found.dataset.notes) == (("A",), "here", ("note",))
    assert len(found.dataset.fingerprint) == 64


def test_the_mirror_image_has_the_hashes_exchanged() -> None:
    image = Image.open(io.BytesIO(png(128, 96)))
    out = io.BytesIO()
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(out, "PNG")
    one, two = scan(Dataset((Photo("a", png(128, 96)), Photo("b", out.getvalue())))).facts
    assert one.hash != one.mirror_hash
    assert (one.hash, one.mirror_hash) == (two.mirror_hash, two.hash)
    thumbs = [np.frombuffer(fact.thumb, np.uint8).reshape(THUMB, THUMB) for fact in (one, two)]
    assert np.abs(thumbs[0].astype(int) - thumbs[1][:, ::-1]).max() <= 1


def test_order_and_result_do_not_depend_on_the_workers() -> None:
    photos = tuple(Photo(str(i), png(seed=i) if i % 7 else b"no photo") for i in range(40))
    one, many = scan(Dataset(photos), workers=1), scan(Dataset(photos), workers=8)
    assert one == many
    assert [fact.id for fact in one.facts] == [str(i) for i in range(40) if i % 7]


def test_progress_counts_every_photo() -> None:
    seen: list[tuple[str, int, int]] = []
    scan(Dataset(tuple(Photo(str(i), png(seed=i)) for i in range(5))), progress=lambda *step: seen.append(step))
    assert seen == [("photos", done, 5) for done in range(1, 6)]


def test_an_interrupt_ends_the_threads() -> None:
    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        scan(Dataset(tuple(Photo(str(i), png(seed=i)) for i in range(30))), workers=4, progress=stop)
    assert threading.active_count() == before


def test_without_imagehash_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(MissingExtra, match=r"carspotter\[train\]"):
        scan(Dataset((Photo("a", png()),)))


def test_bits_become_a_number_highest_first() -> None:
    bits = np.zeros((8, 8), dtype=bool)
    bits[0, 0] = bits[7, 7] = True
    assert bits_to_int(bits) == 2**63 + 1
