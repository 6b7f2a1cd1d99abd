"""A pool that several steps ask about is read once and shown to the net once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.training.test_outside import folder, picture

from carspotter.data.scan import scan
from carspotter.data.source import list_photos
from carspotter.errors import Reason
from carspotter.inference.bundle import MODEL
from carspotter.inference.predictor import Predictor
from carspotter.inference.runtime import open_runtime
from carspotter.records import Dataset, Rejected, Scores
from carspotter.training.outside import Sources
from carspotter.training.survey import Survey
from helpers.tiny import write_tiny_bundle


class Counting(Predictor):
    """A predictor that counts the photos and views it is asked about."""

    asked = 0

    def scores(self, dataset: Dataset, *, tta: int = 1, **how: Any) -> Scores:
        self.asked += len(dataset.photos) * tta
        return super().scores(dataset, tta=tta, **how)


@pytest.fixture
def predictor(tmp_path: Path) -> Counting:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    return Counting(bundle, open_runtime(bundle.read(MODEL), threads=1))


@pytest.fixture
def pool(tmp_path: Path) -> Dataset:
    """Three photos, the second broken, and one that the source itself refused."""
    folder(tmp_path / "pool", {f"{i}.png": picture(i) for i in range(3)})
    (tmp_path / "pool" / "1.png").write_bytes(b"\x89PNG broken")
    found = list_photos([tmp_path / "pool"])
    again = Rejected(found.photos[0].id, Reason.MISSING, "named twice")  # ids of refused rows may be those of photos
    return replace(found, rejected=(again,))


def test_it_is_asked_when_somebody_needs_it_and_never_again(predictor: Counting, pool: Dataset) -> None:
    steps: list[int] = []
    survey = Survey(predictor, pool, pool.subset([2]), progress=lambda _, done, *rest: steps.append(done))
    assert (predictor.asked, steps) == (0, [])
    for _ in range(2):
        assert survey.scores.ids == (pool.photos[0].id, pool.photos[2].id)
        assert survey.strangers == {}
    assert (predictor.asked, steps) == (6, [1, 2, 3])
    for _ in range(2):
        assert survey.looked == scan(pool)
        assert survey.scan_of(pool.subset([1])).facts == ()
        assert survey.unseen_facts == scan(pool.subset([2])).facts
    assert (predictor.asked, steps) == (6, [1, 2, 3, 1, 2, 3, 1])
    assert Survey(predictor, pool).unseen_facts == ()


@pytest.mark.parametrize("part", [(0, 1, 2), (1, 2), (0,), ()])
def test_a_part_is_told_of_as_if_it_were_scanned(predictor: Counting, pool: Dataset, part: tuple[int, ...]) -> None:
    labelled = replace(pool, photos=tuple(replace(pool.photos[i], label="a") for i in part), classes=("a",))
    assert Survey(predictor, pool).scan_of(labelled) == scan(labelled)


def test_it_stands_for_its_own_pool_alone(predictor: Counting, pool: Dataset) -> None:
    survey = Survey(predictor, pool, pool)
    assert Sources((pool,), unseen=pool, survey=survey).survey is survey
    for other in ({"extra": (pool,)}, {"extra": (pool, pool), "unseen": pool}, {"unseen": pool}):
        with pytest.raises(AssertionError, match="a survey of other photos"):
            Sources(**other, survey=survey)  # type: ignore[arg-type]
