"""The reply for one photo, and how far its probability can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from carspotter.errors import Reason
from carspotter.records.base import Record


class Calibration(Record):
    """How far a probability can be trusted, and what is claimed at which one.

    Fitted on held-out logits only. A bundle without one answers `named` or `bad_photo`.
    """

    temperature: float = Field(gt=0, description="logits are divided by this before the softmax")
    method: str = Field(description="how it was fitted, one sentence")
    photos: int = Field(ge=1, description="on how many held-out photos")
    name_at: float = Field(
        default=0.0, ge=0, le=1, description="one name is given alone from this probability on; 0: always"
    )
    costs: str = Field(default="", description="the costs that `name_at` follows from, one sentence")
    set_at: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="below `name_at`, classes of at least this probability are claimed together",
    )
    error: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the photos not named whose truth lies outside those classes; None: too few to tell",
    )
    detector: str = Field(
        default="", description="how strangeness is measured (evaluation/unknown.py); empty: no photo is a stranger"
    )
    strange_at: float | None = Field(
        default=None, description="strangeness above which a photo shows no model that was taught"
    )
    refused: float | None = Field(
        default=None, gt=0, lt=1, description="share of photos of known models that are called strangers, at most"
    )
    no_car_at: float | None = Field(
        default=None, description="evidence of a vehicle below which a stranger is called no car; None: never"
    )


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
        claimed: how many of `top` the verdict `one_of` means.
    """

    id: str
    verdict: Verdict
    top: tuple[Guess, ...] = ()
    group: str | None = None
    reason: str = ""
    code: Reason | None = None
    claimed: int = 1

    @property
    def claim(self) -> tuple[str, ...]:
        """The models that the verdict says it is one of; none where it names none."""
        if self.verdict in (Verdict.NAMED, Verdict.ONE_OF):
            return tuple(guess.label for guess in self.top[: self.claimed])
        return ()


class ListingVerdict(StrEnum):
    """What the photos of an ad say of the model that it declares."""

    MATCH = "match"
    MISMATCH = "mismatch"
    CANNOT_TELL = "cannot tell"
    NOT_EXTERIOR = "not this car's exterior"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the photos of an ad are, taken together.

    Attributes:
        photos: that show a model which was taught.
        likeliest: the model that these show; None where there are none.
        share: its probability.
        unknown: photos unlike everything that was taught.
        no_car: photos without a car seen from outside.
        unusable: photos that are missing or cannot be read.
        left_out: what of the ad was not looked at because it is too much, a sentence each.
    """

    photos: int
    likeliest: str | None
    share: float | None
    unknown: int
    no_car: int
    unusable: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """The reply for one ad.

    Attributes:
        verdict: what is claimed.
        recognised: the model that its photos show together; None where they leave it open.
        probability: of the declared model, all photos taken together; None where it was not taught, or no photo shows a
            known model.
        suspicion: in 0..1, 1 is worst: how little the photos support what is declared.
        reason: one line.
        evidence: the same in parts, for whoever has words of their own.
    """

    verdict: ListingVerdict
    recognised: str | None
    probability: float | None
    suspicion: float
    reason: str
    evidence: Evidence
