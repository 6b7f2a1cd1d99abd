"""The side of a car: outline, windows, doors, lamps and wheels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from carspotter.data.drawing.brush import (
    AMBER,
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
    Point,
    Spot,
    blob,
    circle,
    half_width,
    shade,
)
from carspotter.data.drawing.shape import CarModel, Rim

ROUNDING = 0.14
"""Share of a profile's edge that a rounded corner takes. Assumption: sharper looks like paper, softer like soap."""
_RIM_COLOURS: dict[Rim, Colour] = {"steel": (150, 152, 156), "cross": (214, 214, 210), "many": (96, 98, 104)}
_GAPS: dict[Rim, tuple[int, float, float]] = {
    "five": (5, 0.22, 0.0),
    "steel": (10, 0.48, 0.0),
    "many": (14, 0.2, 0.0),
    "cross": (4, 0.3, 0.0),
    "turbine": (8, 0.25, 0.5),
    "star": (6, 0.3, 0.0),
}
"""Rim → gaps, where they begin as a share of the wheel's radius, radians by which they twist."""


def paint_flank(painter: Painter, car: CarModel, paint: Paint, sign: float) -> None:
    """The whole side; `sign` is 1 for the left one and -1 for the right one."""

    def at(x: float, z: float) -> Point:
        return x, sign * half_width(car, x, z), z

    outline = _rounded([(corner.x, corner.z) for corner in car.profile])
    painter.face([at(x, z) for x, z in outline], paint.body)
    _flank(painter, car, at)
    _side_windows(painter, car, at)
    _doors(painter, car, paint, at)
    _side_lamps(painter, car, paint, at)
    for axle in car.axles:
        _wheel(painter, car, axle, sign)


def _flank(painter: Painter, car: CarModel, at: Callable[[float, float], Point]) -> None:
    front, rear = car.profile[0].x - 0.03, car.profile[-1].x + 0.03
    bottom = (car.profile[0].z + car.profile[-1].z) / 2
    middle = bottom + (car.belt - bottom) * 0.45
    low = bottom + (car.belt - bottom) * 0.28
    painter.face([at(front, bottom), at(front, middle), at(rear, middle), at(rear, bottom)], (0, 0, 0, 30))
    dark = (44, 45, 48, 255) if "cladding" in car.trims else (0, 0, 0, 50)
    painter.face([at(front, bottom), at(front, low), at(rear, low), at(rear, bottom)], dark)
    top = car.belt - 0.06
    painter.line([at(front - 0.25, top - 0.02), at(0, top), at(rear + 0.1, top)], (255, 255, 255, 70), 0.03)
    if "moulding" in car.trims:
        painter.line([at(front - 0.1, middle), at(rear + 0.1, middle)], (40, 40, 44), 0.05)
    if any(corner.role == "box" for corner in car.profile):
        _cargo_box(painter, car, at)
    if "rails" in car.trims:
        z = car.height - 0.01
        painter.line([at(0.2, z), at(min(car.windows[-1]) + 0.25, z)], (70, 72, 76), 0.045)


def _cargo_box(painter: Painter, car: CarModel, at: Callable[[float, float], Point]) -> None:
    corners = [(corner.x, corner.z) for corner in car.profile if corner.role == "box"]
    (front, top), rear = corners[0], corners[-1][0]
    painter.face([at(front, 0.86), at(front, top), at(rear, top), at(rear, 0.86)], (214, 215, 210))
    for share in (0.25, 0.5, 0.75):
        x = front + (rear - front) * share
        painter.line([at(x, 0.9), at(x, top - 0.05)], (150, 150, 148))


def _side_windows(painter: Painter, car: CarModel, at: Callable[[float, float], Point]) -> None:
    """Glass from the belt up to just under the roof line, wherever that is."""
    for front, rear in car.windows:
        steps = [front + (rear - front) * i / 8 for i in range(9)]
        tops = [(x, max(car.belt + 0.02, _roof_height(car, x) - 0.09)) for x in steps]
        painter.face([at(front, car.belt), *(at(x, z) for x, z in tops), at(rear, car.belt)], GLASS)
        x0, x1 = front + (rear - front) * 0.55, front + (rear - front) * 0.8
        z0, z1 = car.belt + 0.02, _roof_height(car, x1) - 0.11
        if z1 > z0:
            painter.face([at(x0, z0), at(x0 - 0.1, z0), at(x1 - 0.1, z1), at(x1, z1)], SHEEN)


