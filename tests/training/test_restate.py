"""A card that changes its net says what the new one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carspotter.evaluation.calibration import fit_temperature
from carspotter.evaluation.unknown import SHIPPED, strangeness_bound
from carspotter.inference.reference import make_reference
from carspotter.inference.strangers import Strangers
from carspotter.records import Calibration, Dataset, Photo, Scores
from carspotter.training.memory import REFUSED
from carspotter.training.restate import restate
from helpers.tiny import COLOURS, png, tiny_card, tiny_files

PHOTOS = 120


@pytest.fixture
def held_out() -> Dataset:
    """Photos of noise: none is a copy of another."""
    rng = np.random.default_rng(0)
    photos = tuple(
        Photo(f"{at}.png", png(rng.integers(0, 256, (24, 24, 3), np.uint8)), COLOURS[at % 3]) for at in range(PHOTOS)
    )
    return Dataset(photos, COLOURS)


def drawn(held_out: Dataset, sharpness: float, seed: int) -> Scores:
    """Scores that are right four times of five, or so, and as sure as asked."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(PHOTOS, 3))
    logits[np.arange(PHOTOS), held_out.labels] += 1.5
    ids = tuple(photo.id for photo in held_out.photos)
    return Scores(ids, (sharpness * logits).astype(np.float32), rng.normal(size=(PHOTOS, 3)).astype(np.float32))


def test_figures_temperature_and_bounds_are_those_of_the_new_net(held_out: Dataset, tmp_path: Path) -> None:
    tiny_files(tmp_path)
    before = Calibration(
        temperature=1, method="none", photos=9, detector=SHIPPED, strange_at=7.0, refused=REFUSED, no_car_at=0.25
    )
    card = tiny_card(tmp_path, calibration=before)
    other = drawn(held_out, 5, seed=1)
    reference = make_reference(drawn(held_out, 1, seed=2), held_out.labels, None)
    found = restate(card, reference, other, held_out)
    assert found.evaluation is not None
    assert found.evaluation.accuracy.n == PHOTOS
    right = (other.logits.argmax(1) == held_out.labels).mean()
    assert found.evaluation.accuracy.value == pytest.approx(right)
    calibration = found.calibration
    assert calibration is not None
    assert calibration.temperature == fit_temperature(other.logits, held_out.labels) > 3
    assert calibration.strange_at == strangeness_bound(Strangers(reference).strangeness(other), REFUSED)
    assert calibration.strange_at < 7
    assert (calibration.detector, calibration.no_car_at) == (SHIPPED, 0.25)
    assert found.files == card.files


def test_what_the_first_net_did_not_have_is_not_made_up(held_out: Dataset, tmp_path: Path) -> None:
    tiny_files(tmp_path)
    scores = drawn(held_out, 1, seed=1)
    reference = make_reference(scores, held_out.labels, None)
    found = restate(tiny_card(tmp_path), reference, scores, held_out)
    assert found.calibration is not None
    assert found.calibration.strange_at is None
    few = held_out.subset(range(6))
    some = Scores(scores.ids[:6], scores.logits[:6], scores.embeddings[:6])
    assert restate(tiny_card(tmp_path), reference, some, few).calibration is None
