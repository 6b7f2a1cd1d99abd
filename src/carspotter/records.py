"""The nouns. Every layer speaks in these; none of them knows a library beyond numpy and pydantic.

Plain values that travel through memory are frozen dataclasses; what is written to disk is a frozen pydantic model that
refuses unknown keys.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from carspotter.errors import Reason
from carspotter.recipe import Fit, Recipe

Logits = npt.NDArray[np.float32]
"""(N, K) unnormalised scores; higher is likelier."""
Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) sRGB, 0..255."""


Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""A duration; thirty years are enough, and a database that counts milliseconds can hold them."""


class Record(BaseModel):
    """Base of everything written to disk: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- photos and sets ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Location:
    """Where a photo's bytes are.

    Attributes:
        path: a file, or the zip that holds it.
        member: the exact entry name inside the zip; None for a plain file.
    """

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}!{self.member}"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a set.

    Attributes:
        id: the path relative to its folder or zip (POSIX), or the table's text exactly as it stands.
        where: the place of its bytes, or the bytes themselves (an upload).
        label: its class name (one of `Dataset.classes`), or None when unlabelled.
        group: photos that share a group (one ad, one car) never sit on both sides of a split; None for a group of one.
        digest: sha256 of the bytes, hex; None until a scan has read them.
    """

    id: str
    where: Location | bytes
    label: str | None = None
    group: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo without an answer, and why.

    Attributes:
        id: the photo's id.
        reason: the code for tables.
        sentence: one line for people, with the cure.
    """

    id: str
    reason: Reason
    sentence: str


class Reading(Record):
    """How a source was read, so that it can be read again."""

    source: str = Field(description="absolute path")
    photos: str | None = Field(default=None, description="folder or zip of a table's photos, absolute; None: found")
    id_column: str | None = Field(default=None, description="as given; None: found")
    label_column: str | None = None
    group_column: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos with class names. Never edited in place: a decision makes a new one.

    Attributes:
        photos: in the order of the source; ids are unique.
        classes: class names in index order; empty when unlabelled.
        codes: how the source writes each class (`train.csv`'s Category), same order; equals `classes` without a table
            of names.
        origin: the source as the user gave it.
        rejected: photos named by the source that cannot be used.
        notes: what the reader skipped or decided, one sentence each.
        reading: how it was read; None for photos that came from Python.
    """

    photos: tuple[Photo, ...]
    classes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    origin: str = ""
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    reading: Reading | None = None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) class index of each photo, -1 where unlabelled."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([-1 if p.label is None else index[p.label] for p in self.photos], dtype=np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Photos per class, in the order of `classes`, zeros included."""
        found = Counter(p.label for p in self.photos)
        return {name: found[name] for name in self.classes}

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, labels, groups and contents; independent of where the files lie and of their order.

        Raises:
            ValueError: a photo has no digest yet; scan the set first.
        """
        if any(p.digest is None for p in self.photos):
            raise ValueError("a fingerprint needs the digest of every photo; scan the dataset first")
        rows = sorted((p.id, p.label or "", p.group or "", p.digest) for p in self.photos)
        return hash_json({"classes": self.classes, "photos": rows})

    def subset(self, keep: Sequence[int] | npt.NDArray[np.int64]) -> Dataset:
        """The photos at these positions, in this order, as a new set with the same classes."""
        return replace(self, photos=tuple(self.photos[int(i)] for i in keep))


@dataclass(frozen=True, slots=True)
class Split:
    """Which photos train and which validate.

    Attributes:
        train: ids the weights are fitted on.
        validation: ids held out; never augmented, no near-duplicate of them in `train`.
        method: a sentence: seed, shares, what was kept together.
        folds: for k folds, the fold number of every id, -1 for those that always train; empty for one hold-out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    method: str
    folds: Mapping[str, int] = field(default_factory=dict)


class Geometry(Record):
    """The rectangle every photo becomes before the network sees it.

    The aspect ratio is kept (except for `stretch`); peers gained most from resolution and ads are 4:3.
    """

    height: int = Field(ge=32, le=2048, description="rows, pixels")
    width: int = Field(ge=32, le=2048, description="columns, pixels")
    fit: Fit = Field("pad", description="pad: whole photo, grey borders; crop: fill and cut; stretch: distort")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}-{self.fit}"


