"""Measured figures: each share with its interval and the number of photos behind it."""

from __future__ import annotations

from pydantic import Field

from carspotter.records.base import Record


class Figure(Record):
    """A measured share with the interval that its sample size allows."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0, description="photos it was measured on")

    def flat(self, name: str) -> dict[str, float]:
        """Under a name as in `metrics.json`: the share, and its bounds beside it."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

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
