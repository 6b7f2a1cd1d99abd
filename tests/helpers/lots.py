"""A lot for batches: a tiny model, a few photos, and a manifest that names them again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from helpers.tiny import colour_photo, png, write_tiny_bundle

PHOTOS = ("red.png", "green.png", "blue.png", "broken.png", "gone.png")
"""In turn; `broken.png` is none, and `gone.png` is not there."""


def put_lot(folder: Path, rows: int, *, large: bool = False) -> Path:
    """`tiny` (a model), photos and `m.parquet` in a folder.

    Args:
        folder: to put them in.
        rows: of the manifest, with the ids `car 0` and so on.
        large: photos that take some 10 ms each, so that a run can be killed in its middle.
    """
    write_tiny_bundle(folder / "tiny")
    for name, data in photos(large).items():
        (folder / name).write_bytes(data)
    put_manifest(folder / "m.parquet", list(PHOTOS), rows)
    return folder


def photos(large: bool = False) -> dict[str, bytes]:
    """Name → bytes."""
    colours = {"red.png": (200, 10, 10), "green.png": (10, 200, 10), "blue.png": (10, 10, 200)}
    made = {name: colour_photo(*colour) for name, colour in colours.items()}
    if large:
        noise = np.random.default_rng(0).integers(0, 56, (480, 640, 3), dtype=np.uint8)
        made = {name: png(noise + np.array(colour, dtype=np.uint8)) for name, colour in colours.items()}
    return made | {"broken.png": b"no photo at all"}


def put_manifest(path: Path, uris: list[str], rows: int) -> None:
    """A manifest that names places in turn."""
    named = {"id": [f"car {at}" for at in range(rows)], "uri": [uris[at % len(uris)] for at in range(rows)]}
    pyarrow.parquet.write_table(pyarrow.table(named), path)


def put_crashing_decoder(folder: Path, victim: str = "os.getpid()") -> str:
    """`crash.bmp`, and a folder for the module path of a process whose decoder is to die of every BMP.

    Args:
        folder: to put them in.
        victim: whom it kills; `os.getppid()` is who started the process.
    """
    return _put_decoder(folder, "crash.bmp", f"os.kill({victim}, signal.SIGKILL)")


def put_hanging_decoder(folder: Path) -> str:
    """`hang.bmp`, and a folder for the module path of a process whose decoder is never to come back from a BMP."""
    return _put_decoder(folder, "hang.bmp", "time.sleep(3600)")


def _put_decoder(folder: Path, photo: str, deed: str) -> str:
    Image.new("RGB", (64, 48)).save(folder / photo)
    hook = folder / "decoder"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, signal, time\n"
        "from PIL import BmpImagePlugin\n"
        f"BmpImagePlugin.BmpImageFile.load = lambda _: {deed}\n"
    )
    return str(hook)


def read_parts(folder: Path) -> pyarrow.Table:
    """All parts, in the order of their names."""
    return pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])
