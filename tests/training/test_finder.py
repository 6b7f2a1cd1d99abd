"""The finder that trainings make from packaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carspotter.data.photo import decode, read_bytes
from carspotter.data.source import read_source
from carspotter.data.views import fit
from carspotter.recipe import load_recipe
from carspotter.records import Geometry
from carspotter.training.finder import finder_for, make_finder


def test_whole_photos_need_no_finder() -> None:
    assert finder_for(load_recipe("seed")) is None


@pytest.mark.slow
@pytest.mark.real
def test_a_small_car_is_found_in_each_corner(shared: Path) -> None:
    finder = make_finder()
    photos = read_source(shared / "contest").photos[::60]
    for number, photo in enumerate(photos):
        small = fit(decode(read_bytes(photo.where)).pixels, Geometry(height=180, width=240))
        scene = np.full((480, 640, 3), 128, dtype=np.uint8)
        down, right = number % 2 * 300, number // 2 % 2 * 400
        scene[down : down + 180, right : right + 240] = small
        box = finder.find(scene)
        across, along = (box.left + box.right) / 2 * 640, (box.top + box.bottom) / 2 * 480
        assert right - 40 < across < right + 280, photo.id
        assert down - 40 < along < down + 220, photo.id
        assert (box.right - box.left) * (box.bottom - box.top) < 0.45, photo.id


@pytest.mark.slow
def test_two_finders_are_the_same_bytes() -> None:
    first = make_finder()
    make_finder.cache_clear()
    assert make_finder().model == first.model
