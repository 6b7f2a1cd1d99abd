"""Learning rate schedules as pure functions, optimisers by name, and per-unit rates.

A rate is a function of how far the stage has come, so a resumed training needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from carspotter.recipe import ScheduleRecipe


def rate_factor(schedule: ScheduleRecipe, epoch: float, epochs: int, val_losses: Sequence[float] = ()) -> float:
    """The learning rate as a share of the full one.

    Args:
        schedule: kind and its constants.
        epoch: how far the stage has come, in epochs, counted within the epoch too (2.5: in the middle of the third).
        epochs: length of the stage.
        val_losses: validation loss of each finished epoch; only `plateau` looks at it.
    """
    progress = min(1.0, epoch / max(1, epochs))
    if schedule.warmup and progress < schedule.warmup:
        return progress / schedule.warmup
    if schedule.kind == "steps":
        # The seed's LearningRateScheduler: LR · u^floor((1 + epoch) / drop), u = e^-0.1, constant within an epoch.
        return schedule.factor ** math.floor((1 + math.floor(epoch)) / schedule.every)
    if schedule.kind == "plateau":
        return schedule.factor ** _plateaus(val_losses, schedule.patience)
    if schedule.kind == "cosine":
        return _cosine(_after(progress, schedule.warmup), schedule.floor)
    if schedule.kind == "onecycle":
        return _one_cycle(_after(progress, schedule.warmup), schedule.floor)
    return 1.0


def _after(progress: float, warmup: float) -> float:
    return (progress - warmup) / (1 - warmup)


def _cosine(progress: float, floor: float) -> float:
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float, floor: float) -> float:
    """Up from 1/25 for the first 30 %, then down (Smith & Topin 2018; shares and start are torch's defaults)."""
    rise = 0.3
    if progress < rise:
        return 1 - (1 - 1 / 25) * 0.5 * (1 + math.cos(math.pi * progress / rise))
    return _cosine((progress - rise) / (1 - rise), floor)


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """How often the loss went `patience` epochs without a new best (Keras' ReduceLROnPlateau)."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= patience:
            count, waited = count + 1, 0
    return count


def make_optimizer(name: str, groups: Iterable[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """An optimiser by the recipe's name; SGD has momentum 0.9 with Nesterov's look-ahead (Sutskever et al. 2013)."""
    params = list(groups)
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adam": lambda: torch.optim.Adam(params, lr=lr),
        "amsgrad": lambda: torch.optim.Adam(params, lr=lr, amsgrad=True),
        "adamax": lambda: torch.optim.Adamax(params, lr=lr),
        "nadam": lambda: torch.optim.NAdam(params, lr=lr),
        "adamw": lambda: torch.optim.AdamW(params, lr=lr),
        "sgd": lambda: torch.optim.SGD(params, lr=lr, momentum=0.9, nesterov=True),
    }
    return makers[name]()


def parameter_groups(
    head: nn.Module,
    trained_units: Sequence[nn.Module],
    *,
    lr: float,
    backbone_lr: float,
    layer_decay: float,
    weight_decay: float,
    spared: frozenset[nn.Parameter] = frozenset(),
) -> list[dict[str, Any]]:
    """One group per unit and kind, each with its full learning rate under `full_lr`.

    Matrices and kernels decay, biases and norms do not. The backbone's last unit learns at `backbone_lr`, each unit
    further down at `layer_decay` of the one above (Howard & Ruder 2018's discriminative rates).

    Args:
        head: learns at `lr`.
        trained_units: of the backbone, in forward order.
        lr: full rate of the head.
        backbone_lr: full rate of the last unit.
        layer_decay: share from one unit to the one below.
        weight_decay: of tensors with two dimensions or more.
        spared: of these, those that do not decay (`without_decay`).
    """
    groups = _by_decay(head, lr, weight_decay, spared)
    for depth, unit in enumerate(reversed(trained_units)):
        groups += _by_decay(unit, backbone_lr * layer_decay**depth, weight_decay, spared)
    return groups


def without_decay(backbone: nn.Module) -> frozenset[nn.Parameter]:
    """What a timm network says must not decay though it is no bias: tokens, positions and the like."""
    told = getattr(backbone, "no_weight_decay", None)
    names = told() if callable(told) else ()
    return frozenset(parameter for name, parameter in backbone.named_parameters() if name in names)


def _by_decay(
    module: nn.Module, full_lr: float, weight_decay: float, spared: frozenset[nn.Parameter]
) -> list[dict[str, Any]]:
    params = [p for p in module.parameters() if p.requires_grad]
    decaying = [p for p in params if p.ndim > 1 and p not in spared]
    others = [p for p in params if p.ndim <= 1 or p in spared]
    kinds = ((weight_decay, decaying), (0.0, others))
    return [{"params": some, "full_lr": full_lr, "lr": full_lr, "weight_decay": decay} for decay, some in kinds if some]
