"""The network of a training, as it begins."""

from __future__ import annotations

from typing import cast

import torch

from carspotter.records import BackboneCard
from carspotter.training.backbones import load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.stages import Course
from carspotter.training.units import find_freeze_point


def build(card: BackboneCard, course: Course) -> tuple[Classifier, BackboneCard]:
    """The network with fresh head weights, drawn from the recipe's seed.

    Raises:
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
    """
    recipe = course.recipe
    torch.manual_seed(recipe.seed)
    (_, first), head = course.stages[0], recipe.head
    backbone, card = load_backbone(card, height=first.height, width=first.width, drop_path=recipe.drop_path)
    for _, stage in course.stages:
        find_freeze_point(backbone, stage.trains)  # a wrong name is said now, not after an hour
    torch.manual_seed(recipe.seed)  # again: the first use of packaged weights draws numbers, later ones do not
    layers = Head(
        cast("int", backbone.num_features),
        len(course.train.classes),
        hidden=head.hidden,
        hidden_bias=head.hidden_bias,
        batchnorm=head.batchnorm,
        activation=head.activation,
        dropout=head.dropout,
        bias=head.bias,
    )
    classifier = Classifier(Body(backbone, head.pooling), layers, mean=card.mean, std=card.std)
    return classifier.to(memory_format=torch.channels_last), card
