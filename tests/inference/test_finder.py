"""The finder of a bundle: where it looks, what of a photo the net then sees, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.data.cache import PhotoCache
from carspotter.data.disk import hash_file
from carspotter.data.framing import Box
from carspotter.data.photo import decode
from carspotter.errors import BundleError
from carspotter.inference.bundle import FINDER, Bundle, read_bundle, write_bundle
from carspotter.inference.explanation import explain
from carspotter.inference.finder import NetFinder
from carspotter.inference.predictor import load
from carspotter.records import Photo, Pixels
from helpers.tiny import HEIGHT, WIDTH, png, tiny_card, tiny_files, tiny_finder


def red_corner(side: int = 80) -> Pixels:
    """Blue, and a red patch on a green ground in the lower right quarter."""
    pixels = np.full((side, side * 3 // 2, 3), (0, 0, 200), dtype=np.uint8)
    pixels[side // 2 :, side * 3 // 4 :] = (0, 100, 0)
    pixels[side * 5 // 8 : side * 7 // 8, side * 15 // 16 : side * 21 // 16] = (220, 0, 0)
    return pixels


def car_bundle(folder: Path) -> Bundle:
    """The tiny bundle, which answers with the colour it sees most of, looking only where a photo is red."""
    files = tiny_files(folder / "parts") | {FINDER: folder / "parts" / FINDER}
    files[FINDER].write_bytes(tiny_finder())
    card = tiny_card(folder / "parts")
    geometry = card.geometry.model_copy(update={"frame": "car"})
    card = card.model_copy(update={"geometry": geometry, "files": card.files | {FINDER: hash_file(files[FINDER])}})
    return write_bundle(folder / "car", card, files)


def test_the_finder_points_at_the_patch() -> None:
    box = NetFinder(tiny_finder()).find(red_corner())
    for found, where in zip((box.left, box.top, box.right, box.bottom), (5 / 8, 5 / 8, 7 / 8, 7 / 8), strict=True):
        assert found == pytest.approx(where, abs=0.09)  # a cell is 1/12 of the width, 1/8 of the height


def test_where_nothing_is_found_the_whole_photo_is_shown() -> None:
    assert NetFinder(tiny_finder()).find(np.full((50, 90, 3), (0, 200, 0), np.uint8)) == Box()


def test_a_large_photo_is_not_decoded_larger_than_it_is_looked_at() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8).repeat(37, 0).repeat(37, 1)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    data, finder = buffer.getvalue(), NetFinder(tiny_finder())
    whole, small = decode(data).pixels, decode(data, at_least=(HEIGHT, WIDTH)).pixels
    assert small.size < whole.size
    found = finder.evidence_in(Photo(id="a.jpg", where=data))
    assert found == finder.evidence(small)
    assert found != finder.evidence(whole)


def test_the_name_tells_finders_apart() -> None:
    assert NetFinder(tiny_finder()).name != NetFinder(tiny_finder(64, 64)).name


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (tiny_finder(channels=2), r"no map with one channel \(\(1, 2, 8, 12\)\)"),
        (tiny_finder(16, 16), "takes 16x16 photos, which is no size for a map"),
        (tiny_finder(weight=float("nan")), "not-a-number"),
        (b"no network", r"finder\.onnx"),
    ],
)
def test_a_net_that_is_no_finder_is_refused(model: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        NetFinder(model)


def test_an_explanation_looks_at_the_pixels_that_were_answered(tmp_path: Path) -> None:
    predictor, out = load(car_bundle(tmp_path).folder), io.BytesIO()
    Image.fromarray(red_corner(640)).save(out, "JPEG", quality=95)
    photo = Photo("a", out.getvalue())
    answered = PhotoCache(None, finder=predictor.finder).pixels(photo, predictor.card.geometry)
    assert np.array_equal(predictor.view(predictor.decoded(photo)), answered)
    assert predictor.decoded(photo).shape[0] < 640


def test_the_net_answers_for_what_the_finder_found(tmp_path: Path) -> None:
    bundle, photo = car_bundle(tmp_path), png(red_corner())
    predictor = load(bundle.folder)
    assert predictor.identify(photo).top[0].label == "red"  # of the whole photo, most is blue
    assert predictor.identify([photo, photo], tta=3)[1].top[0].label == "red"
    why = explain(predictor, Photo("a", photo), gradients=lambda *_: np.ones((8, 12)))
    assert why.view[:, :, 2].mean() < 60  # no blue: the picture shows what the net saw


def test_a_card_that_wants_a_finder_must_name_one(tmp_path: Path) -> None:
    bundle = car_bundle(tmp_path)
    path = bundle.folder / "card.json"
    card = json.loads(path.read_text())
    del card["files"][FINDER]
    path.write_text(json.dumps(card))
    (bundle.folder / FINDER).unlink()
    with pytest.raises(BundleError, match=r"shows the car alone and names no finder\.onnx"):
        read_bundle(bundle.folder)


def test_a_damaged_finder_is_refused(tmp_path: Path) -> None:
    bundle = car_bundle(tmp_path)
    (bundle.folder / FINDER).write_bytes(tiny_finder()[:-9])
    with pytest.raises(BundleError, match=r"finder\.onnx is damaged or altered"):
        load(bundle.folder)
