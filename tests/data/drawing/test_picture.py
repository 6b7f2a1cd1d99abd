"""Drawn photos: the twins, the weather, the light."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from carspotter.data.drawing.brush import Camera, half_width, hull
from carspotter.data.drawing.models import BIRKA, CAR_MODELS, TRUCK, TWINS
from carspotter.data.drawing.picture import blur, darken, draw_interior, draw_photo, encode
from carspotter.data.drawing.shape import CarModel
from carspotter.data.drawing.shot import AZIMUTHS, COLOURS, ELEVATIONS, VIEW_SHARES, Shot, ViewName, draw_shot

SIZE = (96, 128)
HATCH, SEDAN = (CAR_MODELS[i] for i in TWINS)
VIEWS: list[ViewName] = list(VIEW_SHARES)


def shot(seed: int, view: ViewName | None = None) -> Shot:
    return draw_shot(np.random.default_rng(seed), view)


def plain(view: ViewName = "side") -> Shot:
    """By day, on a yard, nothing in the way."""
    settings = {"night": False, "snowfall": False, "snow_cover": False, "portrait": False, "watermark": False}
    quiet = {"occluder": "none", "scene": "yard", "light": 1.0, "roll": 0.0, "noise": 0}
    return replace(shot(1, view), **settings, **quiet)


def pixels(car: CarModel, taken: Shot) -> npt.NDArray[np.int64]:
    return np.asarray(draw_photo(car, taken, *SIZE)).astype(np.int64)


# ---- models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_twins_are_equal_from_the_front(seed: int) -> None:
    taken = shot(seed, "front")
    assert np.array_equal(pixels(HATCH, taken), pixels(SEDAN, taken))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("portrait", [False, True])
def test_the_twins_are_equal_at_the_edges_of_the_front_view(sign: int, portrait: bool) -> None:
    edge = replace(shot(0, "front"), azimuth=sign * AZIMUTHS["front"][1], elevation=ELEVATIONS[1], portrait=portrait)
    assert np.array_equal(pixels(HATCH, edge), pixels(SEDAN, edge))


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "front"])
def test_the_twins_differ_where_their_rear_shows(view: ViewName) -> None:
    taken = plain(view)
    assert (np.abs(pixels(HATCH, taken) - pixels(SEDAN, taken)) > 40).any(axis=2).sum() > 40


@pytest.mark.parametrize("view", VIEWS)
def test_all_other_models_differ_in_every_view(view: ViewName) -> None:
    taken = plain(view)
    drawn = [pixels(car, taken) for car in (*CAR_MODELS, TRUCK)]
    for a, b in combinations(range(len(drawn)), 2):
        if (a, b) != TWINS:
            assert (np.abs(drawn[a] - drawn[b]) > 40).any(axis=2).sum() > 100, (a, b)


@pytest.mark.parametrize("view", VIEWS)
def test_every_car_stands_in_the_picture_in_its_colour(view: ViewName) -> None:
    taken = replace(plain(view), body=COLOURS["red"])
    for car in CAR_MODELS:
        drawn = pixels(car, taken)
        red = (drawn[..., 0] > 90) & (drawn[..., 0] > 2 * drawn[..., 1]) & (drawn[..., 0] > 2 * drawn[..., 2])
        rows, columns = np.nonzero(red)
        assert red.mean() > 0.02, car.name
        assert 30 < columns.mean() < 98, car.name
        assert 25 < rows.mean() < 75, car.name


def test_names_are_unique_and_numbered() -> None:
    assert len({car.name for car in CAR_MODELS}) == 10
    assert TRUCK not in CAR_MODELS


# ---- pictures ------------------------------------------------------------------------------------------------------


def test_the_same_shot_gives_the_same_bytes() -> None:
    taken = shot(5)
    first, second = (encode(draw_photo(BIRKA, taken, *SIZE), taken.quality) for _ in range(2))
    assert first == second
    assert encode(draw_photo(BIRKA, shot(6), *SIZE), 80) != first


@pytest.mark.parametrize(("portrait", "size"), [(False, (128, 96)), (True, (96, 128))])
def test_size_and_mode(portrait: bool, size: tuple[int, int]) -> None:
    drawn = draw_photo(BIRKA, replace(shot(2), portrait=portrait), *SIZE)
    assert (drawn.size, drawn.mode) == (size, "RGB")


def test_no_corner_of_a_rolled_photo_is_empty() -> None:
    for degrees in (-5.0, 5.0):
        drawn = pixels(BIRKA, replace(plain(), scene="snow", roll=degrees))
        assert min(drawn[y, x].min() for y in (0, -1) for x in (0, -1)) > 100


def test_night_is_dark_and_its_lamps_are_bright() -> None:
    day = replace(plain("front"), body=COLOURS["black"])
    night = pixels(BIRKA, replace(day, night=True))
    assert night.mean() < 0.5 * pixels(BIRKA, day).mean()
    assert (night[..., :2].min(axis=2) > 190).sum() > 20


def test_snow_lies_on_the_car_and_in_the_air() -> None:
    day = replace(plain("front_quarter"), body=COLOURS["green"])
    white = [(pixels(BIRKA, taken).min(axis=2) > 200).sum() for taken in (day, replace(day, snow_cover=True))]
    assert white[1] > white[0] + 100
    flakes = np.abs(pixels(BIRKA, replace(day, snowfall=True)) - pixels(BIRKA, day)).max(axis=2) > 30
    assert 50 < flakes.sum() < 3000


@pytest.mark.parametrize("occluder", ["pole", "bush", "fence", "car"])
def test_something_stands_before_the_car(occluder: str) -> None:
    changed = np.abs(pixels(BIRKA, replace(plain(), occluder=occluder)) - pixels(BIRKA, plain())).max(axis=2) > 20
    assert 0.01 < changed.mean() < 0.4


def test_the_watermark_is_in_the_lower_right_corner() -> None:
    changed = np.abs(pixels(BIRKA, replace(plain(), watermark=True)) - pixels(BIRKA, plain())).max(axis=2) > 10
    rows, columns = np.nonzero(changed)
    assert len(rows) > 20
    assert rows.min() > SIZE[0] * 0.8
    assert columns.min() > SIZE[1] * 0.5


def test_a_lower_quality_gives_fewer_bytes() -> None:
    drawn = draw_photo(BIRKA, shot(3), *SIZE)
    assert len(encode(drawn, 40)) < len(encode(drawn, 92))
    assert Image.open(io.BytesIO(encode(drawn, 40))).format == "JPEG"


def test_darken_and_blur() -> None:
    drawn = draw_photo(BIRKA, plain(), *SIZE)
    assert np.asarray(darken(drawn)).mean() < 0.1 * np.asarray(drawn).mean()
    sharp, soft = (np.abs(np.diff(np.asarray(p).astype(int), axis=1)).mean() for p in (drawn, blur(drawn)))
    assert soft < sharp / 2


def test_an_interior_shows_no_car() -> None:
    inside = np.asarray(draw_interior(plain(), *SIZE)).astype(int)
    assert inside.shape == (96, 128, 3)
    assert inside[60:].mean() < 80 < inside[12:40].mean()


# ---- shots ---------------------------------------------------------------------------------------------------------


def test_shots_are_decided_by_the_seed_and_spread_over_everything() -> None:
    shots = [shot(seed) for seed in range(400)]
    assert shots[7] == shot(7)
    assert {taken.view for taken in shots} == set(VIEWS)
    assert {taken.colour for taken in shots} == set(COLOURS)
    assert {taken.scene for taken in shots} == {"yard", "road", "snow", "forest", "wall"}
    assert 20 < sum(taken.night for taken in shots) < 80
    assert 20 < sum(taken.portrait for taken in shots) < 80
    assert all(AZIMUTHS[t.view][0] <= abs(t.azimuth) <= AZIMUTHS[t.view][1] for t in shots)
    assert len({taken.plate for taken in shots}) == 400


def test_asking_for_a_view_changes_only_the_camera() -> None:
    free, forced = shot(4), shot(4, "rear")
    assert forced.view == "rear"
    same = {"view": free.view, "azimuth": free.azimuth, "elevation": free.elevation}
    assert replace(forced, **same) == free


def test_snow_means_any_snow() -> None:
    dry = plain()
    assert not dry.snow
    assert replace(dry, scene="snow").snow
    assert replace(dry, snowfall=True).snow
    assert replace(dry, snow_cover=True).snow


# ---- geometry ------------------------------------------------------------------------------------------------------


def test_the_camera_sees_near_things_larger_and_the_left_side_from_the_left() -> None:
    project = Camera(0.0, 0.0, 9.0, 100.0, (320.0, 240.0)).projector()
    assert project((0.0, 0.0, 0.7)) == (320.0, 240.0)
    assert project((0.0, 1.0, 0.7)) == pytest.approx((420.0, 240.0))
    assert project((4.5, 1.0, 0.7)) == pytest.approx((520.0, 240.0))
    assert project((0.0, 0.0, 1.7)) == pytest.approx((320.0, 140.0))
    beside = Camera(90.0, 0.0, 9.0, 100.0, (320.0, 240.0)).projector()
    assert beside((1.0, 0.0, 0.7)) == pytest.approx((220.0, 240.0))  # its nose points left


def test_far_points_meet_at_the_horizon() -> None:
    camera = Camera(0.0, 10.0, 9.0, 100.0, (320.0, 240.0))
    assert camera.projector()((-1e7, 0.0, 0.0))[1] == pytest.approx(camera.horizon, abs=0.01)


def test_bodies_are_narrower_at_the_roof_and_the_ends() -> None:
    widest = half_width(BIRKA, 0.0, 0.8)
    assert widest == pytest.approx(BIRKA.width / 2)
    assert half_width(BIRKA, 0.0, BIRKA.height) == pytest.approx(widest * BIRKA.waist)
    assert half_width(BIRKA, BIRKA.ends[0], 0.8) < widest
    assert half_width(BIRKA, BIRKA.ends[1], 0.8) < widest


def test_hull_drops_what_is_inside() -> None:
    assert set(hull([(0, 0), (2, 0), (2, 2), (0, 2), (1, 1), (1, 0)])) == {(0, 0), (2, 0), (2, 2), (0, 2)}
