"""The five places where drawn cars stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from carspotter.data.drawing.brush import Rgb
from carspotter.data.drawing.shot import SceneName


def backdrop(scene: SceneName, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> Image.Image:
    """An empty place, RGB.

    Args:
        scene: which.
        size: width and height, pixels.
        horizon: row of the camera's horizon; far places move it into the picture.
        rng: decides where things stand and how bright they are.
    """
    horizon = min(max(horizon, size[1] * 0.15), size[1] * 0.7)
    sky, ground = _SKIES[scene], _GROUNDS[scene]
    picture = _gradients(size, horizon, (sky, ground), float(rng.uniform(0.88, 1.12)))
    _SCENES[scene](ImageDraw.Draw(picture, "RGBA"), size, horizon, rng)
    return picture


def _gradients(size: tuple[int, int], horizon: float, bands: tuple[tuple[Rgb, Rgb], ...], light: float) -> Image.Image:
    """Sky above the horizon, ground below, each from one colour to another."""
    rows = np.arange(size[1], dtype=np.float64)
    up = np.clip(rows / horizon, 0, 1)[:, None]
    down = np.clip((rows - horizon) / (size[1] - horizon), 0, 1)[:, None]
    (high, low), (far, near) = (np.array(band, dtype=np.float64) for band in bands)
    column = np.where(rows[:, None] < horizon, high + (low - high) * up, far + (near - far) * down) * light
    strip = Image.fromarray(np.clip(column, 0, 255).astype(np.uint8)[:, None, :])
    return strip.resize(size, Image.Resampling.NEAREST)


def _yard(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    w, _ = size
    left = -float(rng.uniform(0, 0.3)) * w
    while left < w:
        width, tall = float(rng.uniform(0.35, 0.7)) * w, float(rng.uniform(0.8, 1.2)) * horizon
        tone = int(rng.integers(120, 190))
        top = horizon - tall
        draw.rectangle([left, top, left + width, horizon], fill=(tone, tone - 6, tone - 18))
        step = w * 0.075
        for i in range(1, int(width / step)):
            for j in range(1, int(tall / step)):
                x, y = left + i * step, top + j * step
                draw.rectangle([x - 13, y - 16, x + 13, y + 12], fill=(70, 84, 98))
        left += width + float(rng.uniform(0.0, 0.15)) * w
    draw.rectangle([0, horizon, w, horizon + 10], fill=(88, 104, 66))
    _specks(draw, size, horizon, rng, (70, 70, 72, 90))


def _road(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    w, h = size
    for tone in (0, 1):
        peaks = [(w * i / 6, horizon - float(rng.uniform(0.02, 0.22 - 0.08 * tone)) * h) for i in range(7)]
        draw.polygon([(0, horizon), *peaks, (w, horizon)], fill=((112, 138, 128), (86, 122, 78))[tone])
    draw.rectangle([0, horizon, w, horizon + 0.06 * h], fill=(104, 128, 66))
    middle = horizon + 0.10 * h
    draw.line([(0, middle), (w, middle)], fill=(214, 212, 200), width=4)
    for i in range(-1, 6):
        x = (i + float(rng.random())) * w / 5
        draw.polygon(
            [(x, h * 0.93), (x + 90, h * 0.93), (x + 80, h * 0.955), (x - 14, h * 0.955)], fill=(216, 214, 204)
        )
    _specks(draw, size, middle, rng, (60, 60, 64, 80))


def _snowy(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    w, h = size
    for _ in range(14):
        x, tall = float(rng.uniform(0, w)), float(rng.uniform(0.10, 0.34)) * h
        for step in (1.0, 0.75, 0.5):
            top, half = horizon - tall * (1.3 - step * 0.3), tall * 0.25 * step
            low = horizon - tall * (1 - step) * 0.9
            draw.polygon([(x - half, low), (x + half, low), (x, top)], fill=(62, 84, 88))
    draw.ellipse([-0.2 * w, horizon - 0.04 * h, 0.5 * w, horizon + 0.1 * h], fill=(216, 223, 232))
    draw.ellipse([0.5 * w, horizon - 0.06 * h, 1.3 * w, horizon + 0.1 * h], fill=(210, 218, 228))
    _specks(draw, size, horizon + 0.1 * h, rng, (168, 182, 200, 120))


def _forest(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    w, h = size
    draw.rectangle([0, 0, w, horizon], fill=(58, 84, 50, 190))
    for _ in range(16):
        x, thick, tone = float(rng.uniform(0, w)), float(rng.uniform(6, 22)), int(rng.integers(40, 84))
        draw.rectangle([x, 0, x + thick, horizon + float(rng.uniform(0, 0.03)) * h], fill=(tone + 14, tone, tone - 12))
    for _ in range(30):
        x, y, r = float(rng.uniform(0, w)), float(rng.uniform(0, horizon * 0.7)), float(rng.uniform(20, 60))
        green = int(rng.integers(70, 130))
        draw.ellipse([x - r, y - r * 0.7, x + r, y + r * 0.7], fill=(green - 40, green, green - 54, 150))
    _specks(draw, size, horizon, rng, (60, 74, 40, 110))


def _wall(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    w, h = size
    base = horizon + 0.05 * h
    red = int(rng.integers(120, 170))
    draw.rectangle([0, 0, w, base], fill=(red, int(red * 0.68), int(red * 0.56)))
    rows = int(base / 24) + 1
    for j in range(rows):
        y = base - j * 24
        draw.line([(0, y), (w, y)], fill=(60, 44, 40, 70), width=2)
        for joint in range((j % 2) * 32, w, 64):
            draw.line([(joint, y), (joint, y - 24)], fill=(60, 44, 40, 60), width=2)
    if rng.random() < 0.6:
        x, wide, tall = float(rng.uniform(0, 0.5)) * w, 0.5 * w, 0.75 * base
        tone = int(rng.integers(70, 150))
        draw.rectangle([x, base - tall, x + wide, base], fill=(tone, tone + 12, tone + 18))
        for i in range(1, 6):
            draw.line([(x, base - tall * i / 6), (x + wide, base - tall * i / 6)], fill=(30, 30, 34, 110), width=3)
    _specks(draw, size, base, rng, (72, 72, 74, 90))


def _specks(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    top: float,
    rng: np.random.Generator,
    colour: tuple[int, int, int, int],
) -> None:
    """Stones, leaves, cracks: the ground is not a plain."""
    spots = rng.random((60, 3))
    for x, y, r in spots.tolist():
        row = top + (size[1] - top) * y
        wide = 2 + 14 * r * y
        draw.ellipse([x * size[0] - wide, row - wide * 0.25, x * size[0] + wide, row + wide * 0.25], fill=colour)


_SKIES: dict[SceneName, tuple[Rgb, Rgb]] = {
    "yard": ((150, 176, 206), (206, 214, 220)),
    "road": ((104, 156, 214), (206, 222, 232)),
    "snow": ((176, 190, 206), (222, 228, 234)),
    "forest": ((120, 150, 110), (160, 180, 140)),
    "wall": ((150, 120, 104), (150, 120, 104)),
}
_GROUNDS: dict[SceneName, tuple[Rgb, Rgb]] = {
    "yard": ((122, 122, 122), (92, 92, 94)),
    "road": ((104, 105, 108), (78, 79, 83)),
    "snow": ((210, 217, 226), (184, 195, 210)),
    "forest": ((96, 110, 66), (112, 100, 72)),
    "wall": ((128, 124, 118), (100, 98, 96)),
}
_SCENES: dict[SceneName, Callable[[ImageDraw.ImageDraw, tuple[int, int], float, np.random.Generator], None]] = {
    "yard": _yard,
    "road": _road,
    "snow": _snowy,
    "forest": _forest,
    "wall": _wall,
}
