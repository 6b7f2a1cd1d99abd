"""The finder of cars: a packaged ImageNet network that was shown many vehicles, asked where it sees one.

The map of what its pooled features say for vehicles rather than for anything else is a class activation map (B. Zhou et
al., "Learning deep features for discriminative localization", CVPR 2016); it needs no boxes to learn from.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from carspotter.inference.finder import NetFinder
from carspotter.recipe import Recipe
from carspotter.records import Geometry
from carspotter.training.backbones import find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.export import exported
from carspotter.training.weights import read_weights, weight_file

NET = "tf_efficientnet_lite0"
GEOMETRY = Geometry(height=240, width=320)
"""A map of 8 x 10 cells. Assumption: a smaller one would make boxes too coarse; none was tried."""
VEHICLES = {
    "beach wagon": 436,
    "cab": 468,
    "car wheel": 479,
    "convertible": 511,
    "grille": 581,
    "jeep": 609,
    "limousine": 627,
    "minibus": 654,
    "minivan": 656,
    "Model T": 661,
    "pickup": 717,
    "police van": 734,
    "racer": 751,
    "sports car": 817,
    "tow truck": 864,
}
"""ImageNet classes (ILSVRC 2012, by their numbers) that are cars or parts by which a car is known."""


def finder_for(recipe: Recipe) -> NetFinder | None:
    """The finder that a recipe's photos need; None where they are shown whole.

    Raises:
        BackboneError: the packaged weights are not here.
    """
    return make_finder() if recipe.frame == "car" else None


@cache
def make_finder() -> NetFinder:
    """The finder, made once per process (3 s).

    Raises:
        BackboneError: the packaged weights are not here, or altered.
    """
    card = find_backbone(NET)
    rows = read_weights(weight_file(card))["classifier.weight"]
    backbone, card = load_backbone(card, height=GEOMETRY.height, width=GEOMETRY.width)
    speaking = rows[list(VEHICLES.values())].mean(0) - rows.mean(0)
    net = Classifier(Body(_OneMap(backbone, speaking), "avg"), _through(), mean=card.mean, std=card.std)
    return NetFinder(exported(net, GEOMETRY))


class _OneMap(nn.Module):
    """A backbone whose feature map is weighed into one channel."""

    row: Tensor

    def __init__(self, backbone: nn.Module, row: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("row", row.view(1, -1, 1, 1))

    def forward_features(self, prepared: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, 1, h, w)."""
        return F.conv2d(self.backbone.forward_features(prepared), self.row)  # type: ignore[operator]


def _through() -> Head:
    """A head that says what it is given: a runtime expects one."""
    head = Head(1, 1, bias=False)
    with torch.no_grad():
        head.linear.weight.fill_(1.0)
    return head
