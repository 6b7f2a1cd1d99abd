"""A batch in shards gives the gradient of the whole batch, whoever computes it and whoever is ready first."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.test_loop import a_stage, fit
from torch.nn import functional as F  # noqa: N812

from carspotter.recipe import Stage
from carspotter.training.classifier import Classifier, Learner
from carspotter.training.freezing import Freezing
from carspotter.training.frozen import state_hash
from carspotter.training.loop import weighted_loss
from carspotter.training.shards import Shards
from carspotter.training.stage_data import Batch


def batch_of(classifier: Classifier, count: int, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    photos = torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=rng)
    labels = torch.arange(count) % 3
    return Batch(classifier.prepare(photos), F.one_hot(labels, 3).float(), labels)


def cut(batch: Batch, sizes: list[int]) -> list[Batch]:
    columns = (batch.inputs.split(sizes), batch.targets.split(sizes), batch.labels.split(sizes))
    return [Batch(*parts) for parts in zip(*columns, strict=True)]


def gradients(classifier: Classifier, sizes: list[int], threads: int = 1) -> dict[str, torch.Tensor]:
    learner = Learner(classifier.body, classifier.head)
    shards = Shards(learner, len(sizes), threads)
    with shards.working():
        shards.gradients(cut(batch_of(classifier, sum(sizes)), sizes), weighted_loss)
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


def test_shards_add_up_to_the_whole_batch(make_classifier) -> None:
    """With still statistics a shard does not see its neighbours, so nothing may change."""
    classifier = make_classifier()
    Freezing(classifier, "all", freeze_batchnorm=True).train_mode()
    whole = gradients(copy.deepcopy(classifier), [12])
    parts = gradients(copy.deepcopy(classifier), [4, 5, 3])
    assert whole.keys() == parts.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-3, atol=1e-5, msg=name)


def test_only_what_trains_gets_a_gradient(make_classifier) -> None:
    classifier = make_classifier()
    Freezing(classifier, "blocks.2", freeze_batchnorm=False).train_mode()
    got = gradients(classifier, [4, 4])
    assert not [name for name in got if name.startswith(("body.backbone.conv_stem", "body.backbone.blocks.0"))]
    assert [name for name in got if name.startswith("body.backbone.blocks.2")]


def test_threads_change_nothing(make_classifier, photo_set) -> None:
    """Two shards on one thread or on two: the same weights, bit for bit."""

    def weights(threads: int) -> str:
        classifier = make_classifier(dropout=0.5)
        Freezing(classifier, "all", freeze_batchnorm=False).train_mode()
        learner = Learner(classifier.body, classifier.head)
        shards = Shards(learner, 2, threads)
        optimizer = torch.optim.SGD(learner.parameters(), 0.1)
        with shards.working():
            for seed in range(3):
                torch.manual_seed(seed)
                shards.gradients(cut(batch_of(classifier, 8, seed), [4, 4]), weighted_loss)
                optimizer.step()
        return state_hash(learner.state_dict())

    assert weights(1) == weights(2)


def test_statistics_are_the_mean_over_the_shards(make_classifier) -> None:
    classifier = make_classifier()
    alone = []
    for part in cut(batch_of(classifier, 8), [4, 4]):
        net = copy.deepcopy(classifier).train()
        net(part.inputs)
        alone.append(net.backbone.bn1.running_mean)
    classifier.train()
    gradients(classifier, [4, 4])
    torch.testing.assert_close(classifier.backbone.bn1.running_mean, (alone[0] + alone[1]) / 2)
    assert not torch.allclose(alone[0], alone[1])


@pytest.mark.slow
def test_a_training_in_shards_learns_and_repeats_itself(make_classifier, photo_set) -> None:
    def trained() -> tuple[str, float]:
        classifier = make_classifier(dropout=0.2)
        stage: Stage = a_stage(epochs=6, mixup=0.1, ema=0.9)
        history = fit(classifier, photo_set(50), photo_set(18, seed=1), stage, policy="trivial", shards=2)
        return state_hash(classifier.state_dict()), history[-1].val_accuracy or 0.0

    first, second = trained(), trained()
    assert first == second
    assert first[1] > 0.9


def test_what_a_shard_raises_ends_the_step(make_classifier) -> None:
    classifier = make_classifier()
    wrong = Batch(torch.zeros(4, 5, 64, 64), torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))
    good = batch_of(classifier, 4)
    shards = Shards(Learner(classifier.body, classifier.head), 2, 2)
    with shards.working(), pytest.raises(RuntimeError, match="channels"):
        shards.gradients([good, wrong], weighted_loss)


def test_a_heavier_photo_pulls_more() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    right, wrong = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    even = weighted_loss(logits, torch.stack([right, wrong]))
    assert (
        weighted_loss(logits, torch.stack([right, 3 * wrong]))
        > even
        > weighted_loss(logits, torch.stack([3 * right, wrong]))
    )
    torch.testing.assert_close(even, F.cross_entropy(logits, torch.tensor([0, 1])))
    torch.testing.assert_close(
        weighted_loss(logits, torch.stack([right, wrong]), 0.1),
        F.cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.1),
    )


def test_still_statistics_stay_still_in_any_number_of_shards(make_classifier) -> None:
    """A plain mean of three equal numbers is not always that number."""
    classifier = make_classifier()
    with torch.no_grad():
        for buffer in classifier.backbone.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    Freezing(classifier, "all", freeze_batchnorm=True).train_mode()
    before = {name: value.clone() for name, value in classifier.backbone.named_buffers()}
    gradients(classifier, [4, 4, 4])
    for name, value in classifier.backbone.named_buffers():
        assert torch.equal(value, before[name]), name
