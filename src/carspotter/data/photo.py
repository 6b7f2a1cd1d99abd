"""The only place that decodes: bytes in, upright sRGB pixels out, or one reason why not.

The format is decided by content (`containers/`), sizes are checked before a pixel is made, and the decoder gets a file
without metadata. Pillow raises at least eleven types of exception over hostile files (measured over 12,644 of them), so
here, and nowhere else, every exception is caught and becomes a `PhotoRefused`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from carspotter.data.archive import MAX_PHOTO_BYTES, check_length, open_archive
from carspotter.data.colour import to_srgb
from carspotter.data.containers import Contents, read_contents, read_orientation
from carspotter.data.containers.contents import check_size
from carspotter.data.files import NotAFile, open_regular
from carspotter.data.remote import read_remote
from carspotter.data.wording import cause
from carspotter.errors import ArchiveError, PhotoRefused, Reason
from carspotter.records import Location, Pixels, Remote

_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "MPO": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
"""Used directly: `Image.open` would try other formats and warn above 89 Mpx, where nothing gets to here."""

BAND_PIXELS = 2**20
"""Assumption: pixels copied at once, 3 MB; photos up to this size are copied whole."""

BAD_NAMES = frozenset({errno.ELOOP, errno.ENAMETOOLONG})
"""What a system says of a name that no file can have; most else that it says may be otherwise tomorrow."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes it upright (CIPA DC-008, 4.6.5)."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A photo as people see it.

    Attributes:
        pixels: (H, W, 3) sRGB, upright, contiguous, writable; smaller than the original where `at_least` allowed.
        height: rows of the upright original.
        width: columns of the upright original.
        format: by content: JPEG, MPO, PNG, WEBP, BMP, GIF, TIFF, AVIF or HEIC.
        notes: what was left out, mended or ignored, one sentence each; never metadata.
    """

    pixels: Pixels
    height: int
    width: int
    format: str
    notes: tuple[str, ...] = ()


def read_bytes(where: Location | Remote | bytes) -> bytes:
    """A photo's bytes, from a file, an entry of a zip, a store, or memory. Never waits for a pipe or a device.

    Raises:
        PhotoRefused: missing, empty, too_large, unreadable, not_allowed or unreachable; of a store also timeout or
            missing_extra.
    """
    if isinstance(where, bytes):
        check_length(len(where))
        return where
    if isinstance(where, Remote):
        return read_remote(where)
    if where.member is None:
        return _read_file(where.path)
    try:
        archive = open_archive(where.path)
    except ArchiveError as fault:
        why = _not_given(fault.__cause__).reason if isinstance(fault.__cause__, OSError) else Reason.UNREADABLE
        raise PhotoRefused(why, f"its zip cannot be used: {fault.problems[0]}") from None
    return archive.read(where.member)


def decode(data: bytes, at_least: tuple[int, int] | None = None) -> Decoded:
    """Upright sRGB pixels of the first picture in a file. Safe to call from threads; Pillow inflates side by side.

    Transparent parts are shown on white; 16-bit, 32-bit and float samples are scaled to 8 bits; colour profiles and
    EXIF orientation are applied, and ignored with a note where they are damaged.

    Args:
        data: the whole file.
        at_least: (height, width) of the coming view. A JPEG may be decoded to a half, quarter or eighth of its size
            when that is still at least so high and wide; libjpeg then computes only the pixels it needs.

    Raises:
        PhotoRefused: and nothing else.
    """
    try:
        check_length(len(data))
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise PhotoRefused(
                Reason.UNREADABLE,
                "half a photo could pass for a whole one, as PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set; unset it",
            )
        _keep_memory()
        return _decode(read_contents(data), at_least)
    except PhotoRefused:
        raise
    except Exception as fault:  # noqa: BLE001 - the one decoder; see the top of this file
        raise _refusal(fault) from None


# ---- reading --------------------------------------------------------------------------------------------------------


def _read_file(path: str) -> bytes:
    try:
        with os.fdopen(open_regular(path), "rb", buffering=0) as file:
            check_length(os.fstat(file.fileno()).st_size)
            data = file.read(MAX_PHOTO_BYTES + 1)
    except OSError as fault:
        raise _not_given(fault) from None
    check_length(len(data))  # it may have changed since
    return data


def _not_given(fault: OSError) -> PhotoRefused:
    """Why the system does not give a file: something about the file, or about the machine and the moment."""
    why = cause(fault)
    if isinstance(fault, NotAFile):
        return PhotoRefused(Reason.UNREADABLE, f"it is {why}, expected a photo; leave it out")
    if isinstance(fault, FileNotFoundError | NotADirectoryError):
        return PhotoRefused(Reason.MISSING, "there is no such file; check the name and the folder")
    if isinstance(fault, PermissionError):
        return PhotoRefused(Reason.NOT_ALLOWED, f"the system does not allow it ({why}); check its permissions")
    if fault.errno in BAD_NAMES:
        return PhotoRefused(Reason.UNREADABLE, f"the system cannot open it ({why}); check its name")
    return PhotoRefused(Reason.UNREACHABLE, f"the system cannot read it ({why}); check its disk")


# ---- decoding -------------------------------------------------------------------------------------------------------


def _decode(contents: Contents, at_least: tuple[int, int] | None) -> Decoded:
    image = _open(contents)
    orientation, notes = _orientation(contents, image)
    width, height = image.size[::-1] if orientation >= 5 else image.size
    if at_least is not None:
        _allow_smaller(image, at_least if orientation >= 5 else at_least[::-1])
    image.load()
    if contents.several or getattr(image, "n_frames", 1) > 1:
        notes += ("it holds several pictures; the first was taken",)
    # The name is used again on purpose: a large photo must not be in memory in more than two forms.
    image, more = to_srgb(image, contents.profile or image.info.get("icc_profile"), contents.bits)
    if orientation != 1:
        image = image.transpose(_TURNS[orientation])
    return Decoded(_pixels(image), height, width, contents.format, contents.notes + notes + more)


def _open(contents: Contents) -> Image.Image:
    """The picture with its size checked: by its header before its decoder sees it, and by its decoder's word."""
    if contents.width is not None and contents.height is not None:
        check_size(contents.width, contents.height)
    if contents.format == "HEIC":
        return _open_heic(contents.data)
    image = _OPENERS[contents.format](BytesIO(contents.data))
    check_size(*image.size)
    return image


