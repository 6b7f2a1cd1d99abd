"""The ten invented car models of the drawn lot, and a truck that is none of them.

A model is a profile seen from the side, extruded to its width, with lamps, grille, windows and wheels painted on. All
lengths are metres; x points forward with 0 midway between the axles, z points up from the ground. No real make is
meant; every number is an assumption, chosen so that the models can be told apart in every view, except for one pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Role = Literal["bumper", "face", "bonnet", "screen", "roof", "backlight", "deck", "bed", "tail", "rear_bumper", "box"]
Grille = Literal["bars", "slot", "shield", "mesh", "teeth", "nostrils", "ring", "none"]
Lamp = Literal["round", "rect", "slit", "double", "tall", "drop"]
RearLamp = Literal["tall", "wide", "rounds", "band", "pillar", "block"]
Rim = Literal["five", "steel", "many", "cross", "turbine", "star"]
Trim = Literal["cladding", "rails", "spare", "moulding", "dark_bumpers", "chrome", "spoiler", "fog_lamps"]


@dataclass(frozen=True, slots=True)
class Corner:
    """A corner of the profile.

    Attributes:
        role: what the surface is that leads here from the corner before.
        x: metres forward.
        z: metres up.
    """

    role: Role
    x: float
    z: float


@dataclass(frozen=True)
class CarModel:
    """Everything that makes a model look like itself.

    Attributes:
        name: invented.
        width: metres, without mirrors.
        profile: corners from the front's lower edge over the roof to the rear's lower edge.
        axles: x of the front and of the rear axle.
        wheel: radius of a wheel.
        belt: height of the side windows' lower edge.
        windows: x where a side window ends and the next begins, front to back, at the belt; two numbers a window.
        doors: x of the lines between doors, front to back.
        grille: between the head lamps.
        lamp: head lamps.
        rear_lamp: rear lamps.
        rim: wheel discs.
        trims: what else it wears.
        waist: width of the roof as a share of the width at the belt.
    """

    name: str
    width: float
    profile: tuple[Corner, ...]
    axles: tuple[float, float]
    wheel: float
    belt: float
    windows: tuple[tuple[float, float], ...]
    doors: tuple[float, ...]
    grille: Grille
    lamp: Lamp
    rear_lamp: RearLamp
    rim: Rim
    trims: frozenset[Trim] = frozenset()
    waist: float = 0.8

    @cached_property
    def height(self) -> float:
        """Metres from the ground to the highest corner."""
        return max(corner.z for corner in self.profile)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The x of the foremost and of the last corner."""
        return max(corner.x for corner in self.profile), min(corner.x for corner in self.profile)


def _profile(*corners: tuple[Role, float, float]) -> tuple[Corner, ...]:
    return tuple(Corner(*corner) for corner in corners)


_BIRKA_FRONT = _profile(
    ("bumper", 1.98, 0.22),
    ("bumper", 2.04, 0.50),
    ("face", 1.96, 0.76),
    ("bonnet", 1.00, 0.94),
    ("screen", 0.36, 1.40),
    ("roof", -0.25, 1.44),
    ("roof", -0.95, 1.41),
)
"""The twins share everything as far as the end of the rear door."""

