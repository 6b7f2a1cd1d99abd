"""The part of a photo that is shown: boxes from maps, cuts from boxes, and the cache that keeps them apart."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carspotter.data.cache import PhotoCache
from carspotter.data.framing import (
    FINER,
    MARGIN,
    SMALLEST,
    Box,
    box_around,
    box_in,
    cut,
    decode_size,
    framed,
    stretched,
)
from carspotter.data.views import fit
from carspotter.records import Geometry, Photo, Pixels

WHOLE = Geometry(height=60, width=80)
CAR = WHOLE.model_copy(update={"frame": "car"})


class Fixed:
    """Finds the car in the same place always."""

    def __init__(self, box: Box, name: str = "fixed") -> None:
        self.box, self.name = box, name

    def find(self, pixels: Pixels) -> Box:
        return self.box


def coordinates(height: int, width: int) -> Pixels:
    """Each pixel tells its row and its column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)


def test_the_box_holds_the_strong_cells_and_no_row_more() -> None:
    cells = np.zeros((8, 10))
    cells[2:5, 3:9] = 1.0
    cells[6, 0] = 0.29  # weaker than the bound
    assert box_around(cells) == Box(0.3, 0.25, 0.9, 0.625)


@pytest.mark.parametrize("cells", [np.zeros((4, 5)), -np.ones((4, 5))])
def test_where_no_place_stands_out_all_of_the_photo_is_kept(cells: np.ndarray) -> None:
    assert box_around(cells) == Box()


def test_a_box_of_the_padded_view_is_given_back_in_the_photo() -> None:
    view, cells = Geometry(height=240, width=320), np.zeros((8, 32))
    # A photo of 100 x 200 (portrait: 120 of 320 columns are photo, cells 10 to 21).
    cells[4:, 13:19] = 1.0
    found = box_in(cells, 200, 100, view)
    assert (found.left, found.right) == pytest.approx((0.25, 0.75))
    assert (found.top, found.bottom) == (0.5, 1.0)


def test_grey_borders_are_no_part_of_a_photo() -> None:
    view, cells = Geometry(height=240, width=320), np.zeros((8, 10))
    cells[:, 0:3] = 9.0  # in the border of a portrait
    assert box_in(cells, 200, 100, view) == Box()
    cells[2:4, 4:6] = 1.0
    assert box_in(cells, 200, 100, view).top == 0.25
    assert box_in(cells, 100, 1, view) == Box()  # so narrow that no cell lies in it


def test_a_cut_is_widened_to_the_rectangle_so_that_nothing_stays_grey() -> None:
    pixels = coordinates(120, 160)
    part = cut(pixels, Box(0.25, 0.25, 0.75, 0.5), 80 / 60)
    assert part.shape[1] == round(80 * (1 + MARGIN))
    assert part.shape[1] / part.shape[0] == pytest.approx(80 / 60, rel=0.02)
    middle = part[part.shape[0] // 2, part.shape[1] // 2]
    assert middle[0] == pytest.approx(45, abs=1)
    assert middle[1] == pytest.approx(80, abs=1)


def test_a_cut_at_the_edge_is_moved_inwards() -> None:
    part = cut(coordinates(120, 160), Box(0.6, 0.0, 1.0, 0.4), 80 / 60)
    assert part[0, 0, 0] == 0
    assert part[-1, -1, 1] == 159
    assert part.shape[0] >= 0.4 * 120
    assert part.shape[1] >= 0.4 * 160


def test_a_detail_is_not_taken_for_the_car() -> None:
    part = cut(coordinates(120, 160), Box(0.5, 0.5, 0.51, 0.51), 80 / 60)
    assert part.shape[0] >= SMALLEST * 120
    assert part.shape[1] >= SMALLEST * 160


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from([(32, 32), (60, 80), (80, 60)]),
)
def test_every_box_of_every_photo_gives_the_rectangle(
    height: int, width: int, sides: tuple[float, ...], size: tuple[int, int]
) -> None:
    box = Box(*(min(sides[i], sides[i + 2]) for i in (0, 1)), *(max(sides[i], sides[i + 2]) for i in (0, 1)))
    geometry = Geometry(height=size[0], width=size[1], frame="car")
    assert framed(coordinates(height, width), geometry, Fixed(box)).shape == (*size, 3)


def test_whole_photos_ask_nobody() -> None:
    pixels = coordinates(120, 160)
    assert np.array_equal(framed(pixels, WHOLE, None), fit(pixels, WHOLE))
    with pytest.raises(ValueError, match="nobody was given who finds it"):
        framed(pixels, CAR, None)


def test_what_is_cut_is_decoded_finer() -> None:
    assert decode_size(WHOLE) == (60, 80)
    assert decode_size(CAR) == (60 * FINER, 80 * FINER)


def test_the_cache_keeps_finders_and_frames_apart(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(coordinates(120, 160)).save(out, "PNG")
    photo = Photo("a", out.getvalue(), digest=hashlib.sha256(out.getvalue()).hexdigest())
    left, right = Fixed(Box(0, 0, 0.4, 0.4), "left"), Fixed(Box(0.6, 0.6, 1, 1), "right")
    cache = PhotoCache(tmp_path)
    for _ in range(2):  # decoded, then from disk
        whole = cache.pixels(photo, WHOLE)
        there = cache.with_finder(right).pixels(photo, CAR)
        here = cache.with_finder(left).pixels(photo, CAR)
        assert whole[:, :, 1].max() > 150
        assert here[:, :, 1].max() < 90
        assert there[:, :, 1].min() > 70
    assert np.array_equal(cache.with_finder(left).pixels(photo, WHOLE), whole)  # no finder's name in its key
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_a_cache_with_the_same_finder_is_itself(tmp_path: Path) -> None:
    finder = Fixed(Box())
    cache = PhotoCache(tmp_path, finder=finder)
    assert cache.with_finder(finder) is cache
    assert cache.with_finder(None).finder is None
    assert cache.finder is finder


def test_a_stretch_reaches_from_black_to_white_and_keeps_colours() -> None:
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    dark = (bright // 6 + 3).astype(np.uint8)
    found = stretched(dark)
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found.astype(int) - bright).max() <= 10  # what darkness took is back, but for rounding
    order = np.argsort(dark.reshape(-1, 3).sum(1), kind="stable")
    assert (np.diff(found.reshape(-1, 3).sum(1)[order][::50].astype(int)) >= -20).all()
    flat = np.full((4, 4, 3), 9, np.uint8)
    assert np.array_equal(stretched(flat), flat)


def test_light_is_part_of_what_is_shown() -> None:
    dark = (np.random.default_rng(0).integers(0, 256, (40, 60, 3)) // 8).astype(np.uint8)
    plain, lit = Geometry(height=40, width=60), Geometry(height=40, width=60, light="stretched")
    assert str(plain) != str(lit)  # so a cache keeps both
    assert np.array_equal(framed(dark, plain, None), dark)
    assert np.array_equal(framed(dark, lit, None), stretched(dark))
