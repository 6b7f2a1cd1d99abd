"""Every fold trained, and their networks joined into one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carspotter.data.cache import PhotoCache
from carspotter.data.scan import Scan, scan
from carspotter.errors import BundleError, RecipeError, SourceError, TrackingError
from carspotter.evaluation.calibration import fit_temperature
from carspotter.inference.explanation import explain
from carspotter.inference.predictor import load
from carspotter.recipe import Recipe, load_recipe, recipe_differences, validate_recipe
from carspotter.records import Dataset
from carspotter.tracking.out_of_fold import mean_answers, out_of_fold
from carspotter.tracking.runs import open_store
from carspotter.tracking.unseen import leave_out_trained
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.explain import load_classifier
from carspotter.training.folds import join, joint, of_fold, soup, train_folds
from carspotter.training.gather import divide
from carspotter.training.job import Job
from carspotter.training.outside import Sources
from carspotter.training.teacher import Teacher

pytestmark = pytest.mark.usefixtures("runs_db")


def recipe(**settings: Any) -> Recipe:
    stage = {"name": "head", "trains": "head", "epochs": 2, "height": 48, "width": 64, "batch": 8, "lr": 1e-2}
    tree = {"name": "t", "threads": 1, "backbone": "test_efficientnet", "weights": "random", "stage": [stage]}
    return validate_recipe(tree | {"split": {"method": "folds", "folds": 2}} | settings, "test")


@pytest.fixture
def looked(lot: Dataset) -> Scan:
    return scan(lot)


def test_a_joint_net_says_the_mean_of_its_members(make_classifier: Callable[..., Classifier]) -> None:
    members = [make_classifier(seed=0).eval(), make_classifier(seed=1, batchnorm=True).eval()]
    with torch.no_grad():
        members[1].head.body[0].running_mean.fill_(0.3)
        members[1].head.body[0].running_var.fill_(2.0)
        photos = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
        expected = torch.stack([one(one.prepare(photos)) for one in members]).mean(0)
        both = joint(members)
        found = both(both.prepare(photos))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, members[0](members[0].prepare(photos)), atol=1e-2)


def test_heads_that_are_not_linear_are_refused_before_anything_is_trained(looked: Scan, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"set head\.hidden = 0"):
        train_folds(looked, recipe(head={"hidden": 8}), out=tmp_path / "m")
    assert open_store().list() == ()


def test_all_folds_make_one_model_judged_on_every_photo(
    looked: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    looked = replace(looked, dataset=replace(looked.dataset, parents={looked.dataset.classes[0]: "cold"}))
    joined = train_folds(looked, recipe(), out=tmp_path / "m", cache=PhotoCache(None))
    store, predictor = open_store(), load(tmp_path / "m")
    card = predictor.card
    assert card.parents == looked.dataset.parents
    assert joined.trained == 2
    assert card.members == 2
    assert card.evaluation.accuracy.n == len(looked.dataset.photos)
    kept, parts = mean_answers([store.answers(run.id) for run in joined.runs])
    assert sorted(kept.ids) == sorted(photo.id for photo in looked.dataset.photos)
    assert np.bincount(parts).tolist() == [run.evaluation.accuracy.n for run in joined.runs]
    assert card.calibration.temperature == pytest.approx(fit_temperature(kept.logits, kept.labels))

    # It answers as the mean of its members, shows where, and can be opened for gradients.
    photo = looked.dataset.photos[0]
    alone = [load(run.bundle).scores(Dataset((photo,))).logits for run in joined.runs]
    assert predictor.scores(Dataset((photo,))).logits == pytest.approx(np.mean(alone, axis=0), abs=1e-4)
    assert explain(predictor, photo).exact
    assert len(load_classifier(predictor.bundle).backbone.members) == 2

    # Every photo trained it, so it is judged on none of them, and labels none for a training that holds some out.
    with pytest.raises(SourceError, match=r"all 20 photos .* trained this model"):
        leave_out_trained(card, looked.dataset)
    divided = divide(looked.dataset, np.arange(20), of_fold(recipe(), 0))
    with pytest.raises(SourceError, match="holds what the networks of every fold learned"):
        Teacher(tmp_path / "m", looked.dataset, divided)


def test_repeated_every_photo_is_judged_by_the_mean_of_one_network_of_each_division(
    looked: Scan, tmp_path: Path
) -> None:
    joined = train_folds(looked, recipe(), out=tmp_path / "m", job=Job(repeats=2))
    card, store = joined.bundle.card, open_store()
    assert (joined.trained, card.members) == (4, 4)
    first, again = ([store.split(run.id) for run in joined.runs[at : at + 2]] for at in (0, 2))
    assert {split.validation for split in first}.isdisjoint({split.validation for split in again})
    kept = out_of_fold(store, card)
    assert card.evaluation.accuracy.n == len(kept.ids) == len(looked.dataset.photos)
    photo = looked.dataset.photos[0]
    apart = [load(run.bundle) for run in joined.runs if photo.id in store.split(run.id).validation]
    assert len(apart) == 2
    said = np.mean([one.scores(Dataset((photo,))).logits[0] for one in apart], axis=0)
    assert kept.logits[kept.ids.index(photo.id)] == pytest.approx(said, abs=1e-4)

    # A single training of one seed is one of its folds, and one division alone makes a model too.
    assert [run.recipe.seed for run in joined.runs] == [0, 0, 1, 1]
    assert (tmp_path / "m-repeat2-fold1" / "card.json").exists()
    assert join(looked, joined.runs[:2], tmp_path / "one", store=store).card.members == 2
    with pytest.raises(TrackingError, match="of one division they hold out folds 1"):
        join(looked, (*joined.runs[:2], joined.runs[3]), tmp_path / "x", store=store)


def test_more_networks_than_a_model_may_have_are_refused_before_anything_is_trained(
    looked: Scan, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="26 times 2 folds are 52 networks, not 1 to 50"):
        train_folds(looked, recipe(), out=tmp_path / "m", job=Job(repeats=26))
    with pytest.raises(RecipeError, match="0 times 2 folds are 0 networks"):
        train_folds(looked, recipe(), out=tmp_path / "m", job=Job(repeats=0))
    with pytest.raises(RecipeError, match=r"fold 0 of repeat 2: .* less than or equal to"):
        train_folds(looked, recipe(seed=2**31 - 1), out=tmp_path / "m", job=Job(repeats=2))
    assert open_store().list() == ()


def test_a_soup_is_one_network_with_the_mean_of_their_weights(looked: Scan, tmp_path: Path) -> None:
    joined = train_folds(looked, recipe(head={"hidden": 8}), out=tmp_path / "m", job=Job(join="soup"))
    card, predictor = joined.bundle.card, load(tmp_path / "m")
    assert (card.members, card.join) == (2, "soup")
    nets = [load_classifier(load(run.bundle).bundle) for run in joined.runs]
    weights = [one.head.linear.weight for one in nets]
    mean = load_classifier(predictor.bundle)  # opened as one network
    assert not torch.equal(weights[0], weights[1])
    assert torch.allclose(mean.head.linear.weight, (weights[0] + weights[1]) / 2, atol=1e-7)
    alone = load(joined.runs[0].bundle)
    assert predictor.dimensions == alone.dimensions  # and as fast as one
    with pytest.raises(SourceError, match=r"all 20 photos .* trained this model"):
        leave_out_trained(card, looked.dataset)


def test_the_networks_of_a_repeated_soup_begin_alike() -> None:
    mean, soup = (of_fold(recipe(seed=4), 1, 2, how) for how in ("mean", "soup"))
    assert (mean.seed, mean.split.seed, mean.split.fold) == (6, 6, 1)
    assert (soup.seed, soup.split.seed, soup.split.fold) == (4, 6, 1)


@pytest.mark.slow
def test_a_further_division_takes_the_first_ones_folds_as_they_are(looked: Scan, tmp_path: Path) -> None:
    first = train_folds(looked, recipe(), out=tmp_path / "m")
    both = train_folds(looked, recipe(), out=tmp_path / "m", job=Job(repeats=2))
    assert (first.trained, both.trained) == (2, 2)
    assert both.runs[:2] == first.runs
    soup = train_folds(looked, recipe(), out=tmp_path / "soup", job=Job(join="soup", repeats=2))
    assert (soup.bundle.card.members, soup.bundle.card.join) == (4, "soup")


def test_the_statistics_of_a_soup_are_counted_on_photos(make_classifier: Callable[..., Classifier]) -> None:
    nets = [make_classifier(seed=seed, batchnorm=True) for seed in (0, 1)]
    nets[1].head.body[0].running_mean.fill_(0.3)
    photos = torch.randint(0, 256, (24, 64, 64, 3), dtype=torch.uint8)
    one = soup(nets, [nets[0].prepare(photos)])
    assert not one.training
    with torch.no_grad():
        pooled_photos = one.body(one.prepare(photos))
    assert torch.allclose(one.head.body[0].running_mean, pooled_photos.mean(0), atol=1e-5)


def test_statistics_that_no_member_has_moved_stay(make_classifier: Callable[..., Classifier]) -> None:
    nets = [make_classifier(seed=seed, batchnorm=True) for seed in (0, 0)]
    before = {key: value.clone() for key, value in nets[0].state_dict().items()}
    with torch.no_grad():
        nets[1].head.linear.weight.add_(1)
    one = soup(nets, [nets[0].prepare(torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8))])
    changed = {key for key, value in one.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.linear.weight"}


@pytest.mark.slow
def test_only_finished_folds_of_one_recipe_are_taken_and_joined(looked: Scan, tmp_path: Path) -> None:
    store, first = open_store(), train_folds(looked, recipe(), out=tmp_path / "m")
    again = train_folds(looked, recipe(), out=tmp_path / "m")
    assert (first.trained, again.trained) == (2, 0)
    assert again.bundle.hash == first.bundle.hash
    both = first.runs
    other = both[1].model_copy(update={"recipe": both[1].recipe.model_copy(update={"threads": 3})})
    assert join(looked, (both[0], other), tmp_path / "threads", store=store).card.members == 2
    with pytest.raises(TrackingError, match=r"of one division they hold out folds 0; every fold once is needed"):
        join(looked, both[:1], tmp_path / "x", store=store)
    with pytest.raises(TrackingError, match="they hold out folds 0, 0"):
        join(looked, (both[0], both[0]), tmp_path / "x", store=store)
    with pytest.raises(TrackingError, match="of different recipes"):
        join(looked, (both[0], both[1].model_copy(update={"recipe": of_fold(recipe(distil=0.5), 1)})), "x", store=store)
    for strange in (of_fold(recipe(seed=9), 1), of_fold(recipe(), 1).model_copy(update={"seed": 9})):
        with pytest.raises(TrackingError, match="they hold out folds 0; every fold once is needed"):
            join(looked, (both[0], both[1].model_copy(update={"recipe": strange})), "x", store=store)
    fewer = replace(looked, dataset=looked.dataset.subset(range(4)))
    with pytest.raises(TrackingError, match="was trained on other photos"):
        join(fewer, both, tmp_path / "x", store=store)
    train_folds(looked, recipe(seed=3), out=tmp_path / "m")  # takes the place of the first model's folds
    with pytest.raises(BundleError, match="is no longer the model of run"):
        join(looked, both, tmp_path / "x", store=store)
    assert not (tmp_path / "x").exists()
    assert train_folds(looked, recipe(), out=tmp_path / "m").trained == 2  # so they are trained again


def test_a_teacher_of_one_fold_is_refused_before_anything_is_trained(looked: Scan, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="would teach the others what they are judged on"):
        train_folds(looked, recipe(distil=0.5), out=tmp_path / "m", job=Job(Sources(teacher=tmp_path / "t")))
    assert open_store().list() == ()


def test_every_place_is_asked_before_the_first_fold(looked: Scan, tmp_path: Path) -> None:
    (tmp_path / "m-fold1").mkdir()
    (tmp_path / "m-fold1" / "thesis.txt").write_text("no model")
    with pytest.raises(BundleError, match="m-fold1"):
        train_folds(looked, recipe(), out=tmp_path / "m")
    assert open_store().list() == ()


def test_a_launcher_is_refused(looked: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="in one process, not in 2"):
        train_folds(looked, recipe(), out=tmp_path / "m")


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
@pytest.mark.parametrize("pooling", ["avg", "avgmax"])
def test_nets_with_tokens_and_maps_are_joined_alike(name: str, pooling: Any) -> None:
    def classifier(seed: int) -> Classifier:
        torch.manual_seed(seed)
        net, card = load_backbone(find_backbone(name, RANDOM), height=64, width=64)
        head = Head(net.num_features, 3, bias=False)
        return Classifier(Body(net, pooling), head, mean=card.mean, std=card.std).eval()

    members = [classifier(seed) for seed in (0, 1)]
    with torch.no_grad():
        photos = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
        expected = torch.stack([one(one.prepare(photos)) for one in members]).mean(0)
        both = joint(members)
        assert torch.allclose(both(both.prepare(photos)), expected, atol=1e-5)


def test_best_has_the_stages_of_fast() -> None:
    fast, best = load_recipe("fast"), load_recipe("best")
    differing = {key for key in recipe_differences(fast, best) if not key.startswith("split.")}
    assert differing == {"name", "about"}
