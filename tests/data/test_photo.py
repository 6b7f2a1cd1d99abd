"""The decoder: every format, mode and orientation in, upright sRGB out; everything hostile refused with its reason."""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from carspotter.data.archive import MAX_PHOTO_BYTES
from carspotter.data.containers.contents import MAX_PROFILE_BYTES
from carspotter.data.photo import Decoded, decode, read_bytes
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Location

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # top left, top right, bottom left, bottom right


@pytest.fixture(autouse=True)
def _no_warning_escapes() -> Iterator[None]:
    """Filters that raise would hide a warning: the decoder turns every exception into a refusal."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    assert [str(warning.message) for warning in seen] == []


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """Four quarters in four colours: tells every orientation apart."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for i, colour in enumerate(CORNERS):
        top, left = (i // 2) * height // 2, (i % 2) * width // 2
        pixels[top : top + height // 2, left : left + width // 2] = colour
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refusal(data: bytes) -> Reason:
    with pytest.raises(PhotoRefused) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert ";" in caught.value.sentence  # the cure
    return caught.value.reason


def differs(decoded: Decoded, expected: Image.Image) -> float:
    """Mean difference in levels."""
    assert decoded.pixels.shape == (expected.height, expected.width, 3)
    return float(np.abs(decoded.pixels.astype(int) - np.asarray(expected.convert("RGB")).astype(int)).mean())


# ---- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_content(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.wrong"
    path.write_bytes(encode(corners(), kind))
    decoded = decode(read_bytes(Location(str(path))))
    assert (decoded.format, decoded.height, decoded.width, decoded.notes) == (kind, 64, 96, ())
    assert differs(decoded, corners()) < 6
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    assert decoded.pixels.flags.writeable


def test_heic_with_its_extra() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(corners()).save(out)
    decoded = decode(out.getvalue())
    assert (decoded.format, decoded.height, decoded.width) == ("HEIC", 64, 96)
    assert differs(decoded, corners()) < 6


def test_heic_without_its_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoRefused, match=r"carspotter\[heic\]") as caught:
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert caught.value.reason is Reason.MISSING_EXTRA


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7\n", Reason.UNSUPPORTED),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", Reason.UNSUPPORTED),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', Reason.UNSUPPORTED),
        (b"8BPS\0\1" + bytes(30), Reason.UNSUPPORTED),
        (b"SIMPLE  =                    T" + bytes(3000), Reason.UNSUPPORTED),
        (b"\0\0\1\0\1\0" + bytes(40), Reason.UNSUPPORTED),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", Reason.UNSUPPORTED),
        (b"PK\3\4" + bytes(40), Reason.UNSUPPORTED),
        (b"<html><body>404 Not Found</body></html>", Reason.NOT_A_PHOTO),
        (b"Id,Category\n1.jpg,0\n", Reason.NOT_A_PHOTO),
        (b"BM is how this text starts, and nothing else", Reason.NOT_A_PHOTO),
        (b"\xff", Reason.NOT_A_PHOTO),
        (b"", Reason.EMPTY),
    ],
)
def test_other_content_is_refused_unopened(data: bytes, reason: Reason) -> None:
    assert refusal(data) is reason


# ---- limits ---------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims this size."""
    data = bytearray(encode(corners(), kind))
    if kind == "PNG":
        data[8:33] = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "WEBP":
        body = bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        extra = b"VP8X" + struct.pack("<I", 10) + body
        data[12:12] = extra
        data[4:8] = struct.pack("<I", len(data) - 8)
    elif kind == "TIFF":
        out = io.BytesIO()
        Image.new("1", (width, height)).save(out, "TIFF", compression="group4")
        return out.getvalue()
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize(("width", "height"), [(7100, 7100), (64, 20_001)])
def test_too_many_pixels_are_refused_by_the_header(kind: str, width: int, height: int) -> None:
    assert refusal(claims(kind, width, height)) is Reason.TOO_LARGE


