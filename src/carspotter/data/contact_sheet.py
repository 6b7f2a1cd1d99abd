"""A picture of a set: random photos of each class with their sizes in pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from carspotter.data.disk import whole_file
from carspotter.data.letters import Pen, find_pen
from carspotter.data.photo import decode, read_bytes
from carspotter.data.wording import brief, count
from carspotter.errors import PhotoRefused, SourceError
from carspotter.records import Dataset, Photo

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
CELL = (160, 120)
"""Width and height of one photo on the sheet, pixels; ads are 4:3."""
LINE = 18
"""Height of a line of text, pixels."""
GAP = 6
MAX_SIDE = 16_000
"""Longest side of a sheet, pixels: WEBP allows 16,383. More classes than fit go beside each other."""
MAX_CLASSES = 400
"""Classes drawn (assumption: four photos of each of 400 are 65 Mpx); the sheet says how many more there are."""
PAPER, INK, FAINT = "#ffffff", "#202020", "#a0a0a0"


def contact_sheet(dataset: Dataset, path: str | Path, *, per_class: int = 4, seed: int = 0) -> None:
    """Draw random photos of each class, each with its size under it, into one picture.

    Args:
        dataset: with or without labels.
        path: ends in .png, .jpg or .webp.
        per_class: photos of each class at most.
        seed: of the draw; the order of the photos does not matter.

    Raises:
        SourceError: another ending, or a place that cannot be written.
    """
    kind = FORMATS.get(Path(path).suffix.casefold())
    if kind is None:
        raise SourceError(f"cannot draw {brief(path)}: the ending must be .png, .jpg or .webp")
    rows = _drawn(dataset, per_class, seed)
    if (more := len(rows) - MAX_CLASSES) > 0:
        rows = [*rows[:MAX_CLASSES], (f"and {count(more, 'class', 'classes')} more", [])]
    width, height = per_class * (CELL[0] + GAP) + GAP, CELL[1] + 2 * LINE + GAP
    beside = max(1, -(-len(rows) * height // MAX_SIDE))
    per_column = -(-len(rows) // beside)
    sheet = Image.new("RGB", (width * beside, height * per_column + GAP), PAPER)
    pen, draw = find_pen(), ImageDraw.Draw(sheet)
    for number, (title, photos) in enumerate(rows):
        x, y = GAP + number // per_column * width, GAP + number % per_column * height
        draw.text((x, y), pen.fit(title)[: width // 8], INK, pen.font)
        for photo in photos:
            _place(sheet, photo, (x, y + LINE), pen)
            x += CELL[0] + GAP
    with whole_file(path) as part:
        sheet.save(part, kind)


def _drawn(dataset: Dataset, per_class: int, seed: int) -> list[tuple[str, list[Photo]]]:
    """A title and the drawn photos for each class, and for those without one."""
    rows = []
    for label in (*dataset.classes, None):
        photos = sorted((photo for photo in dataset.photos if photo.label == label), key=lambda photo: photo.id)
        if label is None and not photos:
            continue
        drawn = np.random.default_rng(seed).permutation(len(photos))[:per_class]
        title = f"{brief(label or 'no label')}: {len(photos):,}"
        rows.append((title, [photos[int(i)] for i in drawn]))
    return rows


def _place(sheet: Image.Image, photo: Photo, at: tuple[int, int], pen: Pen) -> None:
    draw = ImageDraw.Draw(sheet)
    below = (at[0], at[1] + CELL[1])
    try:
        seen = decode(read_bytes(photo.where), at_least=CELL[::-1])
    except PhotoRefused as fault:
        draw.rectangle((*at, at[0] + CELL[0], below[1]), outline=FAINT)
        draw.text(below, pen.fit(str(fault.reason)), FAINT, pen.font)
        return
    small = ImageOps.contain(Image.fromarray(seen.pixels), CELL)
    sheet.paste(small, (at[0] + (CELL[0] - small.width) // 2, at[1] + (CELL[1] - small.height) // 2))
    draw.text(below, pen.fit(f"{seen.width}×{seen.height}"), INK, pen.font)
