"""Rates follow their formulas, groups get the rates they should."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from carspotter.recipe import ScheduleRecipe
from carspotter.training.schedule import make_optimizer, parameter_groups, rate_factor, without_decay


def factors(epochs: int, **schedule: object) -> list[float]:
    return [rate_factor(ScheduleRecipe(**schedule), epoch, epochs) for epoch in range(epochs)]


def test_steps_are_the_seeds_formula() -> None:
    u, drop = math.exp(-0.1), 3
    assert factors(9, kind="steps") == pytest.approx([u ** math.floor((1 + e) / drop) for e in range(9)])


def test_steps_hold_within_an_epoch() -> None:
    steps = ScheduleRecipe(kind="steps", every=1, factor=0.5)
    assert rate_factor(steps, 2.0, 9) == rate_factor(steps, 2.99, 9) == 0.125


def test_cosine_goes_from_full_to_floor() -> None:
    cosine = ScheduleRecipe(kind="cosine", floor=0.1)
    assert rate_factor(cosine, 0, 10) == 1.0
    assert rate_factor(cosine, 5, 10) == pytest.approx(0.55)
    assert rate_factor(cosine, 10, 10) == pytest.approx(0.1)


def test_warmup_rises_and_meets_the_schedule() -> None:
    warm = ScheduleRecipe(kind="cosine", warmup=0.2)
    assert [rate_factor(warm, e, 10) for e in (0, 1, 2)] == pytest.approx([0.0, 0.5, 1.0])


def test_one_cycle_agrees_with_torch() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, final_div_factor=1e9, pct_start=0.3
    )
    mine, oracle = [], []
    for step in range(101):
        oracle.append(optimizer.param_groups[0]["lr"])
        mine.append(rate_factor(ScheduleRecipe(kind="onecycle"), step, 100))
        optimizer.step()
        if step < 100:
            theirs.step()
    assert mine == pytest.approx(oracle, abs=0.03)


def test_plateau_agrees_with_torch() -> None:
    losses = [1.0, 0.9, 0.95, 0.94, 0.93, 0.92, 0.8, 0.81, 0.82, 0.83]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.0)
    plateau = ScheduleRecipe(kind="plateau", factor=0.5, patience=2)
    for done in range(1, len(losses) + 1):
        theirs.step(losses[done - 1])
        assert rate_factor(plateau, done, 20, losses[:done]) == optimizer.param_groups[0]["lr"]


def test_groups_decay_downwards_and_spare_biases() -> None:
    head, low, high = nn.Linear(4, 2), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
    groups = parameter_groups(head, [low, high], lr=1.0, backbone_lr=0.1, layer_decay=0.5, weight_decay=0.01)
    found = {id(p): (g["full_lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found[id(head.weight)] == (1.0, 0.01)
    assert found[id(head.bias)] == (1.0, 0.0)
    assert found[id(high.weight)] == (0.1, 0.01)
    assert found[id(low.weight)] == (0.05, 0.01)
    assert len(found) == 6


def test_tokens_and_positions_do_not_decay() -> None:
    net = timm.create_model("test_vit", num_classes=0)
    spared = without_decay(net)
    assert {net.cls_token, net.pos_embed} <= spared
    assert not without_decay(nn.Linear(4, 2))
    loose = nn.ParameterList([net.cls_token, net.pos_embed])
    groups = parameter_groups(
        nn.Linear(4, 2), [loose, net.blocks], lr=1.0, backbone_lr=0.1, layer_decay=1.0, weight_decay=0.01, spared=spared
    )
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay[id(net.cls_token)] == decay[id(net.pos_embed)] == 0
    assert decay[id(net.blocks[0].attn.qkv.weight)] == 0.01


def test_frozen_parameters_are_in_no_group() -> None:
    head, unit = nn.Linear(4, 2), nn.Conv2d(3, 4, 1)
    unit.requires_grad_(False)
    groups = parameter_groups(head, [unit], lr=1.0, backbone_lr=0.1, layer_decay=1.0, weight_decay=0.0)
    assert sum(len(g["params"]) for g in groups) == 2


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamax", "nadam", "adamw", "sgd"])
def test_every_optimiser_goes_downhill(name: str) -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = make_optimizer(name, [{"params": [weight], "full_lr": 0.1}], 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert weight.item() ** 2 < 0.9