def test_an_avif_is_measured_before_its_pixels_are_made() -> None:
    data = encode(Image.new("RGB", (24_000, 16)), "AVIF", speed=10)
    assert refusal(data) is Reason.TOO_LARGE


def test_a_frame_larger_than_its_gif_is_measured_too() -> None:
    data = bytearray(encode(corners(), "GIF"))
    at = data.rindex(b"\x2c\0\0\0\0\x60\0\x40\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 10_000, 10_000)  # Pillow warns from 9,460 a side
    assert refusal(bytes(data)) is Reason.TOO_LARGE


def test_too_many_bytes() -> None:
    assert refusal(encode(corners(), "JPEG") + bytes(MAX_PHOTO_BYTES)) is Reason.TOO_LARGE


def test_too_few_pixels() -> None:
    assert refusal(encode(Image.new("RGB", (200, 15)), "PNG")) is Reason.TOO_SMALL
    assert decode(encode(Image.new("RGB", (200, 16)), "PNG")).height == 16


def test_a_jpeg_that_asks_for_thousands_of_scans_is_refused() -> None:
    data = encode(corners(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert decode(data[:last] + data[last:-2] * 5 + data[-2:]).notes == ()
    assert refusal(data[:last] + data[last:-2] * 200 + data[-2:]) is Reason.UNREADABLE


def test_a_tiff_that_claims_huge_tiles_or_many_channels_is_refused() -> None:
    assert refusal(tiff_with({322: 60_000, 323: 60_000})) is Reason.UNREADABLE
    assert refusal(tiff_with({277: 5000})) is Reason.UNSUPPORTED


# ---- truncated and damaged ------------------------------------------------------------------------------------------


def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_half_a_photo_is_never_taken_for_a_whole_one(kind: str, share: float) -> None:
    data = encode(noisy(), kind)
    assert refusal(data[: int(len(data) * share)]) in (Reason.TRUNCATED, Reason.UNREADABLE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_truncated_is_called_so(kind: str) -> None:
    data = encode(noisy(), kind)
    assert refusal(data[: len(data) // 2]) is Reason.TRUNCATED


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    data = encode(noisy(), "JPEG", progressive=True)
    assert refusal(data[: int(len(data) * 0.9)]) is Reason.TRUNCATED


def test_a_permissive_pillow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert refusal(encode(corners(), "JPEG")) is Reason.UNREADABLE
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # refused, not silently changed for the others in this process


def test_decoding_leaves_pillow_as_strict_as_it_was() -> None:
    decode(encode(corners(), "JPEG"))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(encode(noisy(), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data)) is Reason.UNREADABLE


# ---- modes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("1", "TIFF"), ("L", "JPEG"), ("P", "PNG"), ("P", "GIF"), ("CMYK", "TIFF")]
)
def test_opaque_modes_look_the_same_in_colour(mode: str, kind: str) -> None:
    image = corners().convert("L").convert(mode, dither=Image.Dither.NONE) if mode != "P" else corners().convert("P")
    decoded = decode(encode(image, kind))
    assert differs(decoded, image) < 3
    assert decoded.notes == ()


def test_cmyk_jpeg_is_not_negative() -> None:
    decoded = decode(encode(corners().convert("CMYK"), "JPEG"))
    assert differs(decoded, corners()) < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_half_transparent_is_put_on_white(kind: str) -> None:
    image = Image.new("RGBA", (32, 32), (200, 0, 0, 255))
    image.paste((200, 0, 0, 102), (0, 0, 32, 16))
    image.paste((0, 0, 0, 0), (0, 24, 32, 32))
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(image, kind, **options))
    assert np.abs(decoded.pixels[4, 4].astype(int) - (233, 153, 153)).max() <= 2  # 0.4 of the red, 0.6 of white
    assert np.abs(decoded.pixels[20, 4].astype(int) - (200, 0, 0)).max() <= 2
    assert decoded.pixels[30, 4].min() >= 253
    assert "white" in decoded.notes[0]


def test_grey_with_alpha_and_grey_with_one_transparent_value() -> None:
    two = Image.merge("LA", (Image.new("L", (32, 32), 100), Image.new("L", (32, 32), 51)))
    assert decode(encode(two, "PNG")).pixels[3, 3].tolist() == [224, 224, 224]
    assert decode(encode(Image.new("L", (32, 32), 100), "PNG", transparency=100)).notes != ()
    half = Image.fromarray(np.repeat(np.array([[100], [30]], dtype=np.uint8), 32, axis=1).repeat(16, axis=0))
    decoded = decode(encode(half, "PNG", transparency=100))
    assert decoded.pixels[0, 0].tolist() == [255, 255, 255]
    assert decoded.pixels[31, 0].tolist() == [30, 30, 30]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255])])
