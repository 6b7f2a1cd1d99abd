"""The driver: a dataset and a recipe in, a run and a bundle out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from carspotter.data.cache import PhotoCache
from carspotter.data.source import read_source
from carspotter.errors import BackboneError, BundleError, SourceError, TrainingError
from carspotter.evaluation.calibration import fit_temperature
from carspotter.inference.predictor import load
from carspotter.recipe import Recipe, Stage, validate_recipe
from carspotter.records import Dataset, Geometry, Verdict
from carspotter.tracking.runs import open_store
from carspotter.training import look as looking
from carspotter.training import ship as shipping
from carspotter.training.export import export_onnx, parity
from carspotter.training.job import Job
from carspotter.training.loop import memory_named
from carspotter.training.train import train

pytestmark = pytest.mark.usefixtures("runs_db")

STAGES = (
    {"name": "head", "trains": "head", "epochs": 2, "height": 64, "width": 64, "batch": 8, "lr": 1e-2},
    {"name": "all", "epochs": 1, "height": 48, "width": 64, "batch": 8, "lr": 1e-3},
)


def recipe(*stages: dict[str, Any], **settings: Any) -> Recipe:
    tree = {"name": "t", "threads": 1, "backbone": "test_efficientnet", "weights": "random", "split": {"share": 0.3}}
    return validate_recipe(tree | settings | {"stage": list(stages or STAGES)}, "test")


def test_the_bundle_answers_as_the_run_says(lot: Dataset, tmp_path: Path) -> None:
    lot = replace(lot, parents={lot.classes[0]: "cold"})
    run = train(lot, recipe(), out=tmp_path / "model")
    predictor = load(tmp_path / "model")
    assert predictor.card.parents == lot.parents
    assert run.status == "finished"
    assert run.bundle_hash == predictor.bundle.hash
    assert predictor.card.evaluation == run.evaluation
    assert predictor.card.geometry == Geometry(height=48, width=64)
    assert predictor.card.provenance.parity < 1e-4
    assert {"scan", "stage head", "stage all", "export"} == set(run.timings)
    assert [record.stage for record in run.history] == ["head", "head", "all"]
    assert [summary.trains_from for summary in run.freezing] == ["head", "all"]
    held_out = open_store().split(run.id).validation
    answers = predictor.identify([photo for photo in lot.photos if photo.id in held_out])
    truth = {photo.id: photo.label for photo in lot.photos}
    right = sum(answer.top[0].label == truth[answer.id] for answer in answers)
    assert run.evaluation.accuracy.value == right / len(held_out)


def test_near_copies_and_photos_of_one_ad_are_told_as_one_group(lot: Dataset, tmp_path: Path) -> None:
    """As the split keeps them together, so does whatever compares runs."""
    for number in range(4):
        with Image.open(tmp_path / "lot" / "red" / f"{number}.png") as image:
            image.resize((128, 96)).save(tmp_path / "lot" / "red" / f"copy{number}.jpg", quality=95)
    copied = read_source(tmp_path / "lot")
    photos = tuple(
        replace(photo, group=f"ad {int(photo.id[5]) // 2}") if photo.id.startswith("blue") else photo
        for photo in copied.photos
    )
    run = train(replace(copied, photos=photos), recipe(STAGES[0], split={"share": 0.4}), job=Job(deliver=False))
    kept = open_store().answers(run.id)
    units: dict[int, list[str]] = {}
    for photo, group in zip(kept.ids, kept.groups.tolist(), strict=True):
        units.setdefault(group, []).append(photo)
    assert {len(unit) for unit in units.values()} <= {1, 2}
    ads, reds = ([unit for unit in units.values() if unit[0].startswith(name)] for name in ("blue", "red"))
    assert ads
    assert all(int(first[5]) // 2 == int(second[5]) // 2 for first, second in ads)
    copies = [unit for unit in reds if len(unit) == 2]
    assert copies
    assert all({f"red/copy{name[4]}.jpg", f"red/{name[4]}.png"} == set(unit) for unit in copies for name in unit[:1])


@pytest.mark.slow
def test_a_net_that_shows_the_car_alone_answers_as_it_was_trained(lot: Dataset, tmp_path: Path) -> None:
    run = train(lot, recipe(frame="car"), out=tmp_path / "model", cache=PhotoCache(tmp_path / "cache"))
    predictor = load(tmp_path / "model")
    assert predictor.card.geometry.frame == "car"
    assert predictor.card.files.keys() == {"model.onnx", "model.safetensors", "finder.onnx", "reference.safetensors"}
    kept = open_store().answers(run.id)
    held_out = [photo for photo in lot.photos if photo.id in kept.ids]
    scores = predictor.scores(Dataset(tuple(held_out)))  # without the training's cache
    order = [scores.ids.index(name) for name in kept.ids]
    assert scores.logits[order] == pytest.approx(kept.logits, abs=1e-5)


def test_logit_adjustment_favours_the_rare_class(lot: Dataset, tmp_path: Path) -> None:
    few = lot.subset([*range(4), *range(10, 20)])  # four blue, ten red

    def lead_of_blue(strength: float) -> float:
        longer = STAGES[0] | {"epochs": 12}
        run = train(few, recipe(longer, logit_adjustment=strength), out=tmp_path / f"{strength}")
        logits = open_store().answers(run.id).logits
        return float((logits[:, run.classes.index("blue")] - logits[:, run.classes.index("red")]).mean())

    assert lead_of_blue(2.0) > lead_of_blue(0.0) + 0.1


@pytest.mark.slow
def test_equal_trainings_have_equal_hashes_and_other_seeds_others(lot: Dataset, tmp_path: Path) -> None:
    hashes = [
        train(lot, recipe(seed=seed), out=tmp_path / name, cache=PhotoCache(None)).bundle_hash
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_bundle_is_calibrated_on_its_held_out_photos_where_they_are_enough(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = train(lot, recipe(), out=tmp_path / "few")
    assert load(tmp_path / "few").card.calibration is None
    monkeypatch.setattr("carspotter.evaluation.calibration.FEWEST", 4)
    train(lot, recipe(), out=tmp_path / "model")
    calibration = load(tmp_path / "model").card.calibration
    assert calibration is not None
    assert calibration.photos == few.evaluation.accuracy.n
    kept = open_store().answers(few.id)
    assert calibration.temperature == pytest.approx(fit_temperature(kept.logits, kept.labels))


@pytest.mark.parametrize("deliver", [True, False])
def test_every_photo_may_train_and_then_there_is_no_figure(lot: Dataset, tmp_path: Path, deliver: bool) -> None:
    run = train(lot, recipe(split={"method": "none"}), out=tmp_path / "model", job=Job(deliver=deliver))
    found = open_store().get(run.id)
    assert (found.status, found.evaluation, found.validation) == ("finished", None, None)
    assert [record.val_loss for record in found.history] == [None] * 3
    assert sorted(open_store().split(run.id).train) == sorted(photo.id for photo in lot.photos)
    if deliver:
        predictor = load(tmp_path / "model")
        assert predictor.card.evaluation is None
        assert {answer.verdict for answer in predictor.identify(lot)} == {Verdict.NAMED}


def test_a_stage_of_no_epochs_leaves_no_trace(lot: Dataset, tmp_path: Path) -> None:
    run = train(lot, recipe(STAGES[0], STAGES[1] | {"epochs": 0}), out=tmp_path / "model")
    assert [summary.stage for summary in run.freezing] == ["head"]
    assert load(tmp_path / "model").card.geometry == Geometry(height=64, width=64)


def test_every_freeze_point_is_checked_before_anything_trains(lot: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no freeze point 'block9a'"):
        train(lot, recipe(STAGES[0], STAGES[1] | {"trains": "block9a"}), out=tmp_path / "model")
    (run,) = open_store().list()
    assert run.status == "failed"
    assert run.history == ()


def test_a_foreign_folder_is_refused_before_anything_is_read(lot: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not replaced"):
        train(lot, recipe(), out=tmp_path / "lot")
    assert open_store().list() == ()


def test_photos_left_out_are_named_before_training(lot: Dataset, tmp_path: Path) -> None:
    (tmp_path / "lot" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    said: list[str] = []
    dataset = read_source(tmp_path / "lot")
    train(dataset, recipe(), out=tmp_path / "m", progress=lambda *words: said.append(" ".join(map(str, words))))
    named = next(i for i, line in enumerate(said) if "left out red/broken.jpg" in line)
    assert named < next(i for i, line in enumerate(said) if "stage head" in line)
    with pytest.raises(SourceError, match=r"red/broken\.jpg"):
        looking.look(dataset, strict=True)


def test_photos_without_labels_teach_nothing(lot: Dataset) -> None:
    with pytest.raises(SourceError, match="has no labels"):
        train(Dataset(lot.photos, origin="folder"), recipe())


def test_a_photo_that_vanishes_is_named(lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = looking.scan

    def scan_and_lose(dataset: Dataset, **words: Any) -> Any:
        looked = scan(dataset, **words)
        for path in (tmp_path / "lot" / "red").iterdir():
            path.unlink()
        return looked

    monkeypatch.setattr(looking, "scan", scan_and_lose)
    with pytest.raises(TrainingError, match=r"red/\d\.png could be read when the training began and cannot be now"):
        train(lot, recipe(), out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_export_that_answers_otherwise_is_never_shipped(
    lot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_badly(classifier: Any, geometry: Geometry, path: Path) -> None:
        export_onnx(classifier, geometry, path)
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.dims and tensor.dims[0] == 2:  # the last layer's weights
                values = onnx.numpy_helper.to_array(tensor) + 1
                tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
        onnx.save(model, path)

    monkeypatch.setattr(shipping, "export_onnx", export_badly)
    with pytest.raises(TrainingError, match="the exported net answers otherwise"):
        train(lot, recipe(), out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_export_holds_no_path_and_takes_any_batch(make_classifier, tmp_path: Path) -> None:
    classifier, geometry = make_classifier(), Geometry(height=64, width=96)
    export_onnx(classifier, geometry, tmp_path / "net.onnx")
    content = (tmp_path / "net.onnx").read_bytes()
    assert b"carspotter" not in content
    assert b".py" not in content
    rng = np.random.default_rng(0)
    for count in (1, 3):
        photos = [rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(count)]
        assert parity(classifier, tmp_path / "net.onnx", photos) < 1e-4


def test_two_exports_are_the_same_bytes(make_classifier, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        export_onnx(make_classifier(), Geometry(height=64, width=64), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_full_memory_names_a_cure() -> None:
    stage = Stage.model_validate(STAGES[1])
    sentence = "memory ran out in stage all with 8 photos of 64x48; lower its batch"
    with pytest.raises(TrainingError, match=sentence), memory_named(stage):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(TrainingError, match=sentence), memory_named(stage):
        raise RuntimeError("could not create a primitive")  # oneDNN's word for it, as a storm met it


def test_other_faults_are_not_called_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_named(Stage.model_validate(STAGES[1])):
        raise RuntimeError("shapes do not fit")


def test_threads_and_determinism_are_put_back(lot: Dataset, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    train(lot, recipe(STAGES[0]), out=tmp_path / "model")
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
