"""Everything random about one photo of the drawn lot, whichever car stands there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from carspotter.data.drawing.brush import Rgb, shade

ViewName = Literal["front", "front_quarter", "side", "rear_quarter", "rear"]
SceneName = Literal["yard", "road", "snow", "forest", "wall"]
Occluder = Literal["none", "pole", "bush", "fence", "car"]

AZIMUTHS: dict[ViewName, tuple[float, float]] = {
    "front": (0.0, 4.0),
    "front_quarter": (22.0, 58.0),
    "side": (76.0, 104.0),
    "rear_quarter": (122.0, 158.0),
    "rear": (176.0, 180.0),
}
"""Degrees about the car. `front` stays where a car's own front hides all behind it: from `DISTANCE` a flank comes into
sight beyond 5 degrees."""
VIEW_SHARES: dict[ViewName, float] = {
    "front": 0.15,
    "front_quarter": 0.35,
    "side": 0.2,
    "rear_quarter": 0.18,
    "rear": 0.12,
}
"""Assumption: sellers show three quarters of the front first."""
DISTANCE = 9.0
"""Metres from the car's middle: a phone's distance when the whole car is to fit."""
ELEVATIONS = (1.0, 4.0)
"""Degrees; below a roof's height, or a front view would show where the roof ends."""
QUARTER_ELEVATIONS = (3.0, 11.0)
COLOURS: dict[str, Rgb] = {
    "white": (226, 227, 224),
    "silver": (168, 173, 178),
    "grey": (104, 108, 112),
    "black": (40, 41, 45),
    "red": (166, 34, 36),
    "cherry": (96, 24, 40),
    "blue": (36, 66, 132),
    "sky": (98, 146, 182),
    "green": (34, 84, 62),
    "beige": (188, 172, 138),
    "yellow": (214, 172, 46),
    "orange": (200, 98, 38),
}
SCENES: tuple[SceneName, ...] = ("yard", "road", "snow", "forest", "wall")
OCCLUDERS: tuple[Occluder, ...] = ("pole", "bush", "fence", "car")
NIGHT_SHARE = 0.12
SNOWFALL_SHARE = 0.12
SNOW_COVER_SHARE = 0.4
OCCLUDED_SHARE = 0.12
PORTRAIT_SHARE = 0.12
WATERMARK_SHARE = 0.7
"""Shares of photos, assumptions after the look of the ads in the competition: watermark, plates, snow, yards, night."""
LETTERS = "ABCEHKMOPTXY"
"""Letters of the invented plates: those that look alike in Latin and Cyrillic."""


@dataclass(frozen=True, slots=True)
class Shot:
    """All that is random about one photo, whichever car stands there.

    Attributes:
        view: what the camera sees of the car.
        azimuth: degrees, negative from the car's right side.
        elevation: degrees.
        fill: width of an average car as a share of the picture's width.
        place: middle of the car, as shares of width and height.
        roll: degrees by which the camera is held askew.
        colour: name of the paint.
        body: its shade on this car.
        scene: what is behind.
        night: dark, lamps on.
        snowfall: flakes in the air.
        snow_cover: snow on the car.
        occluder: what stands before the car.
        watermark: the site's text in a corner.
        portrait: taken upright.
        plate: text of the number plate.
        light: factor on brightness.
        quality: of the JPEG.
        noise: largest sensor noise, grey levels.
        texture: seed of everything small in the scene.
    """

    view: ViewName
    azimuth: float
    elevation: float
    fill: float
    place: tuple[float, float]
    roll: float
    colour: str
    body: Rgb
    scene: SceneName
    night: bool
    snowfall: bool
    snow_cover: bool
    occluder: Occluder
    watermark: bool
    portrait: bool
    plate: str
    light: float
    quality: int
    noise: int
    texture: int

    @property
    def snow(self) -> bool:
        """Snow on the ground, on the car or in the air."""
        return self.scene == "snow" or self.snowfall or self.snow_cover


def draw_shot(rng: np.random.Generator, view: ViewName | None = None) -> Shot:
    """Everything random about one photo.

    Args:
        rng: it takes about 40 numbers.
        view: this one instead of a random one.
    """
    picked: ViewName = list(VIEW_SHARES)[int(rng.choice(len(VIEW_SHARES), p=list(VIEW_SHARES.values())))]
    view = view or picked
    colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    scene = SCENES[int(rng.integers(len(SCENES)))]
    night = bool(rng.random() < NIGHT_SHARE)
    snowfall = bool(rng.random() < SNOWFALL_SHARE)
    cover = bool(rng.random() < SNOW_COVER_SHARE) and (snowfall or scene == "snow")
    occluder = OCCLUDERS[int(rng.integers(len(OCCLUDERS)))] if rng.random() < OCCLUDED_SHARE else "none"
    quarter = view.endswith("quarter") or view == "side"
    return Shot(
        view=view,
        azimuth=float(rng.uniform(*AZIMUTHS[view]) * rng.choice([-1, 1])),
        elevation=float(rng.uniform(*(QUARTER_ELEVATIONS if quarter else ELEVATIONS))),
        fill=float(rng.uniform(0.62, 0.86)),
        place=(float(rng.uniform(0.44, 0.56)), float(rng.uniform(0.52, 0.62))),
        roll=float(rng.normal(0, 1.5)),
        colour=colour,
        body=shade(COLOURS[colour], float(rng.uniform(0.85, 1.12))),
        scene=scene,
        night=night,
        snowfall=snowfall,
        snow_cover=cover,
        occluder=occluder,
        watermark=bool(rng.random() < WATERMARK_SHARE),
        portrait=bool(rng.random() < PORTRAIT_SHARE),
        plate=_plate_text(rng),
        light=float(rng.uniform(0.85, 1.15)),
        quality=int(rng.choice([40, 60, 75, 85, 92])),
        noise=int(rng.integers(8, 14) if night else rng.integers(1, 6)),
        texture=int(rng.integers(2**31)),
    )


def _plate_text(rng: np.random.Generator) -> str:
    letters = "".join(LETTERS[int(i)] for i in rng.integers(len(LETTERS), size=3))
    return f"{letters[0]}{int(rng.integers(1000)):03d}{letters[1:]}"
