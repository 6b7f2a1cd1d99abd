"""What every reader of a container gives, and how each refuses."""

from __future__ import annotations

from dataclasses import dataclass

from carspotter.errors import PhotoRefused, Reason

MAX_PIXELS = 50_000_000
"""The project's limit. Measured at 49.6 Mpx: JPEG 0.35 GB, CMYK 0.40, 16-bit 0.45, WEBP 0.76 GB above the start."""
MAX_SIDE = 20_000
"""Assumption: a panorama of a street; 20,000 x 2,500 is 50 Mpx."""
MIN_SIDE = 16
"""Assumption: in fewer pixels nobody can tell a car."""
AS_JPEG = "save the picture as JPEG"
MAX_PROFILE_BYTES = 4 * 2**20
"""Assumption: a printer's CMYK profile takes 0.5 to 2 MB."""
MAX_PARTS = 200_000
"""Assumption: chunks, segments and blocks of one file; 64 MB of PNG in chunks of 8 KB have eight thousand."""
BROKEN_PROFILE = "its colour profile is damaged or not for such a photo, and was ignored"


@dataclass(frozen=True, slots=True)
class Contents:
    """One picture, ready for its decoder.

    Attributes:
        format: as people call it; `MPO` is a JPEG with further pictures behind it.
        data: a file of that format without metadata.
        width: pixels as stored (not upright); None where only the decoder knows.
        height: likewise.
        exif: its EXIF block from the TIFF header on; None without one.
        orientation: 1..8 when it is known already; None: look into `exif`.
        profile: ICC colour profile, or None.
        bits: of one sample.
        several: further pictures were left out.
        notes: what was ignored, one sentence each.
    """

    format: str
    data: bytes
    width: int | None = None
    height: int | None = None
    exif: bytes | None = None
    orientation: int | None = None
    profile: bytes | None = None
    bits: int = 8
    several: bool = False
    notes: tuple[str, ...] = ()


def truncated(what: str) -> PhotoRefused:
    """The refusal of a file that ends too early."""
    return PhotoRefused(Reason.TRUNCATED, f"{what}: the file is cut off; copy or download it again")


def broken(what: str) -> PhotoRefused:
    """The refusal of a file that contradicts its format."""
    return PhotoRefused(Reason.UNREADABLE, f"{what}: the file is damaged; copy it again or save it anew")


def unsupported(what: str) -> PhotoRefused:
    """The refusal of a sound file of a rare kind."""
    return PhotoRefused(Reason.UNSUPPORTED, f"{what} is not read; {AS_JPEG}")


def check_size(width: int, height: int) -> None:
    """Refuse what is too large to decode or too small to mean anything, before any pixel is made.

    Raises:
        PhotoRefused: too_large or too_small.
    """
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PhotoRefused(
            Reason.TOO_LARGE,
            f"it has {width} x {height} pixels, at most {MAX_PIXELS:,} and {MAX_SIDE:,} a side are decoded; shrink it",
        )
    if min(width, height) < MIN_SIDE:
        raise PhotoRefused(
            Reason.TOO_SMALL, f"it has {width} x {height} pixels, at least {MIN_SIDE} a side; use the full photo"
        )
