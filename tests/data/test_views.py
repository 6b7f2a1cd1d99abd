"""Views: geometry, random changes, test-time augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from carspotter.data.views import (
    BORDER,
    MIN_ZOOM,
    TTA_RANGES,
    View,
    ViewRanges,
    apply_view,
    draw_view,
    fit,
    tta_views,
)
from carspotter.records import Geometry, Pixels


@pytest.fixture
def noise() -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (60, 80, 3)).astype(np.uint8)


@pytest.fixture
def scene() -> Pixels:
    """A dark photo with one bright square up left of the centre, each quarter of its own tint."""
    pixels = np.full((60, 80, 3), 40, dtype=np.uint8)
    pixels[:30, :40, 0] = 60
    pixels[10:20, 10:20] = 250
    return pixels


def square(pixels: Pixels) -> tuple[float, float]:
    """(x, y) centre of what is bright."""
    y, x = np.nonzero(pixels[..., 1] > 150)
    return float(x.mean()), float(y.mean())


# ---- fit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pad", "crop", "stretch"])
def test_fit_leaves_a_photo_of_the_size_alone(noise: Pixels, how: str) -> None:
    assert fit(noise, Geometry(height=60, width=80, fit=how)) is noise


@pytest.mark.parametrize("how", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("shape", [(60, 80), (300, 40), (1, 1), (1, 500), (700, 3), (33, 47)])
def test_fit_gives_the_rectangle_whatever_comes(how: str, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 200, dtype=np.uint8)
    fitted = fit(pixels, Geometry(height=48, width=64, fit=how))
    assert fitted.shape == (48, 64, 3)
    assert fitted.dtype == np.uint8
    assert fitted.flags.writeable
    assert fitted.flags.c_contiguous
    assert (fitted == 200).any()


def test_pad_keeps_the_aspect_ratio_and_centres(noise: Pixels) -> None:
    fitted = fit(np.full((100, 50, 3), 255, dtype=np.uint8), Geometry(height=40, width=40))
    assert (fitted[:, 10:30] == 255).all()
    assert (fitted[:, :10] == BORDER).all()
    assert (fitted[:, 30:] == BORDER).all()


def test_crop_fills_and_cuts_evenly() -> None:
    pixels = np.zeros((100, 300, 3), dtype=np.uint8)
    pixels[:, 100:200] = 255
    fitted = fit(pixels, Geometry(height=50, width=50, fit="crop"))
    assert (fitted[:, 1:-1] == 255).all()
    assert (fitted > 200).all()  # the antialiasing of the outer columns sees a little of what was cut


def test_crop_keeps_circles_round_and_stretch_does_not() -> None:
    y, x = np.mgrid[:120, :240]
    disc = np.repeat((((y - 60) ** 2 + (x - 120) ** 2 < 50**2) * 255).astype(np.uint8)[..., None], 3, axis=2)

    def ratio(how: str) -> float:
        rows, columns = np.nonzero(fit(disc, Geometry(height=60, width=60, fit=how))[..., 0] > 127)
        return float(np.ptp(columns) + 1) / float(np.ptp(rows) + 1)

    assert ratio("crop") == pytest.approx(1.0, abs=0.05)
    assert ratio("stretch") == pytest.approx(0.5, abs=0.05)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((320, 320, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit(stripes, Geometry(height=40, width=40)).astype(int) - 127).max() < 12


def test_fit_takes_strided_pixels(noise: Pixels) -> None:
    geometry = Geometry(height=32, width=32, fit="stretch")
    mirrored = noise[:, ::-1]
    assert np.array_equal(fit(mirrored, geometry), fit(mirrored.copy(), geometry))


# ---- one view ------------------------------------------------------------------------------------------------------


def test_the_identity_view_gives_equal_pixels_in_other_memory(noise: Pixels) -> None:
    seen = apply_view(noise, View())
    assert np.array_equal(seen, noise)
    assert not np.shares_memory(seen, noise)
    assert seen.flags.writeable


def test_flip_mirrors_exactly(noise: Pixels) -> None:
    assert np.array_equal(apply_view(noise, View(flip=True)), noise[:, ::-1])
    assert np.array_equal(apply_view(apply_view(noise, View(flip=True)), View(flip=True)), noise)


def test_whole_shifts_move_pixels_exactly_and_repeat_the_border(noise: Pixels) -> None:
    seen = apply_view(noise, View(shift_x=0.25, shift_y=-0.1))  # 20 pixels right, 6 up
    assert np.array_equal(seen[:-6, 20:], noise[6:, :-20])
    assert np.array_equal(seen[:-6, :20], np.repeat(noise[6:, :1], 20, axis=1))
    assert np.array_equal(seen[-6:, 20:], np.repeat(noise[-1:, :-20], 6, axis=0))


def test_quarter_turn_is_counter_clockwise(noise: Pixels) -> None:
    box = noise[:60, :60]
    turned = apply_view(box, View(rotation=90)).astype(int)
    assert np.abs(turned - np.rot90(box)).max() <= 1


def test_zoom_scales_about_the_centre(scene: Pixels) -> None:
    x, y = square(scene)
    closer_x, closer_y = square(apply_view(scene, View(zoom=1.2)))
    assert closer_x == pytest.approx(39.5 + 1.2 * (x - 39.5), abs=0.6)
    assert closer_y == pytest.approx(29.5 + 1.2 * (y - 29.5), abs=0.6)


def test_mirror_comes_before_the_shift(scene: Pixels) -> None:
    x, _ = square(scene)
    assert square(apply_view(scene, View(flip=True, shift_x=0.1)))[0] == pytest.approx(79 - x + 8)


@pytest.mark.parametrize(
    "view",
    [
        View(rotation=180, zoom=0.3),
        View(rotation=45, zoom=MIN_ZOOM),
        View(rotation=-33, shift_x=0.9, shift_y=-0.9),
        View(rotation=5, shift_x=-0.9, shift_y=0.9, zoom=2),
    ],
)
def test_no_view_brings_in_black(view: View) -> None:
    bright = np.full((60, 80, 3), 200, dtype=np.uint8)
    assert (apply_view(bright, view) == 200).all()


@pytest.mark.parametrize(("factor", "expected"), [(0.5, [0, 50, 100, 125]), (1.5, [0, 150, 255, 255])])
def test_brightness_multiplies_and_saturates(factor: float, expected: list[int]) -> None:
    pixels = np.repeat(np.array([[[0], [100], [200], [250]]], dtype=np.uint8), 3, axis=2)
    assert apply_view(pixels, View(brightness=factor))[0, :, 0].tolist() == expected


def test_a_view_too_far_away_is_refused() -> None:
    with pytest.raises(ValueError, match=r"zoom 0\.05 of a view: expected at least 0\.1"):
        View(zoom=0.05)


def test_the_photo_itself_is_not_changed(noise: Pixels) -> None:
    before = noise.copy()
    apply_view(noise, View(rotation=7, shift_x=0.1, zoom=0.8, brightness=1.3, flip=True))
    assert np.array_equal(noise, before)


def test_the_warp_is_pillows_rotation(noise: Pixels) -> None:
    expected = np.asarray(Image.fromarray(noise).rotate(10, Image.Resampling.BILINEAR)).astype(int)
    inner = (slice(20, 40), slice(20, 60))  # away from the border, which Pillow blackens
    assert np.abs(apply_view(noise, View(rotation=10))[inner].astype(int) - expected[inner]).max() <= 1


# ---- drawing views -------------------------------------------------------------------------------------------------


def test_default_ranges_draw_the_identity_only() -> None:
    rng = np.random.default_rng(0)
    assert {draw_view(ViewRanges(), rng) for _ in range(20)} == {View()}


def test_drawn_views_fill_their_ranges_and_stay_inside() -> None:
    ranges = ViewRanges(rotation=10, shift_x=0.2, shift_y=0.1, zoom=(0.8, 1.5), brightness=(0.5, 1.2), flip=True)
    rng = np.random.default_rng(1)
    views = [draw_view(ranges, rng) for _ in range(500)]
    for name, low, high in [
        ("rotation", -10, 10),
        ("shift_x", -0.2, 0.2),
        ("shift_y", -0.1, 0.1),
        ("zoom", 0.8, 1.5),
        ("brightness", 0.5, 1.2),
    ]:
        values = [getattr(view, name) for view in views]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    assert 200 < sum(view.flip for view in views) < 300


def test_one_range_does_not_move_the_draw_of_another() -> None:
    plain = draw_view(ViewRanges(brightness=(0.5, 1.5)), np.random.default_rng(3))
    richer = draw_view(ViewRanges(rotation=9, brightness=(0.5, 1.5), flip=True), np.random.default_rng(3))
    assert plain.brightness == richer.brightness
    assert richer.rotation != plain.rotation == 0


def test_tta_views_begin_with_the_photo_and_its_mirror() -> None:
    assert tta_views(1) == (View(),)
    assert tta_views(2) == (View(), View(flip=True))


def test_tta_views_are_deterministic_and_prefix_stable() -> None:
    ten = tta_views(10, seed=5)
    assert ten == tta_views(10, seed=5)
    assert len(set(ten)) == 10
    for n in range(1, 10):
        assert tta_views(n, seed=5) == ten[:n]
    assert tta_views(10, seed=6)[2:] != ten[2:]


def test_tta_views_stay_in_the_seeds_ranges() -> None:
    views = tta_views(100)
    assert all(abs(view.rotation) <= TTA_RANGES.rotation for view in views)
    assert all(TTA_RANGES.brightness[0] <= view.brightness <= TTA_RANGES.brightness[1] for view in views)
    assert all(view.zoom == 1.0 for view in views)
    assert 20 < sum(view.flip for view in views) < 80


@pytest.mark.parametrize("n", [0, -3])
def test_tta_without_views_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} views for test-time augmentation: expected at least 1"):
        tta_views(n)