def _allow_smaller(image: Image.Image, at_least: tuple[int, int]) -> None:
    """Let libjpeg compute a half, quarter or eighth where that is no smaller than (width, height) as stored."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, (max(1, at_least[0]), max(1, at_least[1])))


def _pixels(image: Image.Image) -> Pixels:
    """(H, W, 3) of an RGB image, in bands: numpy and Pillow would hold three copies of the whole."""
    rows = max(1, BAND_PIXELS // image.width)
    if image.height <= rows:
        return np.array(image)
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _orientation(contents: Contents, image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """EXIF orientation, 1..8, and a note when the EXIF block is damaged."""
    if contents.orientation is not None:
        return contents.orientation, ()
    # AVIF alone: Pillow states what the file's own boxes say as an EXIF block.
    exif = contents.exif if contents.format != "AVIF" else image.info.get("exif", b"")
    if not exif:
        return 1, ()
    try:
        return read_orientation(exif.removeprefix(b"Exif\0\0")), ()
    except ValueError:
        return 1, ("its EXIF is damaged and was ignored",)


def _open_heic(data: bytes) -> Image.Image:
    """The primary picture of a HEIC file, already turned upright by libheif."""
    try:
        import pillow_heif
    except ImportError:
        raise PhotoRefused(
            Reason.MISSING_EXTRA, 'HEIC needs an optional part: pip install "carspotter[heic]"; or save it as JPEG'
        ) from None
    file = pillow_heif.open_heif(data)
    picture = file[file.primary_index]
    check_size(*picture.size)
    pixels = picture.data
    check_size(*picture.size)  # decoding may correct it
    image = Image.frombytes(picture.mode, picture.size, pixels, "raw", picture.mode, picture.stride)
    image.info["icc_profile"] = picture.info.get("icc_profile")
    return image


@cache
def _keep_memory() -> None:
    """Let glibc keep freed photos for the next one; measured, 640 x 480: 2.6 → 1.2 ms.

    glibc gives large blocks back to the system and lets them be faulted in again, unless a larger one was freed before
    (mallopt(3), M_MMAP_THRESHOLD). This one is never touched, so it takes no memory; 32 MB is where the effect ends.
    """
    np.empty(31 * 2**20, dtype=np.uint8)


def _refusal(fault: Exception) -> PhotoRefused:
    """The reason that fits an exception of Pillow or libheif; its own text is not passed on."""
    text = str(fault).lower()
    if isinstance(fault, EOFError) or "truncated" in text or "end of file" in text or "not enough data" in text:
        return PhotoRefused(Reason.TRUNCATED, "the file is cut off; copy or download it again")
    if isinstance(fault, MemoryError | Image.DecompressionBombError):
        return PhotoRefused(Reason.TOO_LARGE, "it needs more memory than there is; save it smaller")
    if isinstance(fault, NotImplementedError) or any(
        word in text for word in ("unsupported", "unknown", "not support")
    ):
        return PhotoRefused(Reason.UNSUPPORTED, "it is of a kind that is not read; save it as JPEG")
    return PhotoRefused(Reason.UNREADABLE, "it cannot be decoded, the file is damaged; copy it again or save it anew")
