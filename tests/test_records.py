from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from carspotter import records
from carspotter.recipe import Recipe, Stage
from carspotter.records import (
    BackboneCard,
    BundleCard,
    Dataset,
    Figure,
    FreezeSummary,
    Geometry,
    Location,
    Photo,
    Provenance,
    Rejected,
    Scores,
    hash_json,
)


def test_every_noun_is_imported_from_one_place() -> None:
    families = [import_module(f"carspotter.records.{found.name}") for found in iter_modules(records.__path__)]
    made = {
        name
        for family in families
        for name, value in vars(family).items()
        if getattr(value, "__module__", "") == family.__name__ and not name.startswith("_")
    }
    assert len(made) > 20
    assert made <= set(records.__all__)
    assert all(hasattr(records, name) for name in records.__all__)


# ---- datasets -------------------------------------------------------------------------------------------------------


def photo(number: int, **changes: Any) -> Photo:
    values: dict[str, Any] = {"label": "ab"[number % 2], "digest": f"{number:064x}"}
    return Photo(f"{number}.jpg", Location(f"/photos/{number}.jpg"), **values | changes)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(photos=tuple(photo(i) for i in range(5)), classes=("a", "b", "c"), codes=("0", "1", "2"))


def test_labels_are_class_indices(dataset: Dataset) -> None:
    unlabelled = replace(dataset, photos=(*dataset.photos, photo(9, label=None)))
    np.testing.assert_array_equal(unlabelled.labels, [0, 1, 0, 1, 0, -1])
    assert unlabelled.labels.dtype == np.int64


def test_counts_name_every_class(dataset: Dataset) -> None:
    assert dataset.counts == {"a": 3, "b": 2, "c": 0}
    assert list(dataset.counts) == ["a", "b", "c"]


def test_a_subset_keeps_order_and_classes(dataset: Dataset) -> None:
    part = dataset.subset(np.array([3, 0]))
    assert [p.id for p in part.photos] == ["3.jpg", "0.jpg"]
    assert part.classes == dataset.classes


def test_the_fingerprint_does_not_depend_on_place_order_or_origin(dataset: Dataset) -> None:
    moved = tuple(replace(p, where=Location("/elsewhere.zip", p.id)) for p in reversed(dataset.photos))
    rejected = (Rejected("x.jpg", "missing", "it is missing"),)  # type: ignore[arg-type]
    other = replace(dataset, photos=moved, origin="elsewhere", notes=("a note",), rejected=rejected)
    assert other.fingerprint == dataset.fingerprint
    assert len(dataset.fingerprint) == 64


@pytest.mark.parametrize(
    "change", [{"id": "other.jpg"}, {"label": "b"}, {"label": None}, {"group": "one car"}, {"digest": "f" * 64}]
)
def test_the_fingerprint_depends_on_every_photo(dataset: Dataset, change: dict[str, Any]) -> None:
    first, *rest = dataset.photos
    assert replace(dataset, photos=(replace(first, **change), *rest)).fingerprint != dataset.fingerprint


def test_the_fingerprint_depends_on_classes_and_their_order(dataset: Dataset) -> None:
    prints = {
        replace(dataset, classes=classes).fingerprint for classes in (("a", "b", "c"), ("b", "a", "c"), ("a", "b"))
    }
    assert len(prints) == 3


def test_a_fingerprint_needs_a_scan(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="scan the dataset first"):
        replace(dataset, photos=(*dataset.photos, photo(7, digest=None))).fingerprint  # noqa: B018


@pytest.mark.parametrize(
    ("where", "shown"), [(Location("a.jpg"), "a.jpg"), (Location("a.zip", "b/c.jpg"), "a.zip!b/c.jpg")]
)
def test_a_location_shows_file_and_entry(where: Location, shown: str) -> None:
    assert str(where) == shown


# ---- arrays and figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ids", "logits", "embeddings"), [(2, 3, 3), (3, 2, 3), (3, 3, 2)])
def test_scores_have_one_row_per_id(ids: int, logits: int, embeddings: int) -> None:
    with pytest.raises(ValueError, match=f"{ids} ids, {logits} rows of logits and {embeddings} embeddings"):
        Scores(tuple(map(str, range(ids))), np.zeros((logits, 2), np.float32), np.zeros((embeddings, 4), np.float32))


def test_a_figure_shows_its_interval() -> None:
    assert str(Figure(value=0.5, low=0.4, high=0.6, n=100)) == "0.500 [0.400, 0.600] on 100 photos"


def test_a_freeze_summary_is_a_sentence() -> None:
    summary = FreezeSummary(
        stage="all",
        trains_from="blocks.4",
        parameters=1234567,
        parameters_frozen=1000,
        layers=7,
        layers_frozen=3,
        batchnorm=2,
        batchnorm_frozen=1,
    )
    assert str(summary) == (
        "all: trains from blocks.4: 1,234,567 parameters in 7 layers, 2 BatchNorm; frozen 1,000 in 3, 1 BatchNorm"
    )


def test_a_geometry_shows_width_first() -> None:
    assert str(Geometry(height=96, width=128)) == "128x96-pad"
    with pytest.raises(ValidationError):
        Geometry(height=96, width=128, depth=3)  # type: ignore[call-arg]


# ---- hashes ---------------------------------------------------------------------------------------------------------


def test_a_hash_is_over_the_canonical_text() -> None:
    assert hash_json({"b": [1, 0.5], "a": "ВАЗ"}) == hashlib.sha256('{"a":"ВАЗ","b":[1,0.5]}'.encode()).hexdigest()


@pytest.fixture
def card() -> BundleCard:
    recipe = Recipe(name="tiny", stage=(Stage(name="all", epochs=1, height=64, width=96, lr=0.01),))
    return BundleCard(
        name="tiny",
        classes=("a", "b"),
        codes=("0", "1"),
        geometry=Geometry(height=64, width=96),
        backbone=BackboneCard(
            name="test_net", source="none", origin="here", sha256=None, licence="MIT", commercial_use="yes"
        ),
        recipe=recipe,
        dataset="d" * 64,
        evaluation=None,
        files={"model.onnx": "e" * 64},
        carspotter="0.1.0",
        provenance=Provenance(run_id="r", created="2026-11-22T10:00:00+00:00", seconds=1.0, machine="m"),
    )


def test_a_card_survives_its_file(card: BundleCard) -> None:
    assert BundleCard.model_validate_json(card.model_dump_json()) == card


def test_the_bundle_hash_ignores_name_run_and_times(card: BundleCard) -> None:
    later = Provenance(run_id="s", created="2027-01-01T00:00:00+00:00", seconds=2.0, machine="n", parity=0.1)
    assert card.model_copy(update={"name": "other", "provenance": later}).hash == card.hash


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"model.onnx": "f" * 64}},
        {"classes": ("b", "a")},
        {"codes": ("1", "0")},
        {"geometry": Geometry(height=64, width=128)},
        {"dataset": "c" * 64},
        {"carspotter": "0.2.0"},
        {"format_version": 1},
    ],
)
def test_the_bundle_hash_depends_on_all_the_rest(card: BundleCard, change: dict[str, Any]) -> None:
    assert card.model_copy(update=change).hash != card.hash


def test_the_bundle_hash_depends_on_the_recipe(card: BundleCard) -> None:
    other = card.recipe.model_copy(update={"seed": 1})
    assert card.model_copy(update={"recipe": other}).hash != card.hash
