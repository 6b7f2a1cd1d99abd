"""Planted faults of a photo are measured, and sound photos have none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from carspotter.data.quality import BOUNDS, Quality, blur, measure, measure_all
from carspotter.errors import Reason
from carspotter.records import Photo, Rejected


def scene(width: int = 320, height: int = 240) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    fine = Image.fromarray(rng.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)).resize((width, height))
    return Image.blend(coarse, fine, 0.3)


def judged(image: Image.Image) -> Quality:
    return measure(np.array(image.convert("RGB")), image.height, image.width)


def faults(image: Image.Image) -> set[str]:
    quality = judged(image)
    return {name for name, bound in BOUNDS.items() if getattr(quality, name) < bound}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (scene(), set()),
        (ImageEnhance.Brightness(scene()).enhance(0.1), {"dark"}),
        (Image.blend(scene(), Image.new("RGB", (320, 240), "white"), 0.9), {"bright"}),
        (scene().filter(ImageFilter.GaussianBlur(8)), {"blurry"}),
        (scene(64, 48), {"tiny"}),
        (scene(900, 240), {"odd_aspect"}),
        (scene(240, 900), {"odd_aspect"}),
    ],
)
def test_a_planted_fault_is_found_and_no_other(image: Image.Image, expected: set[str]) -> None:
    assert faults(image) == expected


def test_measures_are_scores_of_any_picture() -> None:
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (1, 9), (9, 1), (2, 2), (3, 700)):
        pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        quality = measure(pixels, *shape)
        assert all(0 <= getattr(quality, name) <= 1 for name in BOUNDS), shape


def test_one_colour_is_empty_not_blurry() -> None:
    assert blur(np.full((50, 50), 0.5, dtype=np.float32)) == 0


def test_more_blur_is_a_lower_score() -> None:
    scores = [judged(scene().filter(ImageFilter.GaussianBlur(radius))).blurry for radius in (0, 3, 6)]
    assert scores == sorted(scores, reverse=True)


def test_the_size_of_the_original_counts_not_of_the_draft() -> None:
    assert measure(np.array(scene(160, 120)), 1200, 1600).shorter == 1200


def test_a_photo_that_cannot_be_read_keeps_its_place() -> None:
    out = io.BytesIO()
    scene().save(out, "PNG")
    good, bad = Photo("good", out.getvalue()), Photo("bad", b"nothing")
    first, second, third = measure_all([good, bad, good])
    assert first == third
    assert isinstance(first, Quality)
    assert isinstance(second, Rejected)
    assert second.reason is Reason.NOT_A_PHOTO
