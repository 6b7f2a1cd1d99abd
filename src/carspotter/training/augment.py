"""Stronger policies on a batch of photos, and mixing of photos. Seed-style views live in `data/views.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torchvision.transforms import v2

BatchTransform = Callable[[Tensor], Tensor]
Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_policy(name: str, erase: float) -> BatchTransform | None:
    """A policy applied photo by photo to a (N, H, W, 3) uint8 batch, drawing from torch's global generator.

    `trivial` is TrivialAugmentWide (Müller & Hutter 2021), `rand` RandAugment with its defaults (Cubuk et al. 2019),
    `erase` the probability of Random Erasing (Zhong et al. 2017) with grey.

    Returns:
        The policy, or None where there is nothing to do.
    """
    steps: list[torch.nn.Module] = []
    if name != "none":
        kinds = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
        steps.append(kinds[name](interpolation=v2.InterpolationMode.BILINEAR, fill=128))
    if erase:
        steps.append(v2.RandomErasing(p=erase, value=128))
    if not steps:
        return None
    each = v2.Compose(steps)

    def apply(photos: Tensor) -> Tensor:
        views = [cast("Tensor", each(photo)) for photo in photos.permute(0, 3, 1, 2)]
        return torch.stack(views).permute(0, 2, 3, 1)

    return apply


def make_mixing(mixup: float, cutmix: float) -> Mixing | None:
    """Mixup (Zhang et al. 2017) and CutMix (Yun et al. 2019); where both are wanted, one of them per batch.

    Returns:
        ((N, C, H, W) inputs, (N, K) targets) → mixed inputs and targets, or None. Mixup takes (N, T, C) tokens as well;
        CutMix cuts rectangles, which tokens have none of.
    """
    kinds: list[Mixing] = []
    if mixup:
        kinds.append(_mixup(mixup))
    if cutmix:
        kinds.append(cast("Mixing", v2.CutMix(alpha=cutmix)))
    if not kinds:
        return None
    return kinds[0] if len(kinds) == 1 else cast("Mixing", v2.RandomChoice(kinds))


def _mixup(alpha: float) -> Mixing:
    """What torchvision does to maps, value by value, is right for tokens (N, T, C) as well; it takes maps alone."""
    mix = cast("Mixing", v2.MixUp(alpha=alpha))

    def apply(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if inputs.ndim == 4:
            return mix(inputs, targets)
        mixed, wanted = mix(inputs.reshape(len(inputs), -1, 1, 1), targets)
        return mixed.reshape(inputs.shape), wanted

    return apply
