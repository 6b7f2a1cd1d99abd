"""Networks on disk: a backbone that a training begins with, a bundle that it leaves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carspotter.recipe import Recipe
from carspotter.records.answers import Calibration
from carspotter.records.base import Record, hash_json
from carspotter.records.figures import Evaluation
from carspotter.records.photos import Geometry

Join = Literal["mean", "soup"]
"""How networks become one model: side by side, with the mean of their logits as the answer; or one network that has the
mean of their weights."""

MOST_MEMBERS = 50
"""Networks in one model. Assumption: more are a mistake."""

Precision = Literal["f32", "int8", "bf16"]
"""What a network computes in: single precision, 8-bit integers, or the half precision of some processors."""

FORMAT_VERSION = 6
"""Of the bundles that this version writes, and the newest that it reads."""
SINCE_FORMAT_2 = {
    "members": 1,
    "join": "mean",
    "export": None,
    "frame": "whole",
    "light": "as it is",
    "drop_path": 0.0,
    "logit_adjustment": 0.0,
    "distil": 0.0,
    "distil_temperature": 2.0,
    "wrong_cost": 5.0,
    "detector": "",
    "strange_at": None,
    "refused": None,
    "no_car_at": None,
    "parents": {},
}
"""Keys of card, geometry, recipe and calibration that format 2 did not have, with the values that its bundles are read
with."""


class BackboneCard(Record):
    """Where a backbone comes from, and what it may be used for."""

    name: str = Field(description="timm's model name")
    known_as: str = Field(default="", description="its name in the user's backbone folder; empty: it is not from there")
    source: Literal["package", "hub", "file", "own", "none"] = Field(
        description="own: pretrained here, in the user's backbone folder; none: random weights, for tests"
    )
    origin: str = Field(description="package and version, hub repository, or file path")
    sha256: str | None = Field(description="of the weight file; None for a hub file not fetched yet")
    licence: str = Field(description="SPDX name, or 'unknown'")
    commercial_use: Literal["yes", "no", "unclear"]
    parameters: int | None = Field(default=None, description="count, without the classifier")
    height: int = Field(default=224, description="size of its pretraining, pixels")
    width: int = Field(default=224)
    crop: float = Field(default=0.875, description="share of the resized photo that its own evaluation keeps")
    mean: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="of RGB in 0..1")
    std: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="of RGB in 0..1")
    freeze_points: tuple[str, ...] = Field(default=(), description="units in forward order")


class Provenance(Record):
    """What differs between two equal trainings; outside the bundle hash."""

    run_id: str
    also: tuple[str, ...] = Field(default=(), description="further runs whose networks the bundle holds")
    created: str = Field(description="ISO 8601, UTC")
    seconds: float = Field(ge=0, description="wall time of the training")
    machine: str
    parity: float | None = Field(default=None, description="largest |logit| difference torch ↔ ONNX on real photos")


class ExportNote(Record):
    """What a network that computes otherwise than it was trained was judged by before it was written."""

    precision: Precision
    of: str = Field(description="bundle hash of the original")
    runtime: Literal["onnxruntime", "openvino"] = Field(description="that computed it")
    photos: int = Field(ge=2, description="held-out photos that judged both")
    accuracy: float = Field(ge=0, le=1)
    accuracy_before: float = Field(ge=0, le=1)
    faults: tuple[str, ...] = Field(default=(), description="bounds that it broke; written by force")


class BundleCard(Record):
    """`card.json`: everything needed to answer, nothing to guess at load."""

    format_version: int = Field(default=FORMAT_VERSION, description="a reader refuses a newer one")
    name: str
    classes: tuple[str, ...] = Field(min_length=2)
    codes: tuple[str, ...] = Field(description="how the training table writes each class; same order")
    parents: dict[str, str] = Field(
        default_factory=dict, description="class or family → the family above it; empty: the names tell"
    )
    geometry: Geometry
    backbone: BackboneCard
    recipe: Recipe
    dataset: str = Field(description="fingerprint of the training source")
    outside: tuple[str, ...] = Field(
        default=(), description="photos of other sources that trained too, a sentence each; empty: the source alone"
    )
    members: int = Field(
        default=1,
        ge=1,
        le=MOST_MEMBERS,
        description="networks, one per fold of each division, that were joined into this model",
    )
    join: Join = Field(default="mean", description="how: side by side, or one network with the mean of their weights")
    evaluation: Evaluation | None = Field(
        description="on validation photos through the shipped predictor; with several members, each photo answered by "
        "those that it did not train"
    )
    calibration: Calibration | None = None
    export: ExportNote | None = Field(default=None, description="None: the network as it was trained")
    files: dict[str, str] = Field(description="file name → sha256; a name is never a path")
    carspotter: str = Field(description="version that wrote it")
    provenance: Provenance

    @property
    def in_integers(self) -> bool:
        """Whether its network rounds to integers, which each runtime and kind of processor does in its own way."""
        return self.export is not None and self.export.precision == "int8"

    @property
    def hash(self) -> str:
        """The bundle hash: sha256 over the weights and the card without run id and times.

        Keys that format 2 did not have are left out where they say nothing new, so that its bundles keep their hashes.
        """
        told = self.model_dump(mode="json", exclude={"provenance", "name"})
        for part in (told, told["geometry"], told["recipe"], told["calibration"] or {}):
            for key, usual in SINCE_FORMAT_2.items():
                if key in part and part[key] == usual:
                    del part[key]
        return hash_json(told)
