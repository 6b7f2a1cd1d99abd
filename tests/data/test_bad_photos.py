"""Hostile files at large: those of image libraries' own test suites, and random damage to sound ones."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from carspotter.data.photo import decode
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Pixels
from helpers.photos import KINDS, sound

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "bad_photos.py"
MEMORY = 400
"""MB above the start, for one file; the largest answered one has 12 Mpx and takes 195."""


# ---- real files -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real
def test_every_bad_photo_ends_as_an_answer_or_a_reason(shared: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARK, shared / "bad_photos", "--json"], capture_output=True, text=True, check=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert done.stderr == ""  # C libraries write there, too
    assert len(rows) == sum(path.is_file() for path in (shared / "bad_photos").rglob("*")) - 1
    outcomes = {f"refused {reason}" for reason in Reason} | {
        f"answered {kind}" for kind in ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIC")
    }
    assert {row["outcome"] for row in rows} <= outcomes
    assert [row for row in rows if row["warnings"]] == []
    assert max(row["megabytes"] for row in rows) < MEMORY


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("02_bombs_huge/thumbor__16384x16384.png", Reason.TOO_LARGE),
        ("01_truncated_broken/image-rs__Bad_reallybig.bmp", Reason.TOO_LARGE),
        ("01_truncated_broken/pillow__truncated_jpeg.jpg", Reason.TRUNCATED),
        ("01_truncated_broken/libvips__truncated.gif", Reason.TRUNCATED),
        ("07_phone/pillow__ultrahdr.jpg", Reason.TRUNCATED),
        ("09_svg/sharp__circle.svg", Reason.UNSUPPORTED),
        ("06_bad_metadata/pillow__invalid-exif.jpg", "JPEG"),
        ("06_bad_metadata/pillow__exif_gps_typeerror.jpg", "JPEG"),
        ("07_phone/pillow__sugarshack_ifd_offset.mpo", "MPO"),
        ("05_modes/pillow__tiff_tiled_planar_16bit_RGBa.tiff", "TIFF"),
        ("11_heif_avif/libavif__color_grid_gainmap_different_grid.avif", "AVIF"),
    ],
)
def test_what_becomes_of_some(shared: Path, path: str, outcome: str | Reason) -> None:
    try:
        found: str | Reason = decode((shared / "bad_photos" / path).read_bytes()).format
    except PhotoRefused as refused:
        found = refused.reason
    assert found == outcome


@pytest.mark.real
@pytest.mark.parametrize(
    ("pattern", "files", "levels"),
    # Each family shows one scene; Landscape and Portrait were compressed anew for each orientation and show it.
    [("*Landscape_*", 7, 5.0), ("*Portrait_*", 4, 3.0), ("*g4_orientation*", 6, 1.0)],
)
def test_orientation_files_show_the_same_photo(shared: Path, pattern: str, files: int, levels: float) -> None:
    paths = sorted((shared / "bad_photos" / "04_orientation").glob(pattern))
    assert len(paths) == files
    first, *others = (decode(path.read_bytes(), at_least=(300, 300)).pixels.astype(int) for path in paths)
    for other in others:
        assert other.shape == first.shape
        assert np.abs(other - first).mean() < levels


@pytest.mark.real
def test_orientation_agrees_with_pillow_where_pillow_can(shared: Path) -> None:
    paths = [path for path in (shared / "bad_photos" / "04_orientation").iterdir() if "avif-" not in path.name]
    compared = 0
    for path in paths:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            if image.width >= 16:
                expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
                assert np.array_equal(decode(path.read_bytes()).pixels, expected), path.name
                compared += 1
    assert compared >= 27


# ---- random damage --------------------------------------------------------------------------------------------------


def survives(data: bytes) -> Pixels | None:
    """Pixels, or None when refused; a warning or another exception fails the test."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            pixels = decode(data).pixels
        except PhotoRefused:
            pixels = None
    assert [str(warning.message) for warning in seen] == []
    return pixels


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_files_are_answered(kind: str) -> None:
    pixels = survives(sound(kind))
    assert pixels is not None
    assert pixels.shape in ((24, 32, 3), (32, 24, 3))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_only_a_refusal_escapes_from_random_damage(kind: str, draw: st.DataObject) -> None:
    data = bytearray(sound(kind))
    place = st.integers(0, len(data) - 1) | st.integers(0, min(200, len(data) - 1))  # headers twice as often
    for at, value in draw.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=6)):
        data[at] = value
    end = draw.draw(st.just(len(data)) | st.integers(0, len(data)))
    pixels = survives(bytes(data[:end]))
    assert pixels is None or (pixels.dtype == np.uint8 and pixels.shape[2] == 3)
