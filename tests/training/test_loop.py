"""The loop learns, repeats itself, keeps what it should and stops when it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from carspotter.data.views import ViewRanges
from carspotter.errors import TrainingError
from carspotter.recipe import Stage
from carspotter.records import EpochRecord
from carspotter.training.augment import make_mixing, make_policy
from carspotter.training.classifier import Classifier
from carspotter.training.feature_cache import pooled_features, state_hash
from carspotter.training.freezing import Freezing
from carspotter.training.loop import Trainee, evaluating, fit_stage
from carspotter.training.material import Batch, FeatureMaterial, PhotoMaterial, even_batches
from carspotter.training.schedule import make_optimizer, parameter_groups


def a_stage(**fields: object) -> Stage:
    given = {"name": "s", "epochs": 3, "height": 64, "width": 64, "batch": 8, "lr": 3e-3} | fields
    return Stage.model_validate(given)


def fit(classifier: Classifier, train, held_out, stage: Stage, *, policy: str = "none") -> list[EpochRecord]:
    freezing = Freezing(classifier, stage.trains, freeze_batchnorm=stage.freeze_batchnorm)
    groups = parameter_groups(
        classifier.head, freezing.trained, lr=stage.lr, backbone_lr=stage.lr, layer_decay=1.0, weight_decay=0.0
    )
    material = PhotoMaterial(
        train,
        held_out,
        classifier.prepare,
        batch=stage.batch,
        ranges=ViewRanges(rotation=5, flip=True),
        policy=make_policy(policy, 0.0),
        seed=(1, 0),
    )
    history: list[EpochRecord] = []
    trainee = Trainee(
        classifier,
        freezing.train_mode,
        make_optimizer("adamw", groups, stage.lr),
        mixing=make_mixing(3, stage.mixup, stage.cutmix),
    )
    fit_stage(trainee, material, stage, seed=1, report=lambda record, _: history.append(record))
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
    """A material whose validation answers follow a script: one accuracy per epoch."""

    steps = 1

    def __init__(self, module: nn.Linear, accuracies: list[float]) -> None:
        self._module = module
        self._accuracies = iter(accuracies)

    def training(self, epoch: int) -> Iterator[Batch]:
        yield torch.full((4, 2), float(epoch + 1)), torch.tensor([0, 1, 0, 1])

    def validation(self) -> Iterator[Batch]:
        right = round(10 * next(self._accuracies))
        with torch.no_grad():
            answer = int(self._module(torch.ones(1, 2)).argmax())
        yield torch.ones(10, 2), torch.tensor([answer] * right + [1 - answer] * (10 - right))


def scripted(accuracies: list[float], **fields: object) -> tuple[list[EpochRecord], list[torch.Tensor], nn.Linear]:
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    weights: list[torch.Tensor] = []
    history: list[EpochRecord] = []

    def report(record: EpochRecord, _: int) -> None:
        history.append(record)
        weights.append(module.weight.detach().clone())

    optimizer = make_optimizer("sgd", [{"params": list(module.parameters()), "full_lr": 0.1}], 0.1)
    trainee = Trainee(module, module.train, optimizer)
    fit_stage(trainee, _Scripted(module, accuracies), a_stage(**fields), seed=0, report=report)
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


def test_features_are_computed_once(make_classifier, photo_set, tmp_path) -> None:
    classifier, photos = make_classifier(), photo_set(6)
    calls: list[int] = []
    original: Callable = classifier.feature_map

    def counted(prepared: torch.Tensor) -> torch.Tensor:
        calls.append(len(prepared))
        return original(prepared)

    classifier.feature_map = counted  # type: ignore[method-assign]
    settings = {"ranges": ViewRanges(flip=True), "views": 2, "seed": 0, "folder": tmp_path / "features"}
    first = pooled_features(classifier, photos, **settings)
    second = pooled_features(classifier, photos, **settings)
    assert calls == [6, 6]
    assert torch.equal(first, second)
    assert first.shape == (2, 6, 256)


def test_features_of_other_weights_or_views_are_others(make_classifier, photo_set, tmp_path) -> None:
    photos = photo_set(4)
    settings = {"ranges": ViewRanges(rotation=9), "views": 1, "folder": tmp_path}
    base = pooled_features(make_classifier(), photos, seed=0, **settings)
    assert not torch.equal(base, pooled_features(make_classifier(seed=1), photos, seed=0, **settings))
    assert not torch.equal(base, pooled_features(make_classifier(), photos, seed=1, **settings))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_damaged_features_are_computed_again(make_classifier, photo_set, tmp_path) -> None:
    settings = {"ranges": None, "views": 1, "seed": 0, "folder": tmp_path / "features"}
    good = pooled_features(make_classifier(), photo_set(3), **settings)
    (stored,) = (tmp_path / "features").glob("*.safetensors")
    stored.write_bytes(stored.read_bytes()[:-9])
    assert torch.equal(pooled_features(make_classifier(), photo_set(3), **settings), good)


def test_stored_features_stay_within_their_limit(make_classifier, photo_set, tmp_path, monkeypatch) -> None:
    from carspotter.training import feature_cache

    monkeypatch.setattr(feature_cache, "MAX_BYTES", 10_000)
    for seed in range(4):
        pooled_features(make_classifier(), photo_set(4), ranges=ViewRanges(), views=1, seed=seed, folder=tmp_path)
    assert sum(p.stat().st_size for p in tmp_path.glob("*.safetensors")) <= 10_000


def test_another_process_may_clear_the_features_at_the_same_time(make_classifier, photo_set, tmp_path) -> None:
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "removed between the look and the question")
    pooled_features(make_classifier(), photo_set(4), ranges=None, views=1, seed=0, folder=tmp_path)
    assert len([p for p in tmp_path.glob("*.safetensors") if p.is_file()]) == 1


def test_features_of_another_library_version_are_computed_again(
    make_classifier, photo_set, tmp_path, monkeypatch
) -> None:
    from carspotter.training import feature_cache

    settings = {"ranges": None, "views": 1, "seed": 0, "folder": tmp_path}
    pooled_features(make_classifier(), photo_set(3), **settings)
    monkeypatch.setattr(feature_cache, "MADE_BY", "another torch")
    pooled_features(make_classifier(), photo_set(3), **settings)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_features_of_all_views_are_one_progress(make_classifier, photo_set) -> None:
    told: list[tuple[int, int]] = []
    settings = {"ranges": ViewRanges(flip=True), "views": 3, "seed": 0, "folder": None}
    pooled_features(
        make_classifier(), photo_set(4), progress=lambda _, done, total, said="": told.append((done, total)), **settings
    )
    assert told == [(4, 12), (8, 12), (12, 12)]


def test_clipping_counts_only_what_is_stepped() -> None:
    """A unit frozen since an earlier stage still holds that stage's last gradient."""

    def moved(old: float) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[0].requires_grad_(False)
        net[0].weight.grad = torch.full((2, 2), old)
        optimizer = make_optimizer("sgd", [{"params": list(net[1].parameters()), "full_lr": 0.1}], 0.1)
        material = FeatureMaterial(
            torch.ones(1, 4, 2), np.arange(4) % 2, torch.zeros(0, 2), np.zeros(0, int), batch=4, seed=(0,)
        )
        stage = a_stage(epochs=1, clip=0.01)
        fit_stage(Trainee(net, net.train, optimizer), material, stage, seed=0, report=lambda *_: None)
        return net[1].weight.detach()

    assert torch.equal(moved(0.0), moved(1000.0))


def test_feature_epochs_walk_through_the_views() -> None:
    features = torch.arange(6.0).reshape(2, 3, 1)
    material = FeatureMaterial(features, np.arange(3), torch.zeros(0, 1), np.zeros(0, int), batch=3, seed=(0, 0))
    seen = [sorted(float(x) for inputs, _ in material.training(epoch) for x in inputs) for epoch in range(3)]
    assert seen == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert list(material.validation()) == []
