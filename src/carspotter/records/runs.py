"""A training from its birth to its result, and the machine it ran on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from carspotter.recipe import Recipe
from carspotter.records.base import Record, Seconds
from carspotter.records.datasets import Reading
from carspotter.records.figures import Evaluation, Figure
from carspotter.records.history import EpochRecord, FreezeSummary


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
        default=(), description="settings that the log gives; any other of the recipe is our default and was not its"
    )


class Birth(Record):
    """What a training began with beside its recipe, so that it can be taken up again and nothing else with it."""

    source: Reading | None = Field(default=None, description="None for photos that came from Python")
    extra: tuple[Reading, ...] = Field(default=(), description="labelled sources from outside")
    unlabelled: tuple[Reading, ...] = Field(default=(), description="sources that the teacher labelled")
    teacher: str | None = Field(default=None, description="model folder, absolute")
    outside: str = Field(
        default="", description="hash over the outside photos that train and what a teacher says; empty: none"
    )
    refused: tuple[str, ...] = Field(
        default=(), description="outside photos that were left out: source, id, reason code and cure, a sentence each"
    )
    weights: str = Field(default="", description="sha256 of the backbone's weights; empty: random numbers")
    code: str = Field(default="", description="hash over the package's own code, whatever its version says")
    output: str | None = Field(default=None, description="folder of the bundle as asked for, absolute")
    place: str = Field(
        default="", description="working folder, absolute; without `output` the bundle goes to its models"
    )
    delivers: bool = Field(default=True, description="whether it leaves a bundle, and until then checkpoints")
    processes: int = Field(default=1, description="that train together")
    backbone: str = Field(default="", description="name under which its backbone is kept afterwards; empty: it is not")
    note: str = Field(default="", description="for the card of that backbone")

    @property
    def had_help(self) -> bool:
        """Whether photos or a teacher from outside taught it too; what its backbone has seen counts for none."""
        return bool(self.extra or self.unlabelled or self.teacher)


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
    def left_out(self) -> tuple[str, ...]:
        """Photos that could not be used, of the source and then of those from outside, a sentence each."""
        return (*self.rejected, *(() if self.birth is None else self.birth.refused))

    @property
    def accuracy(self) -> Figure | None:
        """On validation photos: measured here, or as the log of an imported run says; None before there is one."""
        if self.evaluation is not None:
            return self.evaluation.accuracy
        return None if self.imported is None else self.imported.accuracy
