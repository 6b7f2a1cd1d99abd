"""A drawn photo: a car in a scene, with the weather, the light and the faults of a small ad.

A shot is drawn first, without knowing the car; so two models under one shot differ exactly in what differs between the
models.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from carspotter.data.drawing.backdrop import backdrop
from carspotter.data.drawing.brush import Camera, Paint, Painter, Spot, text_font
from carspotter.data.drawing.car import draw_car
from carspotter.data.drawing.shape import CarModel
from carspotter.data.drawing.shot import DISTANCE, Shot

SUPERSAMPLING = 2
"""Drawn twice as large and shrunk, edges come out smooth."""
WATERMARK = "lot.example"


def draw_photo(car: CarModel, shot: Shot, height: int = 240, width: int = 320) -> Image.Image:
    """The photo: RGB, `height` x `width` pixels, or turned for a portrait.

    Args:
        car: the model that stands there.
        shot: everything else.
        height: of a landscape photo, pixels.
        width: of a landscape photo, pixels.
    """
    if shot.portrait:
        height, width = width, height
    rng = np.random.default_rng(shot.texture)
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    camera = _camera(shot, size)
    picture = backdrop(shot.scene, size, camera.horizon, rng)
    paint = Paint(shot.body, shot.plate, lit=shot.night, snow=shot.snow_cover)
    painter = draw_car(picture, car, camera, paint)
    _occlude(picture, shot, camera, rng)
    if shot.night:
        picture = _night(picture, painter)
    picture = _tint(_rolled(picture, shot.roll), (shot.light, shot.light, shot.light))
    if shot.snowfall:
        _flakes(picture, rng)
    picture = _sensor(picture, shot.noise, rng)
    if shot.watermark:
        watermark(picture)
    return picture


def encode(picture: Image.Image, quality: int) -> bytes:
    """JPEG bytes; the same on one machine each time."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw_interior(shot: Shot, height: int = 240, width: int = 320) -> Image.Image:
    """A dashboard seen from the back seat: no car to name."""
    s = SUPERSAMPLING
    w, h = width * s, height * s
    rng = np.random.default_rng(shot.texture)
    picture = backdrop(shot.scene, (w, h), h * 0.4, rng)
    draw = ImageDraw.Draw(picture, "RGBA")
    dark, mid = (34, 34, 38), (58, 58, 64)
    draw.polygon([(0, 0), (w * 0.10, 0), (w * 0.02, h * 0.5), (0, h * 0.5)], fill=dark)
    draw.polygon([(w, 0), (w * 0.90, 0), (w * 0.98, h * 0.5), (w, h * 0.5)], fill=dark)
    draw.rectangle([0, 0, w, h * 0.06], fill=dark)
    draw.rounded_rectangle([w * 0.44, h * 0.07, w * 0.60, h * 0.14], 10, fill=(20, 20, 22))
    draw.polygon([(0, h * 0.52), (w * 0.3, h * 0.46), (w, h * 0.50), (w, h), (0, h)], fill=mid)
    draw.rounded_rectangle([w * 0.12, h * 0.50, w * 0.44, h * 0.66], 16, fill=(20, 20, 22))
    for x in (0.20, 0.35):  # gauges
        box = [w * x - h * 0.07, h * 0.51, w * x + h * 0.07, h * 0.65]
        draw.ellipse(box, fill=(12, 12, 14), outline=(200, 200, 196), width=3)
        angle = float(rng.uniform(-2.6, -0.5))
        tip = (w * x + h * 0.055 * math.cos(angle), h * 0.58 + h * 0.055 * math.sin(angle))
        draw.line([(w * x, h * 0.58), tip], fill=(226, 70, 40), width=4)
    draw.rounded_rectangle([w * 0.54, h * 0.55, w * 0.78, h * 0.80], 12, fill=dark)
    draw.rectangle([w * 0.56, h * 0.57, w * 0.76, h * 0.67], fill=(30, 60, 84))
    for x in (0.58, 0.66, 0.74):
        draw.ellipse([w * x - 12, h * 0.71, w * x + 12, h * 0.71 + 24], fill=(96, 96, 100))
    wheel = [w * 0.06, h * 0.52, w * 0.50, h * 1.12]
    draw.ellipse(wheel, outline=(16, 16, 18), width=24)
    draw.ellipse([w * 0.22, h * 0.72, w * 0.34, h * 0.90], fill=(22, 22, 24))
    for x, y in ((0.08, 0.80), (0.48, 0.80), (0.28, 1.1)):
        draw.line([(w * 0.28, h * 0.81), (w * x, h * y)], fill=(22, 22, 24), width=18)
    return _sensor(picture.reduce(s), shot.noise, rng)


def darken(picture: Image.Image) -> Image.Image:
    """A shot with hardly any light: nobody can name the car."""
    return ImageEnhance.Brightness(picture).enhance(0.07)


