"""Photos that show no car are found by two signs together: strange neighbours, and little that looks like a vehicle."""

from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation.near import find_near
from carspotter.inference.finder import look_for_vehicles
from carspotter.records import Dataset, Finding, Kind, Photo
from carspotter.training.audit import audit
from carspotter.training.embeddings import Embedded
from carspotter.training.photo_findings import outlier_findings
from helpers.tiny import png

CARS, WIDTH = 120, 16
ODD, FAR_CAR = CARS, 7
"""A photo a little apart from the others, and one that is like them and shows its car small."""


@pytest.fixture
def embeddings() -> np.ndarray:
    """One cloud of cars, and a photo at its edge, by itself no outlier."""
    rng = np.random.default_rng(0)
    cars = 3 + rng.normal(0, 0.7, (CARS, WIDTH))
    edge = 3 + 0.9 * rng.normal(0, 1, WIDTH)
    return np.concatenate([cars, edge[None]]).astype(np.float32)


@pytest.fixture
def evidence() -> np.ndarray:
    found = np.random.default_rng(1).uniform(5.7, 6.9, CARS + 1)
    found[[ODD, FAR_CAR]] = 4.7
    return found


def photos() -> tuple[Photo, ...]:
    return tuple(Photo(f"{at:03}", b"") for at in range(CARS + 1))


def outliers(embeddings: np.ndarray, evidence: np.ndarray, spoiled: dict[str, str] | None = None) -> dict[str, Finding]:
    near = find_near(embeddings)
    found = outlier_findings(photos(), [near], evidence, spoiled or {})
    return {finding.id: finding for finding in found if finding.is_issue}


def test_both_signs_together_make_an_outlier(embeddings: np.ndarray, evidence: np.ndarray) -> None:
    nobody_looked = np.full(CARS + 1, np.nan)
    assert outliers(embeddings, nobody_looked) == {}
    found = outliers(embeddings, evidence)
    assert list(found) == [f"{ODD:03}"]
    assert "spreads less of a car's exterior is seen than in most" in found[f"{ODD:03}"].why
    assert outliers(embeddings, evidence, {f"{ODD:03}": "blurry"}) == {}


def test_a_photo_at_which_nobody_could_look_is_not_called_empty(embeddings: np.ndarray, evidence: np.ndarray) -> None:
    evidence[ODD] = np.nan
    assert outliers(embeddings, evidence) == {}


def test_vehicles_are_looked_for_in_every_photo() -> None:
    told = list[int]()
    evidence = look_for_vehicles(
        photos(),
        lambda photo: None if photo.id == "003" else float(photo.id),
        progress=lambda _, done, *__: told.append(done),
    )
    assert np.flatnonzero(np.isnan(evidence)).tolist() == [3]
    assert evidence[4:].tolist() == list(range(4, CARS + 1))
    assert told[-1] == CARS + 1
    assert np.isnan(look_for_vehicles(photos(), None)).all()


def test_a_photo_without_a_car_has_no_label_to_be_wrong(embeddings: np.ndarray, evidence: np.ndarray) -> None:
    """It lies among golfs and is labelled polo; where no car is seen, that says nothing of its label."""
    both = np.concatenate([embeddings, -embeddings[:CARS]])
    seen = np.concatenate([evidence, evidence[:CARS]])
    pixels = np.random.default_rng(2).integers(0, 256, (len(both), 110, 110, 3), dtype=np.uint8)
    shown = [Photo(f"{at:03}", png(one), "golf" if at < ODD else "polo") for at, one in enumerate(pixels)]
    lot = Dataset(tuple(shown), ("golf", "polo"), origin="lot")

    def embed(asked: object, _: object) -> list[Embedded]:
        return [Embedded("net", (both,))]

    def issues(seer: object) -> set[tuple[str, Kind]]:
        found = audit(lot, embed, seer=seer).findings
        return {(f.id, f.kind) for f in found if f.is_issue and f.id == f"{ODD:03}"}

    assert issues(None) == {(f"{ODD:03}", Kind.LABEL_ERROR)}
    assert issues(lambda photo: float(seen[int(photo.id)])) == {(f"{ODD:03}", Kind.OUTLIER)}
