"""What a training tells while it goes on."""

from __future__ import annotations

from pydantic import Field

from carspotter.records.base import Record, Seconds


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