BIRKA = CarModel(
    name="Birka 5",
    width=1.68,
    profile=_BIRKA_FRONT
    + _profile(
        ("roof", -1.32, 1.35),
        ("backlight", -1.80, 0.98),
        ("deck", -1.88, 0.94),
        ("tail", -1.93, 0.52),
        ("rear_bumper", -1.90, 0.25),
    ),
    axles=(1.27, -1.25),
    wheel=0.30,
    belt=0.93,
    windows=((0.86, 0.08), (0.02, -0.88), (-1.06, -1.48)),
    doors=(0.82, 0.05, -0.92),
    grille="bars",
    lamp="rect",
    rear_lamp="tall",
    rim="steel",
    trims=frozenset({"moulding", "dark_bumpers"}),
)
BIRKA_SEDAN = CarModel(
    name="Birka 5S",
    width=1.68,
    profile=_BIRKA_FRONT
    + _profile(
        ("backlight", -1.52, 0.98),
        ("deck", -2.18, 0.95),
        ("tail", -2.24, 0.52),
        ("rear_bumper", -2.20, 0.25),
    ),
    axles=(1.27, -1.25),
    wheel=0.30,
    belt=0.93,
    windows=((0.86, 0.08), (0.02, -0.88)),
    doors=(0.82, 0.05, -0.92),
    grille="bars",
    lamp="rect",
    rear_lamp="wide",
    rim="steel",
    trims=frozenset({"moulding", "dark_bumpers"}),
)
OSMO = CarModel(
    name="Osmo Lente",
    width=1.76,
    profile=_profile(
        ("bumper", 2.20, 0.24),
        ("bumper", 2.24, 0.52),
        ("face", 2.12, 0.80),
        ("bonnet", 1.05, 1.00),
        ("screen", 0.40, 1.46),
        ("roof", -0.60, 1.50),
        ("roof", -1.95, 1.45),
        ("backlight", -2.25, 1.02),
        ("deck", -2.30, 0.98),
        ("tail", -2.34, 0.54),
        ("rear_bumper", -2.30, 0.26),
    ),
    axles=(1.38, -1.38),
    wheel=0.32,
    belt=0.97,
    windows=((0.92, 0.10), (0.04, -0.95), (-1.05, -2.00)),
    doors=(0.88, 0.07, -1.00),
    grille="ring",
    lamp="drop",
    rear_lamp="pillar",
    rim="five",
    trims=frozenset({"rails", "fog_lamps"}),
)
TUNDRIK = CarModel(
    name="Tundrik 4",
    width=1.70,
    profile=_profile(
        ("bumper", 1.72, 0.36),
        ("bumper", 1.78, 0.62),
        ("face", 1.72, 1.00),
        ("bonnet", 0.72, 1.08),
        ("screen", 0.36, 1.60),
        ("roof", -0.50, 1.65),
        ("roof", -1.48, 1.62),
        ("backlight", -1.68, 1.10),
        ("deck", -1.72, 1.06),
        ("tail", -1.74, 0.62),
        ("rear_bumper", -1.72, 0.38),
    ),
    axles=(1.10, -1.10),
    wheel=0.36,
    belt=1.08,
    windows=((0.62, -0.36), (-0.50, -1.42)),
    doors=(0.60, -0.42),
    grille="teeth",
    lamp="round",
    rear_lamp="block",
    rim="cross",
    trims=frozenset({"cladding", "spare", "dark_bumpers"}),
    waist=0.88,
)
VELMO = CarModel(
    name="Velmo GT",
    width=1.84,
    profile=_profile(
        ("bumper", 2.20, 0.16),
        ("bumper", 2.26, 0.40),
        ("face", 2.16, 0.60),
        ("bonnet", 0.92, 0.86),
        ("screen", 0.05, 1.20),
        ("roof", -0.40, 1.23),
        ("roof", -0.85, 1.18),
        ("backlight", -1.78, 0.90),
        ("deck", -2.08, 0.88),
        ("tail", -2.16, 0.44),
        ("rear_bumper", -2.10, 0.20),
    ),
    axles=(1.32, -1.30),
    wheel=0.33,
    belt=0.84,
    windows=((0.70, -0.62), (-0.72, -1.20)),
    doors=(0.66, -0.68),
    grille="mesh",
    lamp="slit",
    rear_lamp="band",
    rim="many",
    trims=frozenset({"spoiler"}),
    waist=0.72,
)
HARGA = CarModel(
    name="Harga Lift",
    width=1.84,
    profile=_profile(
        ("bumper", 2.34, 0.38),
        ("bumper", 2.40, 0.66),
        ("face", 2.36, 1.06),
        ("bonnet", 1.28, 1.16),
        ("screen", 0.78, 1.66),
        ("roof", 0.20, 1.70),
        ("roof", -0.58, 1.66),
        ("backlight", -0.72, 1.12),
        ("bed", -2.50, 1.10),
        ("tail", -2.52, 0.64),
        ("rear_bumper", -2.48, 0.44),
    ),
    axles=(1.50, -1.50),
    wheel=0.38,
    belt=1.13,
    windows=((1.14, 0.36), (0.28, -0.52)),
    doors=(1.12, 0.32, -0.60),
    grille="shield",
    lamp="double",
    rear_lamp="tall",
    rim="star",
    trims=frozenset({"cladding", "chrome"}),
    waist=0.84,
)
BOKKA = CarModel(
    name="Bokka Van",
    width=1.80,
    profile=_profile(
        ("bumper", 2.06, 0.26),
        ("bumper", 2.12, 0.58),
        ("face", 2.02, 0.96),
        ("bonnet", 1.52, 1.12),
        ("screen", 0.94, 1.78),
        ("roof", -0.60, 1.84),
        ("roof", -2.04, 1.80),
        ("backlight", -2.14, 1.14),
        ("deck", -2.16, 1.10),
        ("tail", -2.18, 0.54),
        ("rear_bumper", -2.14, 0.28),
    ),
    axles=(1.38, -1.36),
    wheel=0.31,
    belt=1.10,
    windows=((1.36, 0.52), (0.44, -0.62)),
    doors=(1.34, 0.48, -0.72),
    grille="slot",
    lamp="tall",
    rear_lamp="pillar",
    rim="steel",
    trims=frozenset({"moulding"}),
    waist=0.92,
)
SARN = CarModel(
    name="Sarn Grand",
    width=1.86,
    profile=_profile(
        ("bumper", 2.42, 0.20),
        ("bumper", 2.46, 0.50),
        ("face", 2.38, 0.84),
        ("bonnet", 1.02, 1.00),
        ("screen", 0.38, 1.44),
        ("roof", -0.30, 1.48),
        ("roof", -0.95, 1.42),
        ("backlight", -1.62, 1.04),
        ("deck", -2.46, 1.00),
        ("tail", -2.54, 0.54),
        ("rear_bumper", -2.50, 0.22),
    ),
    axles=(1.54, -1.50),
    wheel=0.34,
    belt=0.98,
    windows=((0.90, 0.06), (-0.02, -0.96), (-1.04, -1.30)),
    doors=(0.86, 0.02, -1.08),
    grille="shield",
    lamp="double",
    rear_lamp="band",
    rim="turbine",
    trims=frozenset({"chrome"}),
)
PIPPO = CarModel(
    name="Pippo",
    width=1.58,
    profile=_profile(
        ("bumper", 1.52, 0.24),
        ("bumper", 1.58, 0.54),
        ("face", 1.46, 0.86),
        ("bonnet", 1.02, 1.00),
        ("screen", 0.44, 1.50),
        ("roof", -0.20, 1.56),
        ("roof", -0.92, 1.50),
        ("backlight", -1.40, 1.02),
        ("deck", -1.48, 0.98),
        ("tail", -1.56, 0.54),
        ("rear_bumper", -1.52, 0.26),
    ),
    axles=(1.06, -1.06),
    wheel=0.29,
    belt=0.97,
    windows=((0.86, -0.22), (-0.34, -1.10)),
    doors=(0.82, -0.28),
    grille="none",
    lamp="round",
    rear_lamp="rounds",
    rim="five",
    trims=frozenset({"fog_lamps"}),
    waist=0.76,
)
MORROW = CarModel(
    name="Morrow X",
    width=1.94,
    profile=_profile(
        ("bumper", 2.30, 0.34),
        ("bumper", 2.36, 0.66),
        ("face", 2.28, 1.04),
        ("bonnet", 1.14, 1.16),
        ("screen", 0.50, 1.64),
        ("roof", -0.50, 1.70),
        ("roof", -1.76, 1.60),
        ("backlight", -2.22, 1.20),
        ("deck", -2.30, 1.16),
        ("tail", -2.36, 0.68),
        ("rear_bumper", -2.32, 0.38),
    ),
    axles=(1.44, -1.44),
    wheel=0.40,
    belt=1.15,
    windows=((1.00, 0.14), (0.06, -0.96), (-1.08, -1.86)),
    doors=(0.96, 0.10, -1.02),
    grille="nostrils",
    lamp="slit",
    rear_lamp="wide",
    rim="star",
    trims=frozenset({"cladding", "rails", "spoiler"}),
    waist=0.82,
)

