"""What a stage trains and what it leaves alone."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from carspotter.records import FreezeSummary
from carspotter.training.classifier import Classifier
from carspotter.training.units import find_freeze_point, units


class Freezing:
    """A classifier with its lower units frozen.

    Args:
        classifier: its parameters' `requires_grad` is set here.
        point: see `find_freeze_point`.
        freeze_batchnorm: keep the statistics of the backbone's BatchNorms even where their weights train.
    """

    def __init__(self, classifier: Classifier, point: str, *, freeze_batchnorm: bool) -> None:
        self.classifier = classifier
        self.point = point
        self._freeze_batchnorm = freeze_batchnorm
        parts = [module for _, module in units(classifier.backbone)]
        start = find_freeze_point(classifier.backbone, point)
        self.frozen, self.trained = parts[:start], parts[start:]
        if start == 0:  # a ViT's tokens and positions belong to no module; they come before the first unit
            inside = {p for part in parts for p in part.parameters()}
            loose = [p for p in classifier.backbone.parameters() if p not in inside]
            self.trained = [nn.ParameterList(loose), *parts] if loose else parts
        classifier.requires_grad_(True)
        classifier.backbone.requires_grad_(False)
        for unit in self.trained:
            unit.requires_grad_(True)

    @property
    def head_only(self) -> bool:
        """Whether no unit of the backbone trains, so that its output can be computed once."""
        return not self.trained

    def train_mode(self) -> None:
        """Training mode for what trains; frozen units keep their statistics and drop nothing."""
        self.classifier.train()
        for unit in self.frozen:
            unit.eval()
        if self._freeze_batchnorm:
            for layer in self.classifier.backbone.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()

    def summary(self, stage: str) -> FreezeSummary:
        """Counts of what trains and what does not."""
        self.train_mode()
        parameters = list(self.classifier.parameters())
        layers = [m for m in self.classifier.modules() if any(True for _ in m.parameters(recurse=False))]
        norms = [m for m in self.classifier.modules() if isinstance(m, _BatchNorm)]
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        training = sum(_trains(layer) for layer in layers)
        moving = sum(norm.training for norm in norms)
        return FreezeSummary(
            stage=stage,
            trains_from=self.point,
            parameters=trainable,
            parameters_frozen=sum(p.numel() for p in parameters) - trainable,
            layers=training,
            layers_frozen=len(layers) - training,
            batchnorm=moving,
            batchnorm_frozen=len(norms) - moving,
        )


def _trains(layer: nn.Module) -> bool:
    return any(p.requires_grad for p in layer.parameters(recurse=False))
