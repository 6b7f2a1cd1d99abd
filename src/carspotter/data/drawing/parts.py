"""What runs across a car: bonnet, screens, grilles, lamps, bumpers, number plates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from carspotter.data.drawing.brush import (
    BLACK,
    CHROME,
    GLASS,
    LENS,
    LIT,
    LIT_RED,
    RED,
    SHEEN,
    TYRE,
    Colour,
    Paint,
    Painter,
    Patch,
    Point,
    blob,
    rgb,
    shade,
    text_font,
)
from carspotter.data.drawing.shape import Grille, Lamp, RearLamp


def paint_strip(painter: Painter, patch: Patch, role: str, paint: Paint) -> None:
    """One surface across the car with all that belongs on it."""
    run, rise = abs(patch.high.x - patch.low.x), patch.high.z - patch.low.z
    light = 0.78 + 0.34 * run / math.hypot(run, rise)
    colour: Colour = shade(paint.body, light)
    if role in ("bumper", "rear_bumper") and "dark_bumpers" in patch.car.trims:
        colour = (52, 53, 57)
    if role == "box":
        colour = shade((222, 222, 216), light)
    if paint.snow and role in ("roof", "bonnet", "deck", "bed"):
        colour = (238, 242, 247)
    painter.face(patch.box((-1, 1), (0, 1)), colour)
    if role in _DETAILS:
        _DETAILS[role](painter, patch, paint)


def _bonnet(painter: Painter, patch: Patch, paint: Paint) -> None:
    for u in (-0.62, 0.62):
        painter.line([patch.at(u, 0.05), patch.at(u * 0.9, 0.95)], (*shade(paint.body, 0.6)[:3], 120))
    painter.face(patch.box((-0.5, 0.5), (0.55, 0.95)), (255, 255, 255, 26))


def _roof(painter: Painter, patch: Patch, _paint: Paint) -> None:
    painter.face(patch.box((-0.8, 0.8), (0.1, 0.9)), (255, 255, 255, 22))


def _screen(painter: Painter, patch: Patch, _paint: Paint) -> None:
    painter.face(patch.box((-0.93, 0.93), (0.05, 0.93)), GLASS)
    painter.face([patch.at(-0.85, 0.08), patch.at(-0.35, 0.08), patch.at(0.1, 0.9), patch.at(-0.4, 0.9)], SHEEN)
    painter.face(patch.box((-0.08, 0.08), (0.80, 0.92)), BLACK)
    for u in (-0.45, 0.25):  # seats
        painter.face(patch.box((u - 0.02, u + 0.22), (0.28, 0.62)), (30, 34, 40, 160))
    for u in (-0.3, 0.35):  # wipers
        painter.line([patch.at(u, 0.04), patch.at(u + 0.45, 0.16)], BLACK)


def _backlight(painter: Painter, patch: Patch, paint: Paint) -> None:
    patch = Patch(patch.car, patch.high, patch.low)
    painter.face(patch.box((-0.88, 0.88), (0.12, 0.88)), GLASS)
    painter.face([patch.at(0.1, 0.14), patch.at(0.5, 0.14), patch.at(0.8, 0.86), patch.at(0.4, 0.86)], SHEEN)
    for v in (0.3, 0.45, 0.6, 0.75):
        painter.line([patch.at(-0.8, v), patch.at(0.8, v)], (120, 96, 80, 60), 0.006)
    if patch.car.rear_lamp == "pillar":
        for side in (-1, 1):
            _rear_lens(painter, patch.box((side * 0.90, side * 0.99), (0.0, 0.80)), paint)
    if "spoiler" in patch.car.trims:
        painter.face(patch.box((-0.95, 0.95), (0.90, 1.04)), shade(paint.body, 0.55))


def _bed(painter: Painter, patch: Patch, _paint: Paint) -> None:
    painter.face(patch.box((-0.88, 0.88), (0.03, 0.97)), (38, 38, 41))


def _face(painter: Painter, patch: Patch, paint: Paint) -> None:
    _GRILLES[patch.car.grille](painter, patch)
    for side in (-1, 1):
        for lens in _LAMPS[patch.car.lamp](patch, side):
            _lens(painter, lens, paint)


def _bumper(painter: Painter, patch: Patch, paint: Paint) -> None:
    if "chrome" in patch.car.trims:
        painter.face(patch.box((-0.97, 0.97), (0.72, 0.92)), CHROME)
    painter.face(patch.box((-0.55, 0.55), (0.06, 0.34)), BLACK)
    if "fog_lamps" in patch.car.trims:
        for u in (-0.76, 0.76):
            painter.face(patch.disc(u, 0.36, 0.075), LENS)
    _plate(painter, patch, 0.42, paint)


def _tail(painter: Painter, patch: Patch, paint: Paint) -> None:
    patch = Patch(patch.car, patch.high, patch.low)
    painter.line([patch.at(-0.8, 0.06), patch.at(0.8, 0.06)], (*shade(paint.body, 0.5)[:3], 160))
    for side in (-1, 1):
        for lens in _REAR_LAMPS[patch.car.rear_lamp](patch, side):
            _rear_lens(painter, lens, paint)
    if "chrome" in patch.car.trims:
        painter.face(patch.box((-0.5, 0.5), (0.74, 0.80)), CHROME)
    _plate(painter, patch, 0.2, paint)
    if "spare" in patch.car.trims:
        painter.face(patch.disc(0.12, 0.75, 0.34), TYRE)
        painter.face(patch.disc(0.12, 0.75, 0.20), (150, 152, 156))


def _rear_bumper(painter: Painter, patch: Patch, _paint: Paint) -> None:
    patch = Patch(patch.car, patch.high, patch.low)
    painter.line([patch.at(-0.95, 0.96), patch.at(0.95, 0.96)], (0, 0, 0, 120), 0.02)
    painter.face(patch.box((-0.94, -0.74), (0.45, 0.75)), shade(rgb(RED), 0.8))
    painter.face(patch.box((0.74, 0.94), (0.45, 0.75)), shade(rgb(RED), 0.8))


def _plate(painter: Painter, patch: Patch, v: float, paint: Paint) -> None:
    height = 0.13 / math.hypot(patch.high.x - patch.low.x, patch.high.z - patch.low.z)
    spots = painter.face(patch.box((-0.31, 0.31), (v, v + height)), (240, 240, 236))
    wide = max(s[0] for s in spots) - min(s[0] for s in spots)
    tall = max(s[1] for s in spots) - min(s[1] for s in spots)
    if wide > 2.5 * tall and tall >= 8:  # slanting plates are too small to read anyway
        middle = sum(s[0] for s in spots) / 4, sum(s[1] for s in spots) / 4
        painter.draw.text(middle, paint.plate, (20, 20, 24), font=text_font(round(min(tall, wide / 4.6))), anchor="mm")


def _lens(painter: Painter, points: Sequence[Point], paint: Paint) -> None:
    spots = painter.face(points, LIT if paint.lit else LENS)
    painter.draw.line([*spots, spots[0]], fill=(60, 64, 70, 150), width=2)
    painter.lamps.append(blob(spots))


def _rear_lens(painter: Painter, points: Sequence[Point], paint: Paint) -> None:
    spots = painter.face(points, LIT_RED if paint.lit else RED)
    painter.draw.line([*spots, spots[0]], fill=(50, 8, 10, 220), width=3)
    centre, radius = blob(spots)
    x, y = min(spot[0] for spot in spots), max(spot[1] for spot in spots)
    width, height = 2 * (centre[0] - x), 2 * (y - centre[1])
    if min(width, height) > 6:  # the reversing light
        painter.draw.rectangle([x + 0.25 * width, y - 0.42 * height, x + 0.75 * width, y - 0.18 * height], fill=LENS)
    painter.rear_lamps.append((centre, radius))


_DETAILS: dict[str, Callable[[Painter, Patch, Paint], None]] = {
    "bumper": _bumper,
    "face": _face,
    "bonnet": _bonnet,
    "screen": _screen,
    "roof": _roof,
    "backlight": _backlight,
    "bed": _bed,
    "tail": _tail,
    "rear_bumper": _rear_bumper,
}


# ---- grilles and lamps ---------------------------------------------------------------------------------------------


def _grille_bars(painter: Painter, patch: Patch) -> None:
    painter.face(patch.box((-0.52, 0.52), (0.20, 0.88)), BLACK)
    for v in (0.36, 0.54, 0.72):
        painter.line([patch.at(-0.52, v), patch.at(0.52, v)], (120, 122, 126), 0.016)


def _grille_slot(painter: Painter, patch: Patch) -> None:
    painter.face(patch.box((-0.62, 0.62), (0.52, 0.72)), BLACK)


def _grille_shield(painter: Painter, patch: Patch) -> None:
    painter.face([patch.at(-0.30, 0.02), patch.at(0.30, 0.02), patch.at(0.44, 0.98), patch.at(-0.44, 0.98)], CHROME)
    painter.face([patch.at(-0.25, 0.10), patch.at(0.25, 0.10), patch.at(0.38, 0.90), patch.at(-0.38, 0.90)], BLACK)
    for u in (-0.2, 0.0, 0.2):
        painter.line([patch.at(u, 0.1), patch.at(u * 1.4, 0.9)], CHROME, 0.014)


def _grille_mesh(painter: Painter, patch: Patch) -> None:
    painter.face([patch.at(-0.66, 0.0), patch.at(0.66, 0.0), patch.at(0.5, 0.7), patch.at(-0.5, 0.7)], BLACK)


def _grille_teeth(painter: Painter, patch: Patch) -> None:
    for i in range(-3, 4):
        painter.face(patch.box((i * 0.13 - 0.045, i * 0.13 + 0.045), (0.12, 0.90)), BLACK)


def _grille_nostrils(painter: Painter, patch: Patch) -> None:
    for side in (-1, 1):
        painter.face(patch.box((side * 0.03, side * 0.46), (0.10, 0.95)), CHROME)
        painter.face(patch.box((side * 0.07, side * 0.42), (0.18, 0.87)), BLACK)


def _grille_ring(painter: Painter, patch: Patch) -> None:
    painter.face(patch.box((-0.50, 0.50), (0.42, 0.62)), BLACK)
    painter.face(patch.disc(0, 0.52, 0.14), CHROME)
    painter.face(patch.disc(0, 0.52, 0.10), BLACK)


def _grille_none(painter: Painter, patch: Patch) -> None:
    painter.face(patch.disc(0, 0.62, 0.06), CHROME)


_GRILLES: dict[Grille, Callable[[Painter, Patch], None]] = {
    "bars": _grille_bars,
    "slot": _grille_slot,
    "shield": _grille_shield,
    "mesh": _grille_mesh,
    "teeth": _grille_teeth,
    "nostrils": _grille_nostrils,
    "ring": _grille_ring,
    "none": _grille_none,
}
_LAMPS: dict[Lamp, Callable[[Patch, int], list[list[Point]]]] = {
    "round": lambda p, s: [p.disc(s * 0.74, 0.52, 0.135)],
    "rect": lambda p, s: [p.box((s * 0.58, s * 0.95), (0.22, 0.86))],
    "slit": lambda p, s: [[p.at(s * 0.52, 0.62), p.at(s * 0.97, 0.70), p.at(s * 0.99, 0.95), p.at(s * 0.60, 0.78)]],
    "double": lambda p, s: [p.disc(s * 0.60, 0.52, 0.09), p.disc(s * 0.84, 0.52, 0.11)],
    "tall": lambda p, s: [p.box((s * 0.74, s * 0.97), (0.10, 1.25))],
    "drop": lambda p, s: [[p.at(s * 0.56, 0.30), p.at(s * 0.92, 0.22), p.at(s * 0.99, 0.98), p.at(s * 0.80, 0.92)]],
}
_REAR_LAMPS: dict[RearLamp, Callable[[Patch, int], list[list[Point]]]] = {
    "tall": lambda p, s: [p.box((s * 0.80, s * 0.99), (0.15, 1.0))],
    "wide": lambda p, s: [p.box((s * 0.46, s * 0.99), (0.56, 0.92))],
    "rounds": lambda p, s: [p.disc(s * 0.80, 0.70, 0.09), p.disc(s * 0.80, 0.30, 0.07)],
    "band": lambda p, s: [p.box((0.0, s * 0.97), (0.66, 0.84))],
    "pillar": lambda p, s: [p.box((s * 0.86, s * 0.99), (0.45, 1.1))],
    "block": lambda p, s: [p.box((s * 0.72, s * 0.96), (0.05, 0.38))],
}
