"""A tiny classifier and drawn photos that it can learn in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from carspotter.data.cache import PhotoCache
from carspotter.data.source import read_source
from carspotter.records import Dataset, Geometry, Location, Photo
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.stage_data import PhotoSet

TINY = "test_efficientnet"  # timm's own network for tests: 0.4 M parameters
SIDE = 64


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    """Builds a classifier of `classes` with random weights drawn from `seed`."""

    def make(classes: int = 3, seed: int = 0, **head: object) -> Classifier:
        torch.manual_seed(seed)
        card = find_backbone(TINY, RANDOM)
        net, card = load_backbone(card, height=SIDE, width=SIDE)
        layers = Head(net.num_features, classes, **head)  # type: ignore[arg-type]
        return Classifier(Body(net, "avg"), layers, mean=card.mean, std=card.std)

    return make


@pytest.fixture
def photo_set(tmp_path) -> Callable[..., PhotoSet]:
    """Photos of plain colour, one colour per class, with a little noise: learnable at once."""

    def make(count: int, classes: int = 3, seed: int = 0) -> PhotoSet:
        rng = np.random.default_rng(seed)
        photos, labels = [], np.arange(count) % classes
        for i, label in enumerate(labels):
            pixels = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., label % 3] += 150
            path = tmp_path / f"{seed}-{i}.png"
            Image.fromarray(pixels).save(path)
            photos.append(Photo(path.name, Location(str(path)), str(label), digest=f"{seed}-{i}"))
        return PhotoSet(photos, labels.astype(np.int64), PhotoCache(None), Geometry(height=SIDE, width=SIDE))

    return make


@pytest.fixture
def lot(tmp_path: Path) -> Dataset:
    """Two classes of ten photos each, told apart by colour."""
    rng = np.random.default_rng(0)
    for name in ("red", "blue"):
        (tmp_path / "lot" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8) // 2
            pixels[..., 0 if name == "red" else 2] += 120
            image = Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)
            image.save(tmp_path / "lot" / name / f"{i}.png")
    return read_source(tmp_path / "lot")