# ---- answers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the network said. Everything after it is a pure function of this.

    Attributes:
        ids: N photo ids, in the order asked, refused ones left out.
        logits: (N, K) f32; higher is likelier; softmax gives uncalibrated probabilities.
        embeddings: (N, D) f32; the input of the last linear layer.
        rejected: photos without a row, with their reason.
    """

    ids: tuple[str, ...]
    logits: Logits
    embeddings: npt.NDArray[np.float32]
    rejected: tuple[Rejected, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.logits) == len(self.embeddings):
            raise ValueError(
                f"{len(self.ids)} ids, {len(self.logits)} rows of logits and {len(self.embeddings)} embeddings"
            )


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What a net answered on its validation photos, kept with the run so that runs compare photo by photo.

    Attributes:
        ids: N photo ids; refused ones are left out.
        logits: (N, K) f32, finite; higher is likelier.
        labels: (N,) i64 class index of each photo, in the order of the run's `classes`.
    """

    ids: tuple[str, ...]
    logits: Logits
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        n, k = self.logits.shape if self.logits.ndim == 2 else (-1, 0)
        if self.labels.shape != (n,) or len(self.ids) != n or len(set(self.ids)) != n:
            raise ValueError(
                f"{len(self.ids)} ids, logits {self.logits.shape} and labels {self.labels.shape}; "
                "expected one row and one label for each of N different photos"
            )
        if not np.isfinite(self.logits).all() or (n and not 0 <= self.labels.min() <= self.labels.max() < k):
            raise ValueError(f"a logit is not a finite number, or a label is outside 0..{k - 1}")


class Calibration(Record):
    """How far a probability can be trusted.

    Fitted on held-out logits only. A bundle without one answers `named` or `bad_photo`.
    """

    temperature: float = Field(gt=0, description="logits are divided by this before the softmax")
    method: str = Field(description="how it was fitted, one sentence")
    photos: int = Field(ge=1, description="on how many held-out photos")


class Verdict(StrEnum):
    """What an answer claims."""

    NAMED = "named"
    ONE_OF = "one_of"
    UNSURE = "unsure"
    UNKNOWN = "unknown"
    NOT_A_CAR = "not_a_car"
    BAD_PHOTO = "bad_photo"


@dataclass(frozen=True, slots=True)
class Guess:
    """One candidate class.

    Attributes:
        label: class name.
        probability: in [0, 1], calibrated when the bundle carries a calibration.
    """

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply for one photo.

    Attributes:
        id: the photo's id.
        verdict: what is claimed.
        top: the likeliest classes, best first; empty for a bad photo.
        group: the family that near classes share ("2109 / 21099"), or None.
        reason: empty, or one line: why the verdict is not `named`, or a note about the photo.
        code: the reason code of a bad photo, else None.
    """

    id: str
    verdict: Verdict
    top: tuple[Guess, ...] = ()
    group: str | None = None
    reason: str = ""
    code: Reason | None = None


class Figure(Record):
    """A measured share with the interval that its sample size allows."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0, description="photos it was measured on")

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] on {self.n} photos"


class ClassFigures(Record):
    """How one class fares."""

    label: str
    photos: int
    precision: float | None = Field(description="None when the class was never answered")
    recall: float | None = Field(description="None when the class has no photo")


class Evaluation(Record):
    """How good the answers are on labelled photos that did not train the weights."""

    accuracy: Figure = Field(description="share of right first answers; 95 % Wilson interval")
    top3_accuracy: Figure = Field(description="share whose truth is among the first three")
    macro_recall: float = Field(description="mean recall over the classes that have photos")
    log_loss: float = Field(description="mean negative log-likelihood, natural logarithm; 0 is best")
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...] = Field(description="(K, K) counts; rows truth, columns answers")


# ---- models and runs ------------------------------------------------------------------------------------------------


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
    created: str = Field(description="ISO 8601, UTC")
    seconds: float = Field(ge=0, description="wall time of the training")
    machine: str
    parity: float | None = Field(default=None, description="largest |logit| difference torch ↔ ONNX on real photos")


class BundleCard(Record):
    """`card.json`: everything needed to answer, nothing to guess at load."""

    format_version: int = Field(default=1, description="a reader refuses a newer one")
    name: str
    classes: tuple[str, ...] = Field(min_length=2)
    codes: tuple[str, ...] = Field(description="how the training table writes each class; same order")
    geometry: Geometry
    backbone: BackboneCard
    recipe: Recipe
    dataset: str = Field(description="fingerprint of the training source")
    outside: tuple[str, ...] = Field(
        default=(), description="photos of other sources that trained too, a sentence each; empty: the source alone"
    )
    evaluation: Evaluation | None = Field(description="on validation photos through the shipped predictor")
    calibration: Calibration | None = None
    files: dict[str, str] = Field(description="file name → sha256; a name is never a path")
    carspotter: str = Field(description="version that wrote it")
    provenance: Provenance

    @property
    def hash(self) -> str:
        """The bundle hash: sha256 over the weights and the card without run id and times."""
        return hash_json(self.model_dump(mode="json", exclude={"provenance", "name"}))


