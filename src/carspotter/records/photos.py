"""Photos: where their bytes are, why some have no answer, and the rectangle that each becomes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import Field

from carspotter.errors import Reason
from carspotter.recipe import Fit, Frame, Light
from carspotter.records.base import Record

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) sRGB, 0..255."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a photo's bytes are.

    Attributes:
        path: a file, or the zip that holds it.
        member: the exact entry name inside the zip; None for a plain file.
    """

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}!{self.member}"


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a photo's bytes are when no disk here has them. Only a manifest makes one (`data/manifest.py`).

    Attributes:
        url: as fsspec takes it, such as `s3://bucket/key`.
    """

    url: str

    def __str__(self) -> str:
        """Without what may be secret: a user's password, a signature behind the question mark."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a set.

    Attributes:
        id: the path relative to its folder or zip (POSIX), or the table's text exactly as it stands.
        where: the place of its bytes, or the bytes themselves (an upload).
        label: its class name (one of `Dataset.classes`), or None when unlabelled.
        group: photos that share a group (one ad, one car) never sit on both sides of a split; None for a group of one.
        digest: sha256 of the bytes, hex; None until a scan has read them.
    """

    id: str
    where: Location | Remote | bytes
    label: str | None = None
    group: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo without an answer, and why.

    Attributes:
        id: the photo's id.
        reason: the code for tables.
        sentence: one line for people, with the cure.
    """

    id: str
    reason: Reason
    sentence: str


class Geometry(Record):
    """The rectangle every photo becomes before the network sees it.

    The aspect ratio is kept (except for `stretch`); peers gained most from resolution and ads are 4:3.
    """

    height: int = Field(ge=32, le=2048, description="rows, pixels")
    width: int = Field(ge=32, le=2048, description="columns, pixels")
    fit: Fit = Field("pad", description="pad: all that is shown, grey borders; crop: fill and cut; stretch: distort")
    frame: Frame = Field("whole", description="whole: all of the photo is shown; car: the part where the car is found")
    light: Light = Field("as it is", description="stretched: from black to white, all channels alike")

    def __str__(self) -> str:
        frame = "" if self.frame == "whole" else f"-{self.frame}"
        return f"{self.width}x{self.height}-{self.fit}{frame}" + ("" if self.light == "as it is" else f"-{self.light}")
