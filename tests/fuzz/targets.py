"""What is fuzzed: each target takes bytes, and raises only where a promise is broken.

The promises: nothing escapes but the documented errors, whose every problem is one line; no warning; and what is
answered has the shape that the docstring of its reader says.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import seeds

from carspotter.apps.toml import toml_lines
from carspotter.data.archive import open_archive
from carspotter.data.photo import decode
from carspotter.data.table import read_table
from carspotter.errors import ArchiveError, BundleError, CarspotterError, PhotoRefused, RecipeError, SourceError
from carspotter.inference.bundle import CARD, read_bundle
from carspotter.inference.onnx_scan import refuse_external_data
from carspotter.recipe import load_recipe
from helpers.tiny import write_tiny_bundle

MAX_ENTRY = 2**20
"""Bytes that are asked of an entry of a zip."""
MAX_ROWS = 5_000
AT_LEAST = (None, (1, 1), (16, 24), (5_000, 5_000))
"""Views for which a photo is decoded; chosen by its last byte."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed.

    Attributes:
        check: raises where a promise is broken.
        seeds: sound and known bad inputs to start from.
        words: that such inputs are made of.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[bytes, ...] = ()


@contextmanager
def only(*allowed: type[CarspotterError]) -> Iterator[None]:
    """These may be raised, with problems of one line each; a warning or anything else is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            yield
        except allowed as refused:
            problems = getattr(refused, "problems", (str(refused),))
            assert all(problem and len(problem.splitlines()) == 1 for problem in problems), problems


@cache
def folder() -> Path:
    """Where inputs become files; it goes with the process."""
    place = tempfile.TemporaryDirectory(prefix="carspotter-fuzz-")
    _KEPT.append(place)
    return Path(place.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def as_file(data: bytes, name: str) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


# ---- the targets ----------------------------------------------------------------------------------------------------


def check_photo(data: bytes) -> None:
    at_least = AT_LEAST[data[-1] % len(AT_LEAST)] if data else None
    with only(PhotoRefused):
        found = decode(data, at_least)
        height, width, channels = found.pixels.shape
        assert (found.pixels.dtype, channels) == (np.uint8, 3)
        assert found.pixels.flags.c_contiguous
        assert found.pixels.flags.writeable
        assert 1 <= height <= found.height
        assert 1 <= width <= found.width


def check_zip(data: bytes) -> None:
    with only(ArchiveError):
        archive = open_archive(as_file(data, "a.zip"))
        assert len(set(archive.names)) == len(archive.names)
        for name in archive.names[:50]:
            assert not PurePosixPath(name).is_absolute()
            assert ".." not in PurePosixPath(name).parts
            with only(PhotoRefused):
                assert 0 < len(archive.read(name, MAX_ENTRY)) <= MAX_ENTRY


def check_table(data: bytes) -> None:
    with only(SourceError):
        table = read_table(as_file(data, "table"), max_rows=MAX_ROWS)
        assert len(set(table.columns)) == len(table.columns)
        assert 0 < len(table.rows) == len(table.lines) <= MAX_ROWS + 1
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
        assert list(table.lines) == sorted(set(table.lines))


def check_recipe(data: bytes) -> None:
    """A TOML file; where the input begins with `--set`, its lines are settings instead."""
    recipe = None
    with only(RecipeError):
        if data.startswith(b"--set"):
            settings = data.decode(errors="surrogateescape").split("\n")[1:]
            recipe = load_recipe("demo", settings)
        else:
            recipe = load_recipe(as_file(data, "recipe.toml"))
    if recipe is not None:  # what `carspotter recipes show` prints is the same recipe
        again = as_file("\n".join(toml_lines(recipe)).encode(), "again.toml")
        assert load_recipe(again) == recipe


def check_card(data: bytes) -> None:
    place = bundle()
    (place / CARD).write_bytes(data)
    with only(BundleError):
        found = read_bundle(place)
        assert len(found.hash) == 64
        assert len(found.card.codes) == len(set(found.card.classes)) == len(found.card.classes)
        assert all(name == PurePosixPath(name).name for name in found.card.files)
        (place / CARD).write_text(found.card.model_dump_json(), encoding="utf-8")
        assert read_bundle(place).hash == found.hash


@cache
def bundle() -> Path:
    return write_tiny_bundle(folder() / "model").folder


def check_onnx(data: bytes) -> None:
    with only(BundleError):
        refuse_external_data(data, "model.onnx")


TARGETS: dict[str, Target] = {
    "photo": Target(check_photo, seeds.photos, seeds.PHOTO_WORDS),
    "zip": Target(check_zip, seeds.zips, seeds.ZIP_WORDS),
    "table": Target(check_table, seeds.tables, seeds.TABLE_WORDS),
    "recipe": Target(check_recipe, seeds.recipes, seeds.RECIPE_WORDS),
    "card": Target(check_card, lambda: iter([(bundle() / CARD).read_bytes()]), seeds.CARD_WORDS),
    "onnx": Target(check_onnx, seeds.models),
}