class EpochRecord(Record):
    """One line of a run's history."""

    stage: str
    epoch: int = Field(ge=0, description="within the stage, from 0")
    lr: float = Field(description="base learning rate at the end of the epoch")
    train_loss: float
    train_accuracy: float = Field(description="on augmented photos; with mixup against the unmixed label, so too low")
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: Seconds
    batch_seconds: tuple[float, ...] = Field(default=(), description="one per batch")


class FreezeSummary(Record):
    """What a stage trains and what it leaves alone."""

    stage: str
    trains_from: str
    parameters: int = Field(description="trainable")
    parameters_frozen: int
    layers: int = Field(description="modules with own trainable parameters")
    layers_frozen: int
    batchnorm: int = Field(description="BatchNorm layers whose statistics move")
    batchnorm_frozen: int

    def __str__(self) -> str:
        return (
            f"{self.stage}: trains from {self.trains_from}: {self.parameters:,} parameters in {self.layers} layers, "
            f"{self.batchnorm} BatchNorm; frozen {self.parameters_frozen:,} in {self.layers_frozen}, "
            f"{self.batchnorm_frozen} BatchNorm"
        )


class Machine(Record):
    """Where and with what a run ran."""

    system: str
    processor: str
    cores: int
    threads: int
    device: str
    python: str
    packages: dict[str, str] = Field(description="installed version of each library that touches the result")


class Imported(Record):
    """What another program's log said of a training, in its own words."""

    source: str = Field(description="the log, as given")
    row: str = Field(description="how the log numbers it")
    key: str = Field(description="sha256 of the row: a second import knows it again")
    accuracy: Figure | None = Field(description="on its validation photos, as the log says; None where it says nothing")
    cells: dict[str, str] = Field(description="column → text, for every column that is no history")
    descriptions: dict[str, str] = Field(default_factory=dict, description="column → what the log says it is")
    stated: tuple[str, ...] = Field(
        default=(), description="settings of the recipe that the log gives; any other stands at our default"
    )


class Birth(Record):
    """What a training began with beside its recipe, so that it can be taken up again and nothing else with it."""

    source: Reading | None = Field(default=None, description="None for photos that came from Python")
    extra: tuple[Reading, ...] = Field(default=(), description="labelled sources from outside")
    unlabelled: tuple[Reading, ...] = Field(default=(), description="sources that the teacher labelled")
    teacher: str | None = Field(default=None, description="model folder, absolute")
    outside: str = Field(default="", description="hash over the outside photos that train; empty: none")
    code: str = Field(default="", description="hash over the package's own code, whatever its version says")
    output: str | None = Field(default=None, description="folder of the bundle as asked for, absolute")
    place: str = Field(
        default="", description="working folder, absolute; without `output` the bundle goes to its models"
    )
    delivers: bool = Field(default=True, description="whether it leaves a bundle, and until then checkpoints")
    processes: int = Field(default=1, description="that train together")


RunStatus = Literal["running", "finished", "failed", "interrupted"]


class Run(Record):
    """One training, append-only: born before the first batch, never edited once finished."""

    id: str
    name: str
    status: RunStatus
    started: str = Field(description="ISO 8601, UTC")
    seconds: Seconds | None = None
    recipe: Recipe
    dataset: str = Field(description="fingerprint")
    origin: str = Field(description="the source as given")
    photos: int
    extra: tuple[str, ...] = Field(
        default=(), description="outside photos that trained it as well, a sentence each; never mixed with runs without"
    )
    rejected: tuple[str, ...] = Field(
        default=(), description="photos of the source that were left out: id, reason code and cure, a sentence each"
    )
    classes: tuple[str, ...]
    code_version: str
    machine: Machine
    split: str = Field(description="the split's method; ids are in the run's split.json")
    validation: str | None = Field(
        default=None, description="hash of the held-out ids, labels and contents: equal where figures compare directly"
    )
    history: tuple[EpochRecord, ...] = ()
    freezing: tuple[FreezeSummary, ...] = ()
    timings: dict[str, Seconds] = Field(default_factory=dict, description="phase → seconds")
    evaluation: Evaluation | None = None
    bundle: str | None = Field(default=None, description="folder")
    bundle_hash: str | None = None
    error: str | None = None
    excluded: str = Field(default="", description="why `runs effect` and `runs best` leave it out; empty: they do not")
    notes: tuple[str, ...] = Field(default=(), description="what is odd about it, a sentence each")
    birth: Birth | None = Field(default=None, description="None for runs of older versions, and imported ones")
    imported: Imported | None = Field(default=None, description="None for a training of our own")

    @field_validator("started")
    @classmethod
    def _started_is_a_moment(cls, started: str) -> str:
        datetime.fromisoformat(started)
        return started

    @property
    def accuracy(self) -> Figure | None:
        """On validation photos: measured here, or as the log of an imported run says; None before there is one."""
        if self.evaluation is not None:
            return self.evaluation.accuracy
        return None if self.imported is None else self.imported.accuracy


def hash_json(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