def _doors(painter: Painter, car: CarModel, paint: Paint, at: Callable[[float, float], Point]) -> None:
    ink = (*shade(paint.body, 0.45)[:3], 190)
    bottom = car.profile[0].z + 0.06
    for x in car.doors:
        painter.line([at(x, bottom), at(x, car.belt)], ink)
    for x in car.doors[1:]:
        painter.line([at(x + 0.22, car.belt - 0.10), at(x + 0.07, car.belt - 0.10)], shade(paint.body, 0.4), 0.035)


def _side_lamps(painter: Painter, car: CarModel, paint: Paint, at: Callable[[float, float], Point]) -> None:
    bumper, nose = car.profile[1], car.profile[2]
    z0, z1 = bumper.z + (nose.z - bumper.z) * 0.3, bumper.z + (nose.z - bumper.z) * 0.85
    x0, x1 = bumper.x + (nose.x - bumper.x) * 0.3, bumper.x + (nose.x - bumper.x) * 0.85
    long = 0.26 if car.lamp in ("drop", "slit") else 0.12
    lens = [at(x0 - 0.02, z0), at(x1 - 0.02, z1), at(x1 - long, z1), at(x0 - long, z0)]
    painter.lamps.append(blob(painter.face(lens, LIT if paint.lit else LENS)))
    painter.face([at(x0 - long, z0), at(x1 - long, z1), at(x1 - long - 0.05, z1), at(x0 - long - 0.05, z0)], AMBER)
    top, low = next((a, b) for a, b in zip(car.profile, car.profile[1:], strict=False) if b.role == "tail")
    high = top.z + (0.35 if car.rear_lamp == "pillar" else -0.03)
    base = low.z + (top.z - low.z) * (0.1 if car.rear_lamp == "tall" else 0.5)
    x0, x1 = low.x + (top.x - low.x) * 0.3, top.x + (0.06 if car.rear_lamp == "pillar" else 0.0)
    lens = [at(x0 + 0.02, base), at(x1 + 0.02, high), at(x1 + 0.13, high), at(x0 + 0.13, base)]
    painter.rear_lamps.append(blob(painter.face(lens, LIT_RED if paint.lit else RED)))


def _wheel(painter: Painter, car: CarModel, axle: float, sign: float) -> None:
    y = sign * half_width(car, axle, car.wheel)

    def ring(radius: float, points: int = 24) -> list[Point]:
        return [(axle + radius * cos, y, car.wheel + radius * sin) for cos, sin in circle(points)]

    arch = [point for point in ring(car.wheel * 1.17) if point[2] >= car.wheel * 0.7]
    arch.sort(key=lambda point: math.atan2(point[2] - car.wheel * 0.6, point[0] - axle))
    painter.face(arch, (40, 41, 44) if "cladding" in car.trims else (16, 16, 18))
    painter.face(ring(car.wheel), TYRE)
    painter.face(ring(car.wheel * 0.68), _RIM_COLOURS.get(car.rim, CHROME))
    _spokes(painter, car, axle, y)
    painter.face(ring(car.wheel * 0.13, 10), (90, 92, 96))


def _spokes(painter: Painter, car: CarModel, axle: float, y: float) -> None:
    """Dark gaps between the spokes."""
    gaps, inner, twist = _GAPS[car.rim]
    for i in range(gaps):
        middle = 2 * math.pi * i / gaps + 0.3
        half = math.pi / gaps * 0.55
        corners = [(inner, middle - half * 0.6), (0.62, middle - half + twist), (0.62, middle + half + twist)]
        corners.append((inner, middle + half * 0.6))
        polar = [(share * car.wheel, angle) for share, angle in corners]
        painter.face([(axle + r * math.cos(a), y, car.wheel + r * math.sin(a)) for r, a in polar], (36, 37, 40))


def _rounded(outline: Sequence[Spot]) -> list[Spot]:
    """An open outline with its corners cut once (Chaikin's scheme with a smaller share)."""
    points = [outline[0]]
    for (ax, ay), (bx, by), (cx, cy) in zip(outline, outline[1:], outline[2:], strict=False):
        points.append((bx + (ax - bx) * ROUNDING, by + (ay - by) * ROUNDING))
        points.append((bx + (cx - bx) * ROUNDING, by + (cy - by) * ROUNDING))
    return [*points, outline[-1]]


def _roof_height(car: CarModel, x: float) -> float:
    """The profile's height at x, looking from above."""
    best = 0.0
    for a, b in zip(car.profile, car.profile[1:], strict=False):
        low, high = min(a.x, b.x), max(a.x, b.x)
        if low <= x <= high and low < high:
            best = max(best, a.z + (b.z - a.z) * (x - a.x) / (b.x - a.x))
    return best