def blur(picture: Image.Image) -> Image.Image:
    """A shot out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(picture.width / 55))


def watermark(picture: Image.Image) -> None:
    """The site's text, half transparent, in the lower right corner."""
    draw = ImageDraw.Draw(picture, "RGBA")
    spot = (picture.width - 6, picture.height - 4)
    draw.text(spot, WATERMARK, (255, 255, 255, 150), font=text_font(picture.height // 16), anchor="rs")


def _camera(shot: Shot, size: Spot) -> Camera:
    """One scale for every model, so that a small car looks small; the sizes are those of an average car."""
    turn = math.radians(shot.azimuth)
    extent = 4.5 * abs(math.sin(turn)) + 1.8 * abs(math.cos(turn))
    scale = min(size[0] * shot.fill / extent, size[1] * shot.fill / 2.3)
    centre = (size[0] * shot.place[0], size[1] * shot.place[1])
    return Camera(shot.azimuth, shot.elevation, DISTANCE, scale, centre)


def _occlude(picture: Image.Image, shot: Shot, camera: Camera, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    w, h = picture.size
    side = float(rng.choice([rng.uniform(0.12, 0.30), rng.uniform(0.70, 0.88)])) * w
    if shot.occluder == "pole":
        draw.rectangle([side - 9, 0, side + 9, h * 0.96], fill=(84, 86, 88))
        draw.rectangle([side - 4, 0, side, h * 0.96], fill=(120, 122, 124))
    elif shot.occluder == "bush":
        for x, y, r in rng.random((26, 3)).tolist():
            green, reach = int(60 + 50 * r), 16 + 26 * r
            cx, cy = side + (x - 0.5) * w * 0.28, h * (0.80 + 0.24 * y)
            draw.ellipse([cx - reach, cy - reach, cx + reach, cy + reach], fill=(green - 34, green, green - 40))
    elif shot.occluder == "fence":
        top = camera.centre[1] + camera.scale * 0.35
        draw.rectangle([0, top, w, top + 8], fill=(112, 92, 70))
        for x in range(int(rng.integers(0, 90)), w, 150):
            draw.rectangle([x, top - 14, x + 12, h], fill=(104, 84, 62))
    elif shot.occluder == "car":  # the corner of a neighbour
        x0, x1 = (-0.2 * w, 0.16 * w) if side < w / 2 else (0.84 * w, 1.2 * w)
        draw.rounded_rectangle([x0, h * 0.55, x1, h * 0.95], 30, fill=(70, 76, 84))
        draw.rounded_rectangle([x0, h * 0.42, (x0 * 2 + x1 * 3) / 5, h * 0.62], 30, fill=(50, 58, 66))


def _night(picture: Image.Image, painter: Painter) -> Image.Image:
    """Bluish dark with the lamps glowing."""
    picture = _tint(picture, (0.32, 0.34, 0.44))
    for lamps, colour, spread in ((painter.lamps, (255, 244, 200), 3.0), (painter.rear_lamps, (255, 50, 40), 2.0)):
        for (x, y), radius in lamps:
            reach = min(160, max(12, round(spread * radius)))
            picture.paste(colour, (round(x) - reach, round(y) - reach), _glow(2 * reach))
    return picture


def _tint(picture: Image.Image, factors: tuple[float, float, float]) -> Image.Image:
    table = [min(255, round(value * factor)) for factor in factors for value in range(256)]
    return picture.point(table)


@lru_cache(maxsize=128)
def _glow(size: int) -> Image.Image:
    """A mask, bright in the middle, fading outwards."""
    y, x = np.mgrid[:size, :size]
    middle = (size - 1) / 2
    away = np.hypot(x - middle, y - middle) / (size / 2)
    return Image.fromarray((255 * np.clip(1.5 * np.clip(1 - away, 0, 1) ** 1.6, 0, 1)).astype(np.uint8))


def _flakes(picture: Image.Image, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    w, h = picture.size
    for x, y, r in rng.random((90, 3)).tolist():
        size = 0.6 + 1.8 * r * r
        box = [x * w - size, y * h - size, x * w + size, y * h + size]
        draw.ellipse(box, fill=(250, 252, 255, 150 + int(80 * r)))


def _rolled(picture: Image.Image, degrees: float) -> Image.Image:
    """Shrunk to its final size and, as by a camera held askew, turned and enlarged until no corner is empty.

    At half the size a bilinear sample is the mean of the pixels around it, so this one step also smooths the edges.
    """
    w, h = picture.size
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    scale = SUPERSAMPLING / (abs(cos) + abs(sin) * max(w / h, h / w))
    a, b = cos * scale, sin * scale
    width, height = w // SUPERSAMPLING, h // SUPERSAMPLING
    matrix = (a, b, (w - a * width - b * height) / 2, -b, a, (h + b * width - a * height) / 2)
    return picture.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _sensor(picture: Image.Image, noise: int, rng: np.random.Generator) -> Image.Image:
    """Noise of at most so many grey levels, the same in all channels."""
    levels = rng.integers(-noise, noise + 1, (picture.height, picture.width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(picture) + levels, 0, 255).astype(np.uint8))
