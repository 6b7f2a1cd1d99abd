"""A net that trained on the photos it judges is told of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.test_outside import inside  # noqa: F401 - a fixture

from carspotter.data.scan import Scan, scan
from carspotter.inference.predictor import load
from carspotter.progress import silent
from carspotter.records import Dataset
from carspotter.training.backbones import RANDOM, find_backbone
from carspotter.training.embeddings import _own_told, model_embeddings
from carspotter.training.kept import SEEN, kept_folder
from carspotter.training.seen import Seen, write_seen
from helpers.tiny import write_tiny_bundle


@pytest.fixture
def looked(inside: Dataset) -> Scan:  # noqa: F811
    return scan(inside)


def test_a_backbone_that_has_seen_the_photos_is_told(
    looked: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARSPOTTER_BACKBONES", str(tmp_path / "backbones"))
    (kept_folder() / "mine").mkdir(parents=True)
    card = find_backbone("test_efficientnet", RANDOM).model_copy(update={"source": "own", "known_as": "mine"})
    total = len(looked.facts)
    assert "cannot tell what mine has seen" in _own_told(card, looked)[0]
    write_seen(kept_folder() / "mine" / SEEN, Seen.of(looked.facts[:3]))
    (told,) = _own_told(card, looked)
    assert told == (
        f"mine was trained on 3 of the {total} photos and on near copies of 0 more: wrong labels that it has learned "
        "are judged too mildly"
    )
    write_seen(kept_folder() / "mine" / SEEN, Seen(frozenset({"f" * 64})))
    (told,) = _own_told(card, looked)
    assert told.startswith(f"mine was trained on 0 of the {total} photos and on near copies of 0 more; ")
    assert told.endswith("near copies of 1 photos it has seen cannot be told")


def test_a_model_that_was_trained_on_this_set_is_told(looked: Scan, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    photos = looked.dataset.photos
    predictor = load(bundle.folder)
    (one,) = model_embeddings(predictor)(photos, silent)
    assert one.views[0].shape == (len(photos), 3)
    (unknown,) = one.told(looked)
    assert unknown.startswith("whether tiny was trained on some of these photos cannot be told")
    own = bundle.card.backbone.model_copy(update={"source": "own", "known_as": "mine", "origin": "500 cars"})
    update = {"dataset": looked.dataset.fingerprint, "backbone": own}
    predictor.bundle = replace(bundle, card=bundle.card.model_copy(update=update))
    (one,) = model_embeddings(predictor)(photos, silent)
    (told,) = one.told(looked)
    assert told.startswith("tiny was trained on these very photos and labels, and believes them")
    assert told.endswith("it began from mine: 500 cars")
