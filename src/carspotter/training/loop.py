"""One stage of training, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from carspotter.errors import TrainingError
from carspotter.recipe import Stage
from carspotter.records import EpochRecord
from carspotter.training.classifier import Learner
from carspotter.training.material import Batch, Material
from carspotter.training.schedule import rate_factor
from carspotter.training.shards import Shards

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Trainee:
    """What a stage trains.

    Attributes:
        learner: takes the material's inputs and gives logits.
        train_mode: puts it into training mode with the frozen parts still.
        optimizer: its groups carry their full rate under `full_lr`.
        shards: parts of each batch that are computed side by side.
        threads: of the processor.
        penalty: a term added to the loss.
    """

    learner: Learner
    train_mode: Callable[[], None]
    optimizer: torch.optim.Optimizer
    shards: int = 1
    threads: int = 1
    penalty: Callable[[], Tensor] | None = None


@dataclass(slots=True)
class _Epoch:
    """Sums over one epoch."""

    loss: float = 0.0
    right: int = 0
    photos: int = 0
    batch_seconds: list[float] = field(default_factory=list)

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        self.loss += loss * len(labels)
        self.right += int((logits.argmax(1) == labels).sum())
        self.photos += len(labels)


def fit_stage(
    trainee: Trainee, material: Material, stage: Stage, *, report: Callable[[EpochRecord, int], None]
) -> None:
    """Train until the epochs are over or patience is; the learner ends with the weights that `stage.keep` asks for.

    Every step is a pure function of the weights, the optimiser's state, the material's seed, and its number.

    Args:
        trainee: the learner and how it is trained.
        material: batches.
        stage: epochs, rates, patience and so on.
        report: called with each finished epoch and the number of epochs planned.

    Raises:
        TrainingError: a loss is not a number.
    """
    averaged = ModelEmaV3(trainee.learner, decay=stage.ema, use_warmup=True) if stage.ema else None
    judged: nn.Module = averaged.module if averaged else trainee.learner
    shards = Shards(trainee.learner, trainee.shards, trainee.threads)
    val_losses: list[float] = []
    best_accuracy, best_state, waited = -1.0, None, 0

    with shards.working():
        for epoch in range(stage.epochs):
            started = time.perf_counter()
            # 1. Every batch once.
            trainee.train_mode()
            sums, rate = _train_epoch(trainee, shards, material, stage, epoch, val_losses, averaged)

            # 2. Validation sees plain photos, with the weights that would be handed on.
            val_loss, val_accuracy = validate(judged, material, shards)
            _must_be_finite(val_loss or 0.0, stage, epoch, "validation")
            if val_loss is not None:
                val_losses.append(val_loss)
            report(
                EpochRecord(
                    stage=stage.name,
                    epoch=epoch,
                    lr=rate,
                    train_loss=sums.loss / sums.photos,
                    train_accuracy=sums.right / sums.photos,
                    val_loss=val_loss,
                    val_accuracy=val_accuracy,
                    seconds=time.perf_counter() - started,
                    batch_seconds=tuple(round(s, 4) for s in sums.batch_seconds),
                ),
                stage.epochs,
            )

            # 3. Keep the best, stop when it is long ago. Without held-out photos the last is the best there is.
            if val_accuracy is None or val_accuracy > best_accuracy:
                best_accuracy, waited = val_accuracy or 0.0, 0
                if stage.keep == "best":
                    best_state = deepcopy(judged.state_dict())
            else:
                waited += 1
                if stage.early_stop and waited >= stage.early_stop:
                    break

    if stage.epochs:
        trainee.learner.load_state_dict(best_state or judged.state_dict())


def _train_epoch(
    trainee: Trainee,
    shards: Shards,
    material: Material,
    stage: Stage,
    epoch: int,
    val_losses: list[float],
    averaged: ModelEmaV3 | None,
) -> tuple[_Epoch, float]:
    """Every batch once; the sums and the last learning rate of the head."""
    sums, factor = _Epoch(), 0.0

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        value = weighted_loss(logits, targets, stage.label_smoothing)
        return value if trainee.penalty is None else value + trainee.penalty()

    started = time.perf_counter()
    for step, batch in enumerate(material.training(epoch)):
        factor = rate_factor(stage.schedule, epoch + (step + 0.5) / material.steps, stage.epochs, val_losses)
        for group in trainee.optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        trainee.optimizer.zero_grad(set_to_none=True)
        value, logits = shards.gradients(batch, loss)
        _must_be_finite(value, stage, epoch, f"batch {step + 1}")
        if stage.clip:
            # Only what is stepped: a unit frozen since an earlier stage still holds that stage's last gradient.
            stepped = [p for group in trainee.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(stepped, stage.clip)
        trainee.optimizer.step()
        if averaged is not None:
            averaged.update(trainee.learner, step=epoch * material.steps + step)
        sums.add(value, logits, torch.cat([part.labels for part in batch]))
        now = time.perf_counter()
        sums.batch_seconds.append(now - started)
        started = now
    return sums, stage.lr * factor


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


def _must_be_finite(loss: float, stage: Stage, epoch: int, when: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in stage {stage.name}, epoch {epoch + 1}, {when}; "
            "lower lr, add warmup, or set clip=1"
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
        words = str(fault).lower()  # the CPU's allocator has no exception type of its own
        full = isinstance(fault, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in words
        if not full:
            raise
        raise TrainingError(
            f"memory ran out in stage {stage.name} with {stage.batch} photos of {stage.width}x{stage.height}; "
            "lower its batch, height and width"
        ) from None


def validate(module: nn.Module, material: Material, shards: Shards) -> tuple[float | None, float | None]:
    """Mean loss and accuracy on the held-out photos, or None where nothing is held out."""
    sums = _Epoch()

    def judge(batch: Batch) -> tuple[Batch, Tensor]:
        with torch.inference_mode():
            return batch, module(batch.inputs)

    with evaluating(module):
        for batch, logits in shards.side_by_side(judge, material.validation()):
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
