"""The classifier: a backbone, a pooling, and a head. Every head the seed tried is a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

Pooling = Literal["avg", "max", "avgmax", "own"]
Activation = Literal["relu", "silu", "gelu"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


class Head(nn.Module):
    """From a pooled vector to logits, with an optional hidden layer.

    The seed's is `hidden=128, hidden_bias=False, batchnorm=True, dropout=0.25`:
    GAP → Dense(no bias) → BatchNorm → ReLU → Dropout → Dense.

    Args:
        features: length of the pooled vector.
        classes: number of logits.
        hidden: width of the hidden layer; 0 makes the head linear.
        hidden_bias: bias of the hidden layer.
        batchnorm: BatchNorm after the hidden layer, or before the linear one.
        activation: after the hidden layer.
        dropout: share of the last layer's inputs dropped in training.
        bias: bias of the last layer.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each thing the seed tried
        self,
        features: int,
        classes: int,
        *,
        hidden: int = 0,
        hidden_bias: bool = True,
        batchnorm: bool = False,
        activation: Activation = "relu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        width = hidden or features
        body: list[nn.Module] = []
        if hidden:
            body.append(nn.Linear(features, hidden, bias=hidden_bias))
        if batchnorm:
            body.append(nn.BatchNorm1d(width))
        if hidden:
            body.append(_ACTIVATIONS[activation]())
        self.body = nn.Sequential(*body)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes, bias=bias)

    def embed(self, pooled: Tensor) -> Tensor:
        """(N, features) → (N, D), the input of the last linear layer."""
        return cast("Tensor", self.body(pooled))

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, features) → (N, classes) logits."""
        return cast("Tensor", self.linear(self.dropout(self.embed(pooled))))

    def penalty(self, l1: float, l2: float) -> Tensor:
        """Keras-style kernel regularisation: l1·Σ|w| + l2·Σw² over the head's matrices."""
        matrices = [layer.weight for layer in self.modules() if isinstance(layer, nn.Linear)]
        total = torch.zeros((), device=matrices[0].device)
        for weight in matrices:
            total = total + l1 * weight.abs().sum() + l2 * weight.square().sum()
        return total


class Body(nn.Module):
    """A backbone and its pooling: prepared photos in, one vector each out.

    Args:
        backbone: a timm network without classifier.
        pooling: how the feature map becomes one vector.
    """

    def __init__(self, backbone: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.channels_last_map = getattr(backbone, "output_fmt", "NCHW") == "NHWC"  # Swin and its kin

    def feature_map(self, prepared: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C, h, w), or (N, tokens, C) for networks that have no map."""
        features = cast("Tensor", self.backbone.forward_features(prepared))  # type: ignore[operator]
        return features.permute(0, 3, 1, 2) if self.channels_last_map and features.ndim == 4 else features

    def pool(self, features: Tensor) -> Tensor:
        """A feature map → (N, C)."""
        if self.pooling != "own":
            return pool(features, self.pooling)
        own = features.permute(0, 2, 3, 1) if self.channels_last_map and features.ndim == 4 else features
        return cast("Tensor", self.backbone.forward_head(own, pre_logits=True))  # type: ignore[operator]

    def forward(self, prepared: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C)."""
        return self.pool(self.feature_map(prepared))


class Joint(nn.Module):
    """Several backbones side by side; their maps lie one behind the other in the channels of one.

    A linear head over such a map whose rows are the members' own, divided by their number, gives the mean of their
    logits: an ensemble that every other part takes for one network.

    Args:
        members: backbones of one kind.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.num_features = sum(cast("int", member.num_features) for member in members)
        self.output_fmt = getattr(members[0], "output_fmt", "NCHW")

    def forward_features(self, prepared: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, sum of C, h, w), or the members' own layout with the sum of their channels."""
        maps = [member.forward_features(prepared) for member in self.members]  # type: ignore[operator]
        return torch.cat(maps, 1 if maps[0].ndim == 4 and self.output_fmt == "NCHW" else -1)


class Learner(nn.Module):
    """What a stage trains: a body that makes a vector of each input, and the head on top.

    Args:
        body: a `Body`, its upper part, or an identity where the vectors were computed once.
        head: vectors → logits.
    """

    def __init__(self, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """The body's inputs → (N, K) logits."""
        return cast("Tensor", self.head(self.body(inputs)))


class Classifier(nn.Module):
    """Photos in, logits out; normalisation is inside, so nobody can apply it twice.

    Args:
        body: backbone and pooling.
        head: takes the pooled vector.
        mean: of RGB in 0..1, the backbone's own.
        std: of RGB in 0..1, the backbone's own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: Body, head: Head, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def backbone(self) -> nn.Module:
        """The network below the pooling."""
        return self.body.backbone

    def prepare(self, photos: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float, normalised, channels last in memory."""
        here = photos.to(self.mean.device)
        return (here.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def forward(self, prepared: Tensor) -> Tensor:
        """(N, 3, H, W) prepared photos → (N, K) logits."""
        return cast("Tensor", self.head(self.body(prepared)))


def pool(features: Tensor, pooling: Literal["avg", "max", "avgmax"]) -> Tensor:
    """(N, C, h, w) or (N, tokens, C) → (N, C).

    `avgmax` is the mean of both, as timm's. `own` is no matter of arrays: the network pools and norms itself.
    """
    flat = features.flatten(2) if features.ndim == 4 else features.transpose(1, 2)
    if pooling == "avg":
        return flat.mean(-1)
    if pooling == "max":
        return flat.amax(-1)
    return 0.5 * (flat.mean(-1) + flat.amax(-1))
