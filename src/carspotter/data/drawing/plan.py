"""What a drawn lot holds, decided before anything is painted: which car under which shot, and every planted fault."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from PIL import Image

from carspotter.data.drawing.models import CAR_MODELS, TRUCK
from carspotter.data.drawing.picture import blur, darken, draw_interior, draw_photo, encode
from carspotter.data.drawing.shot import Shot, draw_shot
from carspotter.errors import SourceError

Fault = Literal[
    "",
    "wrong_label",
    "truck",
    "interior",
    "dark",
    "blurry",
    "exact_copy",
    "re_encoded_copy",
    "cropped_copy",
    "mirrored_copy",
]
COPIES = ("exact_copy", "re_encoded_copy", "cropped_copy", "mirrored_copy")
SPLITS = ("train", "test")
FAULTS_FIT = 400
"""Training photos for which the default counts of `Faults` are meant; fewer photos get proportionally fewer."""
RE_ENCODED_QUALITY = 45
"""Assumption: what is left after a messenger has passed a photo on."""
CROP = 0.03
"""Share cut from each edge of a cropped copy: assumption, enough to lose a border and keep the car."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How many of each fault the training photos get; the test photos are clean.

    The default is 7 % of 400 photos, an assumption: the competition's known label errors are far fewer, but an audit
    needs some to be judged by.

    Attributes:
        wrong_label: `train.csv` names another model.
        truck: a truck under the name of a car.
        interior: a dashboard, no car to see.
        dark: hardly any light.
        blurry: out of focus.
        exact_copy: the bytes of another photo.
        re_encoded_copy: another photo, saved again with a lower quality.
        cropped_copy: another photo without its border.
        mirrored_copy: another photo, mirrored.
    """

    wrong_label: int = 8
    truck: int = 1
    interior: int = 1
    dark: int = 4
    blurry: int = 4
    exact_copy: int = 3
    re_encoded_copy: int = 3
    cropped_copy: int = 2
    mirrored_copy: int = 2

    @property
    def counts(self) -> dict[Fault, int]:
        """Photos of each fault."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[misc]

    def scaled(self, photos: int) -> Faults:
        """Counts for fewer photos than `FAULTS_FIT`: at least one of each kind, never more than here."""
        share = min(1.0, photos / FAULTS_FIT)
        return Faults(**{str(name): math.ceil(count * share) for name, count in self.counts.items()})


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really on one photo.

    Attributes:
        id: file name.
        category: number of the model as text, whatever `train.csv` says; empty for a truck or an interior.
        view: the side of the car that is seen, or `interior`.
        night: dark, lamps on.
        snow: on the ground, on the car or in the air.
        colour: name of the paint.
        fault: what is planted, or empty.
        of: id of the photo that this is a copy of, or empty.
        split: `train` or `test`.
    """

    id: str
    category: str
    view: str
    night: bool
    snow: bool
    colour: str
    fault: Fault
    of: str
    split: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One photo to be painted.

    Attributes:
        truth: what will be on it.
        label: category that the training table names.
        shot: how it is taken; of the original for a copy.
    """

    truth: Truth
    label: int
    shot: Shot

    @property
    def member(self) -> str:
        """Its name inside the zip, laid out as the competition does."""
        return f"train/{self.label}/{self.truth.id}" if self.truth.split == "train" else f"test_upload/{self.truth.id}"


def plan_lot(train: int, test: int, seed: int, faults: Faults | None) -> tuple[Slot, ...]:
    """Every photo of a lot, training photos first, ids rising.

    Args:
        train: training photos, spread evenly over the models, then planted with faults.
        test: test photos, clean.
        seed: decides everything.
        faults: exact counts; None for a clean lot.

    Raises:
        SourceError: more than half of the training photos would be faulty, or a count is negative.
    """
    counts = {} if faults is None else faults.counts
    if min(counts.values(), default=0) < 0 or 2 * sum(counts.values()) > train:
        planted = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SourceError(
            f"cannot plant {sum(counts.values())} faults ({planted}) in {train} training photos: expected counts from "
            "0 up and at most half of the photos; draw more photos, or a clean lot with faults=False"
        )
    rng = np.random.default_rng([seed, 0])
    slots = [*_clean(rng, seed, "train", train), *_clean(rng, seed, "test", test)]
    places = iter(rng.permutation(train).tolist())  # each place is used once, as a fault or as a copy's original
    for fault, count in counts.items():
        for _ in range(count):
            place = next(places)
            original = slots[next(places)] if fault in COPIES else None
            slots[place] = _planted(slots[place], fault, original, rng)
    return tuple(slots)


def paint_slot(slot: Slot, height: int, width: int) -> bytes:
    """The JPEG of one photo.

    Args:
        slot: what to paint.
        height: of a landscape photo, pixels.
        width: of a landscape photo, pixels.
    """
    fault, quality = slot.truth.fault, slot.shot.quality
    picture = _scene(slot, height, width)
    if fault == "dark":
        picture = darken(picture)
    elif fault == "blurry":
        picture = blur(picture)
    elif fault == "mirrored_copy":
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif fault == "cropped_copy":
        x, y = round(picture.width * CROP), round(picture.height * CROP)
        picture = picture.crop((x, y, picture.width - x, picture.height - y))
    elif fault == "re_encoded_copy":
        quality = min(RE_ENCODED_QUALITY, quality - 10)
    return encode(picture, quality)


def _clean(rng: np.random.Generator, seed: int, split: str, photos: int) -> Iterator[Slot]:
    """Photos without faults; ids look like the competition's and say nothing about the car."""
    first = 100_000 if split == "train" else 300_000
    numbers = np.sort(rng.choice(200_000, photos, replace=False)) + first
    categories = rng.permutation(np.arange(photos) % len(CAR_MODELS)).tolist()
    for i, (number, category) in enumerate(zip(numbers.tolist(), categories, strict=True)):
        shot = draw_shot(np.random.default_rng([seed, 1 + SPLITS.index(split), i]))
        truth = Truth(f"{number}.jpg", str(category), shot.view, shot.night, shot.snow, shot.colour, "", "", split)
        yield Slot(truth, category, shot)


def _planted(slot: Slot, fault: Fault, original: Slot | None, rng: np.random.Generator) -> Slot:
    """The slot with a fault in it; its id stays."""
    if original is not None:
        truth = replace(original.truth, id=slot.truth.id, fault=fault, of=original.truth.id)
        return Slot(truth, original.label, original.shot)
    truth = replace(slot.truth, fault=fault)
    if fault == "wrong_label":
        step = int(rng.integers(1, len(CAR_MODELS)))
        return replace(slot, truth=truth, label=(slot.label + step) % len(CAR_MODELS))
    if fault == "truck":
        truth = replace(truth, category="")
    elif fault == "interior":
        shot = replace(slot.shot, portrait=False)
        truth = replace(truth, category="", view="interior", night=False, snow=shot.scene == "snow", colour="")
        return replace(slot, truth=truth, shot=shot)
    return replace(slot, truth=truth)


def _scene(slot: Slot, height: int, width: int) -> Image.Image:
    if slot.truth.fault == "interior":
        return draw_interior(slot.shot, height, width)
    car = TRUCK if slot.truth.fault == "truck" else CAR_MODELS[int(slot.truth.category)]
    return draw_photo(car, slot.shot, height, width)


def given_labels(slots: Sequence[Slot]) -> list[tuple[str, str]]:
    """Rows of the training table: id and the category it claims."""
    return [(slot.truth.id, str(slot.label)) for slot in slots if slot.truth.split == "train"]
