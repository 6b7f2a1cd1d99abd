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
from carspotter.training.augment import Mixing
from carspotter.training.material import Material
from carspotter.training.schedule import rate_factor

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Trainee:
    """What a stage trains.

    Attributes:
        module: takes the material's inputs and gives logits.
        train_mode: puts the module into training mode with the frozen parts still.
        optimizer: its groups carry their full rate under `full_lr`.
        penalty: a term added to the loss.
        mixing: mixes photos and targets, or None.
    """

    module: nn.Module
    train_mode: Callable[[], None]
    optimizer: torch.optim.Optimizer
    penalty: Callable[[], Tensor] | None = None
    mixing: Mixing | None = None


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
    trainee: Trainee, material: Material, stage: Stage, *, seed: int, report: Callable[[EpochRecord, int], None]
) -> None:
    """Train until the epochs are over or patience is; the module ends with the weights that `stage.keep` asks for.

    Every epoch is a pure function of the weights, the optimiser's state, the seed and its number.

    Args:
        trainee: the module and how it is trained.
        material: batches.
        stage: epochs, rates, patience and so on.
        seed: of everything random within the stage.
        report: called with each finished epoch and the number of epochs planned.

    Raises:
        TrainingError: a loss is not a number.
    """
    averaged = ModelEmaV3(trainee.module, decay=stage.ema, use_warmup=True) if stage.ema else None
    judged = averaged.module if averaged else trainee.module
    val_losses: list[float] = []
    best_accuracy, best_state, waited = -1.0, None, 0

    for epoch in range(stage.epochs):
        started = time.perf_counter()
        # 1. All randomness of the epoch starts here: dropout, mixing, policies draw from torch's generator.
        torch.manual_seed(seed * 100_003 + epoch)
        trainee.train_mode()
        sums, rate = _train_epoch(trainee, material, stage, epoch, val_losses, averaged)

        # 2. Validation sees plain photos, with the weights that would be handed on.
        val_loss, val_accuracy = validate(judged, material)
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
        trainee.module.load_state_dict(best_state or judged.state_dict())


def _train_epoch(
    trainee: Trainee, material: Material, stage: Stage, epoch: int, val_losses: list[float], averaged: ModelEmaV3 | None
) -> tuple[_Epoch, float]:
    """Every batch once; the sums and the last learning rate of the head."""
    sums, factor = _Epoch(), 0.0
    started = time.perf_counter()
    for step, (inputs, labels) in enumerate(material.training(epoch)):
        factor = rate_factor(stage.schedule, epoch + (step + 0.5) / material.steps, stage.epochs, val_losses)
        for group in trainee.optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        loss, logits = _step(trainee, inputs, labels, stage)
        _must_be_finite(loss, stage, epoch, f"batch {step + 1}")
        if averaged is not None:
            averaged.update(trainee.module, step=epoch * material.steps + step)
        sums.add(loss, logits, labels)
        now = time.perf_counter()
        sums.batch_seconds.append(now - started)
        started = now
    return sums, stage.lr * factor


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


def _step(trainee: Trainee, inputs: Tensor, labels: Tensor, stage: Stage) -> tuple[float, Tensor]:
    """One update; the loss before it, and the logits of what the net saw."""
    targets = labels
    if trainee.mixing is not None:
        inputs, targets = trainee.mixing(inputs, labels)
    logits = trainee.module(inputs)
    loss = F.cross_entropy(logits, targets, label_smoothing=stage.label_smoothing)
    if trainee.penalty is not None:
        loss = loss + trainee.penalty()
    trainee.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if stage.clip:
        # Only what is stepped: a unit frozen since an earlier stage still holds that stage's last gradient.
        stepped = [p for group in trainee.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(stepped, stage.clip)
    trainee.optimizer.step()
    return float(loss.detach()), logits.detach()


def validate(module: nn.Module, material: Material) -> tuple[float | None, float | None]:
    """Mean loss and accuracy on the held-out photos, or None where nothing is held out."""
    sums = _Epoch()
    with evaluating(module):
        for inputs, labels in material.validation():
            logits = module(inputs)
            sums.add(float(F.cross_entropy(logits, labels)), logits, labels)
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
