"""The loop learns, repeats itself, keeps what it should and stops when it should."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from carspotter.data.views import ViewRanges
from carspotter.errors import TrainingError
from carspotter.recipe import Stage
from carspotter.records import EpochRecord
from carspotter.training.augment import make_mixing, make_policy
from carspotter.training.classifier import Classifier, Head, Learner
from carspotter.training.freezing import Freezing
from carspotter.training.frozen import state_hash
from carspotter.training.loop import TrainUnit, evaluating, fit_stage
from carspotter.training.schedule import make_optimizer, parameter_groups
from carspotter.training.stage_data import Batch, BatchSampler, FeatureData, PhotoData, even_batches


def a_stage(**fields: object) -> Stage:
    given = {"name": "s", "epochs": 3, "height": 64, "width": 64, "batch": 8, "lr": 3e-3} | fields
    return Stage.model_validate(given)


def fit(
    classifier: Classifier, train, held_out, stage: Stage, *, policy: str = "none", shards: int = 1
) -> list[EpochRecord]:
    freezing = Freezing(classifier, stage.trains, freeze_batchnorm=stage.freeze_batchnorm)
    groups = parameter_groups(
        classifier.head, freezing.trained, lr=stage.lr, backbone_lr=stage.lr, layer_decay=1.0, weight_decay=0.0
    )
    stage_data = PhotoData(
        train,
        held_out,
        3,
        classifier.prepare,
        BatchSampler(stage.batch, shards, (1, 0)),
        ViewRanges(rotation=5, flip=True),
        make_policy(policy, 0.0),
        make_mixing(stage.mixup, stage.cutmix),
    )
    history: list[EpochRecord] = []
    unit = TrainUnit(
        Learner(classifier.body, classifier.head),
        freezing.train_mode,
        make_optimizer("adamw", groups, stage.lr),
        shards=shards,
        threads=shards,
    )
    fit_stage(unit, stage_data, stage, report=lambda record, _: history.append(record))
    return history


def test_training_learns(make_classifier, photo_set) -> None:
    history = fit(make_classifier(), photo_set(48), photo_set(18, seed=1), a_stage(epochs=6))
    assert history[-1].val_accuracy > 0.9
    assert history[-1].train_loss < history[0].train_loss
    assert len(history[0].batch_seconds) == 6


@pytest.mark.parametrize("extra", [{}, {"mixup": 0.2, "cutmix": 1.0, "ema": 0.9}])
def test_equal_trainings_give_equal_weights(extra: dict, make_classifier, photo_set) -> None:
    def weights(policy: str) -> str:
        classifier = make_classifier(dropout=0.5)
        fit(classifier, photo_set(16), photo_set(6, seed=1), a_stage(epochs=2, **extra), policy=policy)
        return state_hash(classifier.state_dict())

    assert weights("trivial") == weights("trivial") != weights("none")


def test_frozen_units_do_not_move_and_the_others_do(make_classifier, photo_set) -> None:
    classifier = make_classifier()
    low, high = classifier.backbone.blocks[1], classifier.backbone.blocks[2]
    before = state_hash(low.state_dict()), state_hash(high.state_dict())
    fit(classifier, photo_set(16), photo_set(6, seed=1), a_stage(epochs=1, trains="blocks.2"))
    assert state_hash(low.state_dict()) == before[0]
    assert state_hash(high.state_dict()) != before[1]


class _Scripted:
    """Data whose validation answers follow a script: one accuracy per epoch."""

    steps = 1

    def __init__(self, module: nn.Module, accuracies: list[float]) -> None:
        self._module = module
        self._accuracies = iter(accuracies)

    def training(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        labels = torch.tensor([0, 1, 0, 1])
        yield [Batch(torch.full((4, 2), float(epoch + 1)), torch.eye(2)[labels], labels)]

    def validation(self) -> Iterator[Batch]:
        right = round(10 * next(self._accuracies))
        with torch.no_grad():
            answer = int(self._module(torch.ones(1, 2)).argmax())
        labels = torch.tensor([answer] * right + [1 - answer] * (10 - right))
        yield Batch(torch.ones(10, 2), torch.eye(2)[labels], labels)


def scripted(accuracies: list[float], **fields: object) -> tuple[list[EpochRecord], list[torch.Tensor], nn.Linear]:
    torch.manual_seed(0)
    learner = Learner(nn.Identity(), Head(2, 2))
    module = learner.head.linear
    weights: list[torch.Tensor] = []
    history: list[EpochRecord] = []

    def report(record: EpochRecord, _: int) -> None:
        history.append(record)
        weights.append(module.weight.detach().clone())

    optimizer = make_optimizer("sgd", [{"params": list(module.parameters()), "full_lr": 0.1}], 0.1)
    unit = TrainUnit(learner, learner.train, optimizer)
    fit_stage(unit, _Scripted(learner, accuracies), a_stage(**fields), report=report)
    return history, weights, module


def test_best_epoch_is_handed_on() -> None:
    _, weights, module = scripted([0.5, 0.9, 0.7, 0.8], epochs=4, keep="best")
    assert torch.equal(module.weight, weights[1])
    assert not torch.equal(module.weight, weights[3])


def test_last_epoch_is_handed_on() -> None:
    _, weights, module = scripted([0.5, 0.9, 0.7, 0.8], epochs=4, keep="last")
    assert torch.equal(module.weight, weights[3])


def test_patience_ends_the_stage() -> None:
    history, _, _ = scripted([0.5, 0.9, 0.7, 0.9, 1.0, 1.0], epochs=6, early_stop=2)
    assert [record.val_accuracy for record in history] == [0.5, 0.9, 0.7, 0.9]


def test_not_a_number_is_one_clear_line(make_classifier, photo_set) -> None:
    classifier = make_classifier()
    with torch.no_grad():
        classifier.head.linear.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="loss became nan in stage s, epoch 1, batch 1; lower lr"):
        fit(classifier, photo_set(16), photo_set(6, seed=1), a_stage())


def test_average_is_judged_and_handed_on(make_classifier, photo_set) -> None:
    """With a decay near 1 after few steps the average stays near the start; the plain weights do not."""

    def moved(ema: float) -> float:
        classifier = make_classifier()
        before = classifier.head.linear.weight.detach().clone()
        fit(classifier, photo_set(64), photo_set(6, seed=1), a_stage(epochs=1, ema=ema, lr=1e-2))
        return (classifier.head.linear.weight.detach() - before).abs().max().item()

    assert 0 < moved(0.9999) < moved(0.0)


def test_nothing_held_out_is_no_fault(make_classifier, photo_set) -> None:
    history = fit(make_classifier(), photo_set(8), photo_set(0, seed=1), a_stage(epochs=1, keep="best"))
    assert history[0].val_accuracy is None


def test_evaluating_restores_every_mode() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    net[1].eval()
    with evaluating(net):
        assert not net[0].training
    assert net[0].training
    assert not net[1].training


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 65])
def test_batches_are_even_and_lose_nobody(count: int) -> None:
    parts = even_batches(np.arange(count), 32)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert max(map(len, parts)) <= 32
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_clipping_counts_only_what_is_stepped() -> None:
    """A unit frozen since an earlier stage still holds that stage's last gradient."""

    def moved(old: float) -> torch.Tensor:
        torch.manual_seed(0)
        learner = Learner(nn.Linear(2, 2).requires_grad_(False), Head(2, 2))
        learner.body.weight.grad = torch.full((2, 2), old)
        optimizer = make_optimizer("sgd", [{"params": list(learner.head.parameters()), "full_lr": 0.1}], 0.1)
        stage = a_stage(epochs=1, clip=0.01)
        fit_stage(
            TrainUnit(learner, learner.train, optimizer), frozen(torch.ones(1, 4, 2)), stage, report=lambda *_: None
        )
        return learner.head.linear.weight.detach()

    assert torch.equal(moved(0.0), moved(1000.0))


def frozen(views: torch.Tensor) -> FeatureData:
    labels = torch.arange(views.shape[1]) % 2
    nobody = Batch(torch.zeros(0, views.shape[2]), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    return FeatureData(list(views), torch.eye(2)[labels], labels, nobody, BatchSampler(4, 1, (0, 0)))


def test_epochs_walk_through_the_views() -> None:
    stage_data = frozen(torch.arange(6.0).reshape(2, 3, 1))
    seen = [
        sorted(float(x) for parts in stage_data.training(epoch) for part in parts for x in part.inputs)
        for epoch in range(3)
    ]
    assert seen == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert list(stage_data.validation()) == []
