"""One stage of training, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from carspotter.errors import TrainingError, is_full_memory
from carspotter.recipe import Stage
from carspotter.records import EpochRecord
from carspotter.training.classifier import Learner
from carspotter.training.devices import CPU, Device
from carspotter.training.schedule import rate_factor
from carspotter.training.shards import Shards
from carspotter.training.stage_data import Batch, StageData

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class TrainUnit:
    """What a stage trains.

    Attributes:
        learner: takes the inputs of the stage's data and gives logits.
        train_mode: puts it into training mode with the frozen parts still.
        optimizer: its groups carry their full rate under `full_lr`.
        shards: parts of each batch that are computed side by side.
        threads: of the processor.
        device: where it computes, and with which other processes.
        scaler: of the loss, for half precision.
        penalty: a term added to the loss.
        offset: (K,) added to the logits in training alone; None: nothing.
    """

    learner: Learner
    train_mode: Callable[[], None]
    optimizer: torch.optim.Optimizer
    shards: int = 1
    threads: int = 1
    device: Device = CPU
    scaler: torch.amp.GradScaler | None = None
    penalty: Callable[[], Tensor] | None = None
    offset: Tensor | None = None


@dataclass(slots=True)
class Sums:
    """Sums over one epoch.

    Attributes:
        loss: times photos.
        right: answers.
        photos: seen.
        batch_seconds: one per step.
    """

    loss: float = 0.0
    right: int = 0
    photos: int = 0
    batch_seconds: list[float] = field(default_factory=list)

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        """One more batch."""
        self.loss += loss * len(labels)
        self.right += int((logits.argmax(1) == labels).sum())
        self.photos += len(labels)


@dataclass(slots=True)
class StageState:
    """Where a stage stands between two steps; with the weights and the optimiser's state, all that the rest depends on.

    Attributes:
        epoch: under way, from 0.
        step: the next one of it.
        rate: share of the full learning rate in the last step.
        seconds: that the epoch has taken.
        sums: of the epoch.
        val_losses: of the epochs before.
        best_accuracy: on held-out photos.
        waited: epochs since then.
        best: weights of that epoch, where they are kept.
    """

    epoch: int = 0
    step: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    sums: Sums = field(default_factory=Sums)
    val_losses: list[float] = field(default_factory=list)
    best_accuracy: float = -1.0
    waited: int = 0
    best: State | None = None

    def over(self, stage: Stage) -> bool:
        """Whether the epochs are over, or patience is."""
        return self.epoch >= stage.epochs or bool(stage.early_stop and self.waited >= stage.early_stop)

    def judge(self, accuracy: float | None, judged: nn.Module, stage: Stage) -> None:
        """Keep the best. Without held-out photos the last is the best there is."""
        if accuracy is None or accuracy > self.best_accuracy:
            self.best_accuracy, self.waited = accuracy or 0.0, 0
            self.best = deepcopy(judged.state_dict()) if stage.keep == "best" else None
        else:
            self.waited += 1

    def next_epoch(self) -> None:
        """Begin it."""
        self.epoch, self.step, self.seconds, self.sums = self.epoch + 1, 0, 0.0, Sums()


class Checkpointer(Protocol):
    """Who can take up a stage where it was left, and is told of every step."""

    def begin(self, unit: TrainUnit, averaged: ModelEmaV3 | None) -> StageState:
        """Where the stage stands; the learner, its optimiser and its average are put there."""

    def listening(self) -> AbstractContextManager[None]:
        """The time in which a signal waits for the end of its step."""

    def after(self, now: StageState, unit: TrainUnit, averaged: ModelEmaV3 | None) -> None:
        """After each step, and with `now.step` 0 after each epoch."""


class Forgetful:
    """The checkpointer that keeps nothing."""

    def begin(self, unit: TrainUnit, averaged: ModelEmaV3 | None) -> StageState:  # noqa: ARG002
        """At the beginning."""
        return StageState()

    def listening(self) -> AbstractContextManager[None]:
        """A signal does not wait."""
        return nullcontext()

    def after(self, now: StageState, unit: TrainUnit, averaged: ModelEmaV3 | None) -> None:
        """Nothing."""


def fit_stage(
    unit: TrainUnit,
    stage_data: StageData,
    stage: Stage,
    *,
    report: Callable[[EpochRecord, int], None],
    checkpointer: Checkpointer | None = None,
) -> None:
    """Train until the epochs are over or patience is; the learner ends with the weights that `stage.keep` asks for.

    Every step is a pure function of the weights, the optimiser's state, the data's seed, and its number.

    Args:
        unit: the learner and how it is trained.
        stage_data: batches.
        stage: epochs, rates, patience and so on.
        report: called with each finished epoch and the number of epochs planned.
        checkpointer: of checkpoints; None keeps none.

    Raises:
        TrainingError: a loss is not a number.
    """
    checkpointer = checkpointer or Forgetful()
    averaged = ModelEmaV3(unit.learner, decay=stage.ema, use_warmup=True) if stage.ema else None
    judged: nn.Module = averaged.module if averaged else unit.learner
    now = checkpointer.begin(unit, averaged)  # before the shards, which copy the learner's statistics
    shards = Shards(unit.learner, unit.shards, unit.threads, unit.device)

    with shards.working(), checkpointer.listening():
        while not now.over(stage):
            # 1. Every batch once.
            began = time.perf_counter() - now.seconds
            unit.train_mode()
            for batch in stage_data.training(now.epoch, now.step):
                _step(unit, shards, batch, stage, now, stage_data.steps)
                if averaged is not None:
                    averaged.update(unit.learner, step=now.epoch * stage_data.steps + now.step)
                now.step += 1
                elapsed = time.perf_counter() - began
                now.sums.batch_seconds.append(elapsed - now.seconds)
                now.seconds = elapsed
                checkpointer.after(now, unit, averaged)

            # 2. Validation sees plain photos, with the weights that would be handed on.
            val_loss, val_accuracy = validate(judged, stage_data, shards)
            _must_be_finite(val_loss or 0.0, stage, f"epoch {now.epoch + 1}, validation")
            report(_record(stage, now, val_loss, val_accuracy, time.perf_counter() - began), stage.epochs)

            # 3. Keep the best; stop when it is long ago.
            if val_loss is not None:
                now.val_losses.append(val_loss)
            now.judge(val_accuracy, judged, stage)
            now.next_epoch()
            checkpointer.after(now, unit, averaged)

    if stage.epochs:
        unit.learner.load_state_dict(now.best or judged.state_dict())


def _step(unit: TrainUnit, shards: Shards, batch: Sequence[Batch], stage: Stage, now: StageState, steps: int) -> None:
    """One batch, at the rate that the schedule gives it."""
    now.rate = rate_factor(stage.schedule, now.epoch + (now.step + 0.5) / steps, stage.epochs, now.val_losses)
    value, logits, labels = take_step(
        unit, shards, batch, stage, now.rate, f"epoch {now.epoch + 1}, batch {now.step + 1}"
    )
    now.sums.add(value, logits, labels)


def take_step(
    unit: TrainUnit, shards: Shards, batch: Sequence[Batch], stage: Stage, factor: float, when: str = ""
) -> tuple[float, Tensor, Tensor]:
    """Gradient and step of one batch.

    Args:
        unit: is changed.
        shards: of its learner.
        batch: its shards.
        stage: smoothing and clipping.
        factor: of every full learning rate.
        when: for the message.

    Returns:
        The loss before the step, the logits and the labels.

    Raises:
        TrainingError: the loss is not a number; nothing is changed then.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen = logits if unit.offset is None else logits + unit.offset
        value = weighted_loss(seen, targets, stage.label_smoothing)
        return value if unit.penalty is None else value + unit.penalty()

    for group in unit.optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
    unit.optimizer.zero_grad(set_to_none=True)
    scaler = unit.scaler
    value, logits, labels = shards.gradients(batch, loss, scaler.scale if scaler else lambda plain: plain)
    _must_be_finite(value, stage, when)
    if scaler:
        scaler.unscale_(unit.optimizer)
    if stage.clip:
        # Only what is stepped: a unit frozen since an earlier stage still holds that stage's last gradient.
        stepped = [p for group in unit.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(stepped, stage.clip)
    if scaler:
        scaler.step(unit.optimizer)
        scaler.update()
    else:
        unit.optimizer.step()
    return value, logits, labels


def _record(
    stage: Stage, now: StageState, val_loss: float | None, val_accuracy: float | None, seconds: float
) -> EpochRecord:
    return EpochRecord(
        stage=stage.name,
        epoch=now.epoch,
        lr=stage.lr * now.rate,
        train_loss=now.sums.loss / now.sums.photos,
        train_accuracy=now.sums.right / now.sums.photos,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        seconds=seconds,
        batch_seconds=tuple(round(s, 4) for s in now.sums.batch_seconds),
    )


def weighted_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy where a row of targets sums to its photo's weight; the mean over the weights.

    Args:
        logits: (N, K).
        targets: (N, K), not negative.
        smoothing: share of each row spread over all classes.
    """
    weights = targets.sum(1, keepdim=True)
    wanted = (1 - smoothing) * targets + smoothing * weights / targets.shape[1]
    return -(wanted * F.log_softmax(logits, 1)).sum() / weights.sum()


def _must_be_finite(loss: float, stage: Stage, when: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in stage {stage.name}, {when}; lower lr, add warmup, or set clip=1"
        )


@contextmanager
def memory_named(stage: Stage) -> Iterator[None]:
    """Turn torch's several forms of "out of memory" into one clear line.

    Raises:
        TrainingError: the memory is full.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if not is_full_memory(fault):
            raise
        raise TrainingError(
            f"memory ran out in stage {stage.name} with {stage.batch} photos of {stage.width}x{stage.height}; "
            "lower its batch, height and width"
        ) from None


def validate(module: nn.Module, stage_data: StageData, shards: Shards) -> tuple[float | None, float | None]:
    """Mean loss and accuracy on the held-out photos, or None where nothing is held out."""
    sums = Sums()

    def judge(batch: Batch) -> tuple[Batch, Tensor]:
        here = batch.to(shards.where)
        with torch.inference_mode(), shards.arithmetic():
            return here, module(here.inputs).float()

    with evaluating(module):
        for batch, logits in shards.side_by_side(judge, stage_data.validation()):
            sums.add(float(F.cross_entropy(logits, batch.labels)), logits, batch.labels)
    return (sums.loss / sums.photos, sums.right / sums.photos) if sums.photos else (None, None)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is restored."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
