"""The network of a training, as it begins."""

from __future__ import annotations

from typing import cast

import torch

from carspotter.recipe import HeadRecipe
from carspotter.records import BackboneCard
from carspotter.training.backbones import load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.stages import TrainingPlan
from carspotter.training.units import find_freeze_point


def build(card: BackboneCard, plan: TrainingPlan) -> tuple[Classifier, BackboneCard]:
    """The network with fresh head weights, drawn from the recipe's seed.

    Raises:
        BackboneError: the backbone cannot be loaded, or has not a freeze point that a stage names.
    """
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    (_, first), head = plan.stages[0], recipe.head
    backbone, card = load_backbone(card, height=first.height, width=first.width, drop_path=recipe.drop_path)
    for _, stage in plan.stages:
        find_freeze_point(backbone, stage.trains)  # a wrong name is said now, not after an hour
    torch.manual_seed(recipe.seed)  # again: the first use of packaged weights draws numbers, later ones do not
    layers = make_head(head, cast("int", backbone.num_features), len(plan.train.classes))
    classifier = Classifier(Body(backbone, head.pooling), layers, mean=card.mean, std=card.std)
    return classifier.to(memory_format=torch.channels_last), card


def make_head(recipe: HeadRecipe, features: int, classes: int) -> Head:
    """A recipe's head with fresh weights.

    Args:
        recipe: of the head.
        features: length of the pooled vector.
        classes: number of logits.
    """
    return Head(
        features,
        classes,
        hidden=recipe.hidden,
        hidden_bias=recipe.hidden_bias,
        batchnorm=recipe.batchnorm,
        activation=recipe.activation,
        dropout=recipe.dropout,
        bias=recipe.bias,
    )
