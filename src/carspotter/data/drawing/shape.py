"""The shape of a drawn car: a profile seen from the side, extruded to its width, and what is painted on.

All lengths are metres; x points forward with 0 midway between the axles, z points up from the ground.
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
