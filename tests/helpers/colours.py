"""Two classes that colour alone tells apart: a net with random weights learns them in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """
name = "colours"
threads = 1
backbone = "test_efficientnet"
weights = "random"
[split]
share = 0.3
[[stage]]
name = "head"
trains = "head"
epochs = 10
height = 64
width = 64
batch = 8
views = 1
lr = 1e-2
"""
"""Ten epochs of the head on timm's own network for tests."""


def write_colours(folder: Path, photos: int = 10) -> Path:
    """`photos` pictures of each of two classes below `folder`."""
    rng = np.random.default_rng(0)
    for name in ("red", "blue"):
        (folder / name).mkdir(parents=True)
        for i in range(photos):
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8) // 2
            pixels[..., 0 if name == "red" else 2] += 120
            image = Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{i}.png")
    return folder
