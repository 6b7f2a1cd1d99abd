from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.data import contact_sheet as sheets
from carspotter.data.contact_sheet import contact_sheet
from carspotter.errors import SourceError
from carspotter.records import Dataset, Photo


def png(colour: str, size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def lot() -> Dataset:
    photos = [Photo(f"r{i}", png("red"), "Лада") for i in range(6)]
    photos += [Photo("g", png("lime", (48, 64)), "Ford"), Photo("bad", b"no photo", "Ford"), Photo("u", png("blue"))]
    return Dataset(tuple(photos), ("Ford", "Лада"), ("0", "1"))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def of_colour(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def test_every_class_has_its_row(tmp_path: Path) -> None:
    contact_sheet(lot(), tmp_path / "s.png", per_class=4)
    image = pixels(tmp_path / "s.png")
    assert image.shape == (3 * (120 + 36 + 6) + 6, 4 * 166 + 6, 3)
    rows = [image[top : top + 162] for top in (6, 168, 330)]
    assert of_colour(rows[0], (0, 255, 0)) == 90 * 120  # portrait, whole
    assert of_colour(rows[1], (255, 0, 0)) == 4 * 160 * 120
    assert of_colour(rows[2], (0, 0, 255)) == 160 * 120


def test_the_sheet_is_drawn_by_a_seed_and_not_by_the_order(tmp_path: Path) -> None:
    colours = [Photo(f"{i}", png(f"#{i * 8:02x}0000"), "A") for i in range(30)]
    for name, photos, seed in (("a", colours, 0), ("b", colours[::-1], 0), ("c", colours, 1)):
        contact_sheet(Dataset(tuple(photos), ("A",)), tmp_path / f"{name}.png", seed=seed)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_many_classes_go_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"c{i}" for i in range(10))
    dataset = Dataset(tuple(Photo(name, png("red"), name) for name in names), names)
    monkeypatch.setattr(sheets, "MAX_SIDE", 900)
    contact_sheet(dataset, tmp_path / "s.png", per_class=1)
    assert pixels(tmp_path / "s.png").shape[:2] == (5 * 162 + 6, 2 * 172)
    monkeypatch.setattr(sheets, "MAX_CLASSES", 3)
    contact_sheet(dataset, tmp_path / "s.png", per_class=1)
    assert of_colour(pixels(tmp_path / "s.png"), (255, 0, 0)) == 3 * 160 * 120


def test_wrong_ending(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\.png, \.jpg or \.webp"):
        contact_sheet(lot(), tmp_path / "s.gif")
