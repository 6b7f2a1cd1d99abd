"""Camera, painter and the flat patches of a car: everything that turns metres into painted pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from carspotter.data.drawing.shape import CarModel, Corner

Rgb = tuple[int, int, int]
Colour = Rgb | tuple[int, int, int, int]
Point = tuple[float, float, float]
"""x forward, y left, z up; metres."""
Spot = tuple[float, float]
"""Pixels from the top left."""

BLACK: Colour = (22, 22, 25)
GLASS: Colour = (44, 56, 66)
CHROME: Colour = (196, 200, 206)
LENS: Colour = (226, 232, 238)
RED: Colour = (176, 24, 28)
AMBER: Colour = (238, 150, 40)
SHEEN: Colour = (200, 220, 235, 46)
TYRE: Colour = (28, 28, 30)
LIT: Colour = (255, 250, 220)
LIT_RED: Colour = (255, 60, 50)


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        azimuth: degrees about the car: 0 looks at its front, 90 at its left side, 180 at its rear.
        elevation: degrees above the horizontal.
        distance: metres from the car's middle.
        scale: pixels a metre at the car's middle.
        centre: pixel of the car's middle, `aim` above the ground.
        aim: metres.
    """

    azimuth: float
    elevation: float
    distance: float
    scale: float
    centre: Spot
    aim: float = 0.7

    @property
    def position(self) -> Point:
        """Where it stands, metres."""
        turn, up = math.radians(self.azimuth), math.radians(self.elevation)
        flat = self.distance * math.cos(up)
        return flat * math.cos(turn), flat * math.sin(turn), self.aim + self.distance * math.sin(up)

    @property
    def horizon(self) -> float:
        """Row of the horizon, pixels."""
        return self.centre[1] - self.scale * self.distance * math.tan(math.radians(self.elevation))

    def projector(self) -> Callable[[Point], Spot]:
        """The projection as a plain function; it runs some hundred times a photo."""
        turn, up = math.radians(self.azimuth), math.radians(self.elevation)
        ct, st, cu, su = math.cos(turn), math.sin(turn), math.cos(up), math.sin(up)
        (cx, cy), focal, distance, aim = self.centre, self.scale * self.distance, self.distance, self.aim

        def project(point: Point) -> Spot:
            x, y, z = point
            near = x * ct + y * st
            share = focal / (distance - near * cu - (z - aim) * su)
            return cx + share * (y * ct - x * st), cy - share * ((z - aim) * cu - near * su)

        return project


@dataclass(slots=True)
class Painter:
    """A picture being painted, and what was learnt on the way.

    Attributes:
        draw: on an RGB picture, in RGBA mode: colours with alpha blend.
        camera: of the picture.
        lamps: centre and radius in pixels of each head lamp painted, for the glow at night.
        rear_lamps: the same of rear lamps.
    """

    draw: ImageDraw.ImageDraw
    camera: Camera
    lamps: list[tuple[Spot, float]] = field(default_factory=list)
    rear_lamps: list[tuple[Spot, float]] = field(default_factory=list)
    project: Callable[[Point], Spot] = field(init=False)

    def __post_init__(self) -> None:
        self.project = self.camera.projector()

    def face(self, points: Iterable[Point], colour: Colour) -> list[Spot]:
        """A filled polygon; gives its pixels back."""
        spots = [self.project(point) for point in points]
        self.draw.polygon(spots, fill=colour)
        return spots

    def line(self, points: Iterable[Point], colour: Colour, metres: float = 0.012) -> None:
        """A line as thick as it would be on the car, at least one pixel."""
        width = max(1, round(metres * self.camera.scale))
        self.draw.line([self.project(point) for point in points], fill=colour, width=width)


@dataclass(frozen=True, slots=True)
class Paint:
    """How this one car differs from its model.

    Attributes:
        body: its colour.
        plate: text of the number plate.
        lit: lamps are on.
        snow: snow lies on what faces up.
    """

    body: Rgb
    plate: str
    lit: bool = False
    snow: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A flat strip across the car on which details are painted: u -1..1 right to left, v 0..1 from low to high."""

    car: CarModel
    low: Corner
    high: Corner

    def at(self, u: float, v: float) -> Point:
        """The point on the car."""
        x, z = self.low.x + (self.high.x - self.low.x) * v, self.low.z + (self.high.z - self.low.z) * v
        return x, u * half_width(self.car, x, z), z

    def box(self, u: tuple[float, float], v: tuple[float, float]) -> list[Point]:
        """A rectangle."""
        return [self.at(u[0], v[0]), self.at(u[1], v[0]), self.at(u[1], v[1]), self.at(u[0], v[1])]

    def disc(self, u: float, v: float, radius: float) -> list[Point]:
        """A circle; its radius in metres."""
        across = radius / half_width(self.car, self.low.x, self.low.z)
        along = radius / math.hypot(self.high.x - self.low.x, self.high.z - self.low.z)
        return [self.at(u + across * cos, v + along * sin) for cos, sin in circle(16)]


def half_width(car: CarModel, x: float, z: float) -> float:
    """Metres from the middle plane to the body's side: narrower above the belt and towards both ends."""
    half = car.width / 2 * (1 - 0.09 * (x / car.ends[x < 0]) ** 6)
    above = (z - car.belt) / (car.height - car.belt) if z > car.belt else 0.0
    below = 0.05 if z < 0.35 * car.belt else 0.0
    return half * (1 - (1 - car.waist) * above - below)


# ---- small geometry ------------------------------------------------------------------------------------------------


def shade(colour: Rgb, light: float) -> Rgb:
    """A colour under more or less light; 1 leaves it alone."""
    red, green, blue = (min(255, round(channel * light)) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=64)
def text_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font, so that nothing depends on what a machine has installed."""
    return ImageFont.load_default(max(6, size))


@lru_cache(maxsize=8)
def circle(points: int) -> tuple[tuple[float, float], ...]:
    """Cosine and sine of as many even steps around."""
    angles = [2 * math.pi * i / points for i in range(points)]
    return tuple((math.cos(angle), math.sin(angle)) for angle in angles)


def blob(spots: Sequence[Spot]) -> tuple[Spot, float]:
    """Centre and radius of a small shape in pixels."""
    x, y = [spot[0] for spot in spots], [spot[1] for spot in spots]
    centre = ((min(x) + max(x)) / 2, (min(y) + max(y)) / 2)
    return centre, (max(x) - min(x) + max(y) - min(y)) / 4


def hull(spots: Sequence[Spot]) -> list[Spot]:
    """Convex hull (Andrew's monotone chain)."""
    ordered = sorted(set(spots))

    def chain(points: Iterable[Spot]) -> list[Spot]:
        half: list[Spot] = []
        for point in points:
            while len(half) >= 2 and _turn(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        return half[:-1]

    return chain(ordered) + chain(reversed(ordered))


def _turn(a: Spot, b: Spot, c: Spot) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def rgb(colour: Colour) -> Rgb:
    """A colour without its alpha."""
    return colour[0], colour[1], colour[2]