def test_palette_with_transparency_is_put_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (32, 32))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.paste(1, (0, 0, 32, 16))
    decoded = decode(encode(image, "PNG", transparency=transparency))
    assert decoded.pixels[2, 2].tolist() == [200, 0, 0]
    assert decoded.pixels[30, 2].tolist() == [255, 255, 255]


def test_a_photo_that_is_transparent_everywhere_is_shown() -> None:
    decoded = decode(encode(Image.new("RGBA", (32, 32), (200, 0, 0, 0)), "TIFF"))
    assert decoded.pixels[3, 3].tolist() == [200, 0, 0]
    assert "transparent" in decoded.notes[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_cut(kind: str) -> None:
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    decoded = decode(encode(Image.fromarray(values), kind))
    assert np.array_equal(decoded.pixels[..., 1], values >> 8)
    assert "8 bits" in decoded.notes[0]


def test_big_endian_16_bits() -> None:
    values = np.linspace(0, 65535, 32 * 32).astype(">u2").reshape(32, 32)
    image = Image.frombytes("I;16B", (32, 32), values.tobytes())
    assert np.array_equal(decode(encode(image, "TIFF")).pixels[..., 0], values >> 8)


@pytest.mark.parametrize(("scale", "white"), [(1.0, 1.0), (0.5, 1.0), (7.0, 7.0)])
def test_floats_are_scaled_and_not_a_number_is_black(scale: float, white: float) -> None:
    values = np.linspace(0, scale, 32 * 32, dtype=np.float32).reshape(32, 32)
    values[0, 5] = np.nan
    values[0, 6] = np.inf
    pixels = decode(encode(Image.fromarray(values), "TIFF")).pixels[..., 0]
    assert pixels[31, 31] == round(255 * scale / white)
    assert pixels[0, 5] == pixels[0, 6] == 0
    assert 100 < pixels[16, 0] * white / scale < 155


@pytest.mark.parametrize("brightest", [255, 65_535, 9_000_000])
def test_32_bits_are_scaled_to_the_white_that_holds_them(brightest: int) -> None:
    values = np.linspace(0, brightest, 32 * 32).astype(np.int32).reshape(32, 32)
    pixels = decode(encode(Image.fromarray(values), "TIFF")).pixels[..., 2]
    assert (pixels[0, 0], pixels[31, 31]) == (0, 255)
    assert abs(int(pixels[16, 0]) - 128) < 6


def test_lab_becomes_rgb() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.buildTransform(srgb, lab, "RGB", "LAB").apply(corners())
    assert differs(decode(encode(image, "TIFF")), corners()) < 10  # 8 bits of LAB are coarse for strong colours


# ---- colour profiles ------------------------------------------------------------------------------------------------


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: a photo that carries it means blue where it says red."""
    return srgb_profile().replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_colour_profile_is_applied(kind: str) -> None:
    decoded = decode(encode(corners(), kind, icc_profile=swapped_profile()))
    red, green, blue = corners().split()
    assert differs(decoded, Image.merge("RGB", (blue, green, red))) < 8
    assert decoded.notes == ()


def test_a_profile_that_is_srgb_or_almost_changes_nothing() -> None:
    almost = bytearray(srgb_profile())
    (at,) = struct.unpack_from(">I", almost, almost.index(b"rXYZ") + 4)
    almost[at + 11] ^= 0x40  # the red primary by 0.001: some colours move by one level
    plain, same, near = (encode(noisy(), "PNG", icc_profile=icc) for icc in (None, srgb_profile(), bytes(almost)))
    assert np.array_equal(decode(plain).pixels, decode(same).pixels)
    assert np.array_equal(decode(plain).pixels, decode(near).pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_broken_profile_is_ignored_with_a_note(kind: str) -> None:
    decoded = decode(encode(corners(), kind, icc_profile=srgb_profile()[:200] + b"garbage"))
    assert differs(decoded, corners()) < 6
    assert "colour profile" in decoded.notes[0]


def test_a_profile_in_parts_with_one_missing_is_ignored_with_a_note() -> None:
    data = encode(corners(), "JPEG", icc_profile=swapped_profile())
    at = data.index(b"ICC_PROFILE\0") + 12
    decoded = decode(data[: at + 1] + b"\2" + data[at + 2 :])
    assert differs(decoded, corners()) < 6
    assert "colour profile" in decoded.notes[0]


def test_a_grey_photo_may_carry_the_profile_of_its_colours() -> None:
    decoded = decode(encode(corners().convert("L"), "JPEG", icc_profile=srgb_profile()))
    assert differs(decoded, corners().convert("L")) < 3
    assert decoded.notes == ()


def test_transparency_survives_a_colour_profile() -> None:
    image = Image.new("RGBA", (32, 32), (200, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 16, 32, 32))
    decoded = decode(encode(image, "PNG", icc_profile=swapped_profile()))
    assert decoded.pixels[2, 2].argmax() == 2
    assert decoded.pixels[30, 2].tolist() == [255, 255, 255]


# ---- orientation and metadata ---------------------------------------------------------------------------------------

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def exif(orientation: int, order: str = "<") -> bytes:
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def turned(orientation: int, kind: str, order: str = "<", size: tuple[int, int] = (96, 64)) -> bytes:
    way = STORED[orientation]
    image = corners(*size) if way is None else corners(*size).transpose(way)
    if kind == "TIFF":
        return encode(image, kind, tiffinfo={274: orientation})
    return encode(image, kind, exif=exif(orientation, order))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_give_the_same_photo(kind: str, orientation: int) -> None:
    decoded = decode(turned(orientation, kind))
    assert (decoded.height, decoded.width) == (64, 96)
    assert differs(decoded, corners()) < 6
    assert decoded.notes == ()


def test_big_endian_exif() -> None:
    assert differs(decode(turned(6, "JPEG", ">")), corners()) < 6


BROKEN_EXIF = [
    b"Exif\0\0garbage",
    b"Exif\0\0",
    b"Exif\0\0II*\0\xff\xff\xff\x7f",
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
    exif(0),
    exif(9),
    exif(6)[:-10],
    b"Exif\0\0II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", BROKEN_EXIF)
def test_broken_exif_is_ignored(kind: str, block: bytes) -> None:
    decoded = decode(encode(corners(), kind, exif=block))
    assert differs(decoded, corners()) < 6
    assert all("EXIF" in note for note in decoded.notes)
    assert len(decoded.notes) == (block != b"Exif\0\0")


def test_broken_exif_in_an_avif_does_not_reach_pillow() -> None:
    tags = Image.Exif()
    tags[305] = "a text of some length"
    data = encode(corners(), "AVIF", exif=tags)
    at = data.index(b"a text") - 18  # the directory lies before it: a count, one entry, no next one
    broken = data[:at] + b"\0\xff" + data[at + 2 :]
    with pytest.warns(UserWarning, match="EXIF|Corrupt"):
        Image.open(io.BytesIO(broken))
    assert differs(decode(broken), corners()) < 6


def test_nothing_but_pixels_is_kept() -> None:
    secret = b"60.1699N 24.9384E"
    block = exif(1) + secret
    for data in (encode(corners(), "JPEG", exif=block, comment=secret), encode(corners(), "WEBP", exif=block)):
        assert secret in data
        decoded = decode(data)
        assert secret not in decoded.pixels.tobytes()
        assert "60.1699" not in repr((decoded.notes, decoded.format))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_text_and_profiles_that_inflate_to_gigabytes_are_not_inflated(kind: bytes) -> None:
    data = encode(corners(), "PNG")
    bomb = data[:33] + chunk(kind, b"a\0\0" + zlib.compress(bytes(50_000_000))) + data[33:]
    tracemalloc.start()
    decoded = decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert differs(decoded, corners()) == 0
    assert len(decoded.notes) == (kind == b"iCCP")


def tiff_with(tags: dict[int, int], **entry: int) -> bytes:
    """A 32 x 32 grey TIFF with further or other one-valued LONG tags."""
    wanted = {256: 32, 257: 32, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 32, 279: 1024} | tags
    count = entry.get("count", 1)
    body = b"".join(struct.pack("<HHII", tag, 4, count if tag in tags else 1, wanted[tag]) for tag in sorted(wanted))
    return (
        struct.pack("<2sHI", b"II", 42, 8 + 1024)
        + bytes(range(256)) * 4
        + struct.pack("<H", len(wanted))
        + body
        + bytes(4)
    )


@pytest.mark.parametrize("tags", [{}, {305: 2**31}, {34665: 5}, {34853: 2**31}, {700: 8}])
def test_tiff_tags_without_pixels_are_never_looked_at(tags: dict[int, int]) -> None:
    assert decode(tiff_with(tags, count=400)).pixels[3, 7].tolist() == [103, 103, 103]


def test_tiff_tags_with_too_many_values_are_refused() -> None:
    assert refusal(tiff_with({262: 1}, count=2**20)) is Reason.UNREADABLE
    space = bytes(4 * 400_000)
    at = len(tiff_with({}))
    assert decode(tiff_with({273: at}, count=200_000) + space).height == 32
    assert refusal(tiff_with({273: at}, count=400_000) + space) is Reason.UNREADABLE


def test_a_tiff_whose_pixels_lie_behind_its_end_is_truncated() -> None:
    assert refusal(tiff_with({259: 5, 273: 10**6})) is Reason.TRUNCATED


def test_a_tiff_profile_that_is_too_large_is_ignored_with_a_note() -> None:
    data = encode(corners(), "TIFF", icc_profile=srgb_profile() + bytes(MAX_PROFILE_BYTES))
    assert "colour profile" in decode(data).notes[0]


# ---- several pictures in one file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "AVIF", "MPO"])
def test_the_first_of_several_pictures_is_taken_and_said_so(kind: str) -> None:
    second = Image.new("RGB", (96, 64), (9, 9, 9))
    decoded = decode(encode(corners(), kind, save_all=True, append_images=[second, second]))
    assert decoded.format == kind
    assert differs(decoded, corners()) < 6
    assert decoded.notes == ("it holds several pictures; the first was taken",)


def test_a_damaged_second_frame_does_not_spoil_the_first() -> None:
    second = Image.new("RGB", (96, 64), (9, 9, 9))
    data = encode(corners(), "GIF", save_all=True, append_images=[second])
    assert differs(decode(data[:-30]), corners()) == 0


def test_a_table_of_pictures_that_is_garbage_is_no_warning() -> None:
    data = encode(corners(), "JPEG")
    decoded = decode(data[:2] + b"\xff\xe2\0\x0eMPF\0garbage!" + data[2:])
    assert (decoded.format, decoded.height) == ("MPO", 64)


def test_an_animation_header_that_is_garbage_is_no_warning() -> None:
    data = encode(corners(), "PNG")
    decoded = decode(data[:33] + chunk(b"acTL", bytes(8)) * 2 + data[33:])
    assert differs(decoded, corners()) == 0


# ---- smaller decoding of JPEG ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_least", "shape"),
    [
        ((480, 640), (480, 640)),
        ((241, 100), (480, 640)),
        ((240, 320), (240, 320)),
        ((100, 100), (120, 160)),
        ((1, 1), (60, 80)),
        ((0, 0), (60, 80)),
        ((9000, 9000), (480, 640)),
    ],
)
def test_a_jpeg_is_decoded_no_smaller_than_the_view(at_least: tuple[int, int], shape: tuple[int, int]) -> None:
    decoded = decode(encode(corners(640, 480), "JPEG"), at_least)
    assert decoded.pixels.shape == (*shape, 3)
    assert (decoded.height, decoded.width) == (480, 640)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_at_least_means_the_upright_photo(orientation: int) -> None:
    data = turned(orientation, "JPEG", size=(640, 480))
    assert decode(data, (200, 300)).pixels.shape == (240, 320, 3)
    assert decode(data, (300, 200)).pixels.shape == (480, 640, 3)


def test_other_formats_ignore_at_least() -> None:
    assert decode(encode(corners(640, 480), "PNG"), (10, 10)).pixels.shape == (480, 640, 3)


# ---- threads and files ----------------------------------------------------------------------------------------------


def test_threads_get_the_same_pixels_as_one() -> None:
    files = [encode(noisy(), kind, icc_profile=swapped_profile()) for kind in ("JPEG", "PNG", "WEBP")] * 20
    alone = [decode(data).pixels for data in files[:3]]
    with ThreadPoolExecutor(6) as pool:
        for i, decoded in enumerate(pool.map(decode, files)):
            assert np.array_equal(decoded.pixels, alone[i % 3])


@pytest.fixture
def _never_hangs() -> Iterator[None]:
    """A read that waits for ever ends the test, not the day."""

    def give_up(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read_refusal(where: Location | bytes) -> Reason:
    with pytest.raises(PhotoRefused) as caught:
        read_bytes(where)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.usefixtures("_never_hangs")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    expected = {
        "pipe.jpg": Reason.UNREADABLE,
        "loop.jpg": Reason.UNREADABLE,
        "zero.jpg": Reason.UNREADABLE,
        ".": Reason.UNREADABLE,
        "x" * 300: Reason.UNREADABLE,
        "dangling.jpg": Reason.MISSING,
        "absent.jpg": Reason.MISSING,
        "empty.jpg/below.jpg": Reason.MISSING,
        "a\0b.jpg": Reason.MISSING,
        "empty.jpg": Reason.EMPTY,
    }
    assert {name: read_refusal(Location(f"{tmp_path}/{name}")) for name in expected} == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"x")
    (tmp_path / "mine.jpg").chmod(0)
    assert read_refusal(Location(str(tmp_path / "mine.jpg"))) is Reason.NOT_ALLOWED


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole takes no disk
    tracemalloc.start()
    assert read_refusal(Location(str(path))) is Reason.TOO_LARGE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_bytes_and_entries_of_zips(tmp_path: Path) -> None:
    data = encode(corners(), "JPEG")
    assert read_bytes(data) is data
    assert read_refusal(b"") is Reason.EMPTY
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("a/1.jpg", data)
    assert read_bytes(Location(str(tmp_path / "photos.zip"), "a/1.jpg")) == data
    assert read_refusal(Location(str(tmp_path / "photos.zip"), "a/2.jpg")) is Reason.MISSING
    assert read_refusal(Location(str(tmp_path / "absent.zip"), "a/1.jpg")) is Reason.MISSING
    (tmp_path / "damaged.zip").write_bytes(b"PK")
    assert read_refusal(Location(str(tmp_path / "damaged.zip"), "a/1.jpg")) is Reason.UNREADABLE