CAR_MODELS: tuple[CarModel, ...] = (
    BIRKA,
    BIRKA_SEDAN,
    OSMO,
    TUNDRIK,
    VELMO,
    HARGA,
    BOKKA,
    SARN,
    PIPPO,
    MORROW,
)
"""Category 0..9 of the drawn lot."""
TWINS = (0, 1)
"""Categories of the pair that differs only behind the rear door: from the front nobody can tell them apart."""

TRUCK = CarModel(
    name="truck",
    width=2.20,
    profile=_profile(
        ("bumper", 2.60, 0.40),
        ("bumper", 2.66, 0.80),
        ("face", 2.62, 1.30),
        ("screen", 2.30, 2.16),
        ("roof", 1.36, 2.20),
        ("box", 1.30, 2.70),
        ("box", -2.90, 2.70),
        ("box", -2.92, 0.86),
        ("tail", -2.92, 0.66),
        ("rear_bumper", -2.90, 0.50),
    ),
    axles=(1.90, -1.80),
    wheel=0.46,
    belt=1.36,
    windows=((2.36, 1.62),),
    doors=(2.44, 1.48, 1.32),
    grille="mesh",
    lamp="rect",
    rear_lamp="block",
    rim="steel",
    trims=frozenset({"dark_bumpers"}),
    waist=1.0,
)
"""A lorry with a box: what an audit should find in the lot, as the seed's training set held one."""
