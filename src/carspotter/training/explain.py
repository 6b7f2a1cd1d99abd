"""The map of a net whose head is not linear: gradients at the feature map, and the head as arrays."""

from __future__ import annotations

from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from carspotter.data.wording import one_line
from carspotter.errors import BundleError
from carspotter.evaluation.explain import Floats, HeadRows, head_rows
from carspotter.inference.bundle import WEIGHTS, Bundle
from carspotter.records import Pixels
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.build import make_head
from carspotter.training.classifier import Body, Classifier, Joint


def rows_of(classifier: Classifier) -> HeadRows | None:
    """The linear head of a net in training, for `inference.reference.make_reference`; None where it is not linear.

    With the pooling `own` the rows are given too: whoever uses them proves them on the photo
    (`evaluation.explain.agrees`).
    """
    state = classifier.head.state_dict()
    head = {name: tensor.float().cpu().numpy() for name, tensor in state.items()}
    return head_rows(head, sum(isinstance(layer, nn.Linear) for layer in classifier.head.body))


def gradient_map(bundle: Bundle, view: Pixels, answer: int, against: int) -> Floats:
    """What each cell of the feature map adds to the lead of one class over another, to first order.

    Feature times gradient of the lead, summed over channels (R. Draelos, L. Carin, "Use HiResCAM instead of Grad-CAM
    for faithful explanations of convolutional neural networks", 2020), with the lead as Finer-CAM has it
    (`evaluation/explain.py`). Behind average pooling the gradient is the same in every cell, so this is Grad-CAM with
    its negative part kept; for a linear head it is the exact map.

    Args:
        bundle: verified.
        view: (H, W, 3) of the card's geometry.
        answer: class index that the map speaks for.
        against: the other.

    Returns:
        (h, w), or (tokens,) of a net without a map; above 0 speaks for the answer.

    Raises:
        BackboneError: this version of timm does not know the bundle's network.
        BundleError: `model.safetensors` is missing, damaged or of another network.
    """
    classifier = load_classifier(bundle)
    with torch.no_grad():
        features = classifier.body.feature_map(classifier.prepare(torch.from_numpy(view[None].copy())))
    features.requires_grad_()
    logits = classifier.head(classifier.body.pool(features))
    (slope,) = torch.autograd.grad(logits[0, answer] - logits[0, against], features)
    product = (features.detach() * slope)[0].double()
    cells = product.sum(0) if product.ndim == 3 else product.sum(1)
    return cast("Floats", (cells * cells.numel()).numpy())


def load_classifier(bundle: Bundle) -> Classifier:
    """The net of a bundle as torch knows it, not training.

    Raises:
        BackboneError: timm knows no such network.
        BundleError: `model.safetensors` is missing, damaged or of another network.
    """
    card, head = bundle.card, bundle.card.recipe.head
    if WEIGHTS not in card.files:
        raise BundleError(f"{bundle.folder} has no {WEIGHTS}, which gradients need; copy the whole folder again")
    # A name that timm does not list is refused here: some of timm's prefixes would fetch from a hub.
    known = find_backbone(card.backbone.name, RANDOM)
    size = {"height": card.geometry.height, "width": card.geometry.width}
    nets = [load_backbone(known, **size)[0] for _ in range(card.members if card.join == "mean" else 1)]
    backbone = nets[0] if len(nets) == 1 else Joint(nets)
    layers = make_head(head, cast("int", backbone.num_features), len(card.classes))
    classifier = Classifier(Body(backbone, head.pooling), layers, mean=card.backbone.mean, std=card.backbone.std)
    try:
        classifier.load_state_dict(load(bundle.read(WEIGHTS)))
    except (SafetensorError, RuntimeError) as fault:
        raise BundleError(f"{bundle.folder}: {WEIGHTS} is not of its net: {one_line(fault)}; copy it again") from None
    return classifier.eval()
