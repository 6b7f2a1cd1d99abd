"""What the API takes and gives, typed; `/docs` shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from carspotter.records import Answer, Listed, ListingVerdict, Verdict


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(Reply):
    """Why a request was not answered."""

    code: str = Field(description="for programs")
    sentence: str = Field(description="for people, with the cure")


class Failed(Reply):
    """The body of every reply that is an error."""

    error: Fault


class Named(Reply):
    """The answer for one photo: the columns of `carspotter predict`."""

    id: str = Field(description="name of the file as sent, unprintable characters escaped; or its number")
    verdict: Verdict
    label: str | None = Field(None, description="likeliest model")
    probability: float | None = Field(None, description="calibrated, in 0..1")
    label2: str | None = None
    probability2: float | None = None
    label3: str | None = None
    probability3: float | None = None
    group: str | None = Field(None, description="family of near models")
    reason: str = Field(description="why the verdict is not `named`; of a bad photo it begins with the code")

    @classmethod
    def of(cls, answer: Answer, name: str) -> Named:
        """As `predict` writes it, under the name of the file."""
        flat: dict[str, str | float | None] = {}
        for number, guess in enumerate(answer.top[:3]):
            suffix = str(number + 1) if number else ""
            flat |= {f"label{suffix}": guess.label, f"probability{suffix}": guess.probability}
        reason = answer.reason if answer.code is None else f"{answer.code.value}: {answer.reason}"
        return cls(id=name, verdict=answer.verdict, group=answer.group, reason=reason, **flat)


class Identified(Reply):
    """Answers in the order sent."""

    model: str
    answers: list[Named]


class Checked(Reply):
    """Whether the photos of an ad show the model that it declares."""

    model: str
    declared: str
    verdict: ListingVerdict
    recognised: str | None
    probability: float | None = Field(description="of the declared model, all photos taken together")
    suspicion: float = Field(ge=0, le=1, description="1 is worst")
    reason: str
    answers: list[Named] = Field(description="of each photo")

    @classmethod
    def of(cls, model: str, declared: str, listed: Listed, answers: list[Named]) -> Checked:
        """With the answers of the photos."""
        return cls(
            model=model,
            declared=declared,
            verdict=listed.verdict,
            recognised=listed.recognised,
            probability=listed.probability,
            suspicion=listed.suspicion,
            reason=listed.reason,
            answers=answers,
        )


class ModelCard(Reply):
    """What a model says of itself."""

    name: str
    hash: str
    classes: list[str]
    width: int
    height: int
    accuracy: float | None = Field(description="on photos that did not train it")
    accuracy_low: float | None
    accuracy_high: float | None
    photos: int | None = Field(description="on how many")
    calibrated: bool
    knows_strangers: bool = Field(description="whether it answers `unknown`")
    backbone: str
    commercial_use: Literal["yes", "no", "unclear"] = Field(description="of the backbone")
    created: str


class Models(Reply):
    """The models of the server; the first answers where a request names none."""

    models: list[ModelCard]


class State(Reply):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "starting"]
