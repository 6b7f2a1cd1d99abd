"""Heads are what their settings say; freezing leaves alone what it should."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import SelectAdaptivePool2d
from torch import nn

from carspotter.errors import BackboneError
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head, pool
from carspotter.training.freezing import Freezing
from carspotter.training.units import find_freeze_point, units


def kinds(head: Head) -> list[str]:
    return [type(layer).__name__ for layer in head.body] + ["Dropout", "Linear"]


def test_the_seeds_head() -> None:
    head = Head(1536, 10, hidden=128, hidden_bias=False, batchnorm=True, dropout=0.25)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert head.body[0].bias is None
    assert head.dropout.p == 0.25
    assert head(torch.zeros(2, 1536)).shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, []),
        ({"batchnorm": True}, ["BatchNorm1d"]),
        ({"hidden": 8}, ["Linear", "ReLU"]),
        ({"hidden": 8, "activation": "gelu"}, ["Linear", "GELU"]),
    ],
)
def test_every_head_is_a_setting(settings: dict, layers: list[str]) -> None:
    assert kinds(Head(16, 3, **settings))[: len(layers)] == layers


def test_last_bias_can_be_left_out() -> None:
    assert Head(4, 2, bias=False).linear.bias is None


def test_penalty_is_keras_kernel_regularisation() -> None:
    head = Head(2, 2, hidden=2)
    with torch.no_grad():
        head.body[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
        head.linear.weight.fill_(-1.0)
    assert head.penalty(0.1, 0.0).item() == pytest.approx(0.1 * (6 + 4))
    assert head.penalty(0.0, 0.01).item() == pytest.approx(0.01 * (14 + 4))


@pytest.mark.parametrize("kind", ["avg", "max", "avgmax"])
def test_pooling_agrees_with_timm(kind: str) -> None:
    features = torch.randn(2, 5, 3, 4)
    oracle = SelectAdaptivePool2d(pool_type=kind, flatten=True)(features)
    assert torch.allclose(pool(features, kind), oracle, atol=1e-6)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext", "legacy_xception"])
def test_networks_of_every_kind_fit(name: str) -> None:
    card = find_backbone(name, RANDOM)
    net, card = load_backbone(card, height=64, width=96)
    classifier = Classifier(Body(net, "avg"), Head(net.num_features, 3), mean=card.mean, std=card.std).eval()
    photos = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    assert classifier(classifier.prepare(photos)).shape == (2, 3)
    trained = {p for unit in Freezing(classifier, "all", freeze_batchnorm=False).trained for p in unit.parameters()}
    assert trained == set(net.parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_a_network_may_pool_its_own_way(name: str) -> None:
    card = find_backbone(name, RANDOM)
    net, card = load_backbone(card, height=64, width=64)
    classifier = Classifier(Body(net, "own"), Head(net.num_features, 3), mean=card.mean, std=card.std).eval()
    photos = classifier.prepare(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert torch.equal(classifier.body.pool(classifier.body.feature_map(photos)), net(photos))


def test_freeze_points_by_the_seeds_and_timms_names() -> None:
    net, card = load_backbone(find_backbone("tf_efficientnet_lite0", RANDOM), height=64, width=64)
    names = card.freeze_points
    assert names[find_freeze_point(net, "block5a")] == names[find_freeze_point(net, "blocks.4")] == "blocks.4"
    assert find_freeze_point(net, "all") == 0
    assert find_freeze_point(net, "head") == len(names)
    with pytest.raises(BackboneError, match=r"no freeze point 'block9a'; name .*'99%', or one of conv_stem"):
        find_freeze_point(net, "block9a")


def test_a_share_of_the_parameters_is_a_freeze_point_of_any_backbone() -> None:
    for name, first in (("tf_efficientnet_lite0", "blocks.2"), ("resnet18", "layer1")):
        net = timm.create_model(name, num_classes=0)
        parts = units(net)
        start = find_freeze_point(net, "99%")
        assert parts[start][0] == first
        sizes = [sum(p.numel() for p in module.parameters()) for _, module in parts]
        assert sum(sizes[start:]) >= 0.99 * sum(sizes) > sum(sizes[start + 1 :])
        assert find_freeze_point(net, "100%") == 0
        last = find_freeze_point(net, "1%")
        assert sum(sizes[last:]) >= 0.01 * sum(sizes) > sum(sizes[last + 1 :])
    for wrong in ("0%", "101%", "%", "9.5%", "-1%"):
        with pytest.raises(BackboneError, match="there is no freeze point"):
            find_freeze_point(net, wrong)


def test_freeze_points_of_xception() -> None:
    net, card = load_backbone(find_backbone("xception", RANDOM), height=64, width=64)
    assert card.freeze_points[find_freeze_point(net, "block5")] == "block5"


def test_half_frozen_counts_and_modes(make_classifier) -> None:
    classifier = make_classifier()
    freezing = Freezing(classifier, "blocks.2", freeze_batchnorm=False)
    summary = freezing.summary("half")
    assert summary.parameters + summary.parameters_frozen == sum(p.numel() for p in classifier.parameters())
    assert min(summary.parameters, summary.parameters_frozen, summary.batchnorm, summary.batchnorm_frozen) > 0
    assert not classifier.backbone.blocks[1].training
    assert classifier.backbone.blocks[2].training
    assert not any(p.requires_grad for p in classifier.backbone.blocks[1].parameters())
    assert "trains from blocks.2" in str(summary)


def test_statistics_can_stay_while_weights_train(make_classifier) -> None:
    summary = Freezing(make_classifier(batchnorm=True), "all", freeze_batchnorm=True).summary("all")
    assert summary.batchnorm == 1  # the head's own
    assert summary.parameters_frozen == 0


def test_head_only_freezes_what_is_in_no_unit(make_classifier) -> None:
    net, card = load_backbone(find_backbone("test_vit", RANDOM), height=64, width=64)
    classifier = Classifier(Body(net, "avg"), Head(net.num_features, 3), mean=card.mean, std=card.std)
    freezing = Freezing(classifier, "head", freeze_batchnorm=False)
    assert freezing.head_only
    assert not any(p.requires_grad for p in net.parameters())
    assert all(p.requires_grad for p in classifier.head.parameters())


def test_a_stage_after_a_frozen_one_trains_again(make_classifier) -> None:
    classifier = make_classifier()
    Freezing(classifier, "head", freeze_batchnorm=False)
    Freezing(classifier, "all", freeze_batchnorm=False)
    assert all(p.requires_grad for p in classifier.parameters())
    assert isinstance(classifier.head.linear, nn.Linear)
