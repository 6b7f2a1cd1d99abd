"""An own backbone: made once, found by name, verified, and honest about what it has seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tests.training.test_outside import folder, inside, picture  # noqa: F401 - a fixture
from tests.training.test_train import recipe

from carspotter.errors import BackboneError
from carspotter.inference.bundle import read_bundle
from carspotter.records import Dataset
from carspotter.training.backbones import backbone_cards, find_backbone, is_here, load_backbone
from carspotter.training.classifier import Body
from carspotter.training.job import Job
from carspotter.training.kept import kept_folder
from carspotter.training.pretrain import pretrain
from carspotter.training.train import train

pytestmark = pytest.mark.usefixtures("runs_db", "_own_backbones")


@pytest.fixture
def _own_backbones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSPOTTER_BACKBONES", str(tmp_path / "backbones"))
    monkeypatch.chdir(tmp_path)  # the classifier goes to its models


@pytest.mark.slow
def test_a_pretrained_backbone_starts_another_training(inside: Dataset, tmp_path: Path) -> None:  # noqa: F811
    run, card = pretrain(inside, recipe(), "mine", job=Job(note="drawn here"))
    assert find_backbone("mine") == card
    assert card in backbone_cards()
    assert is_here(card)
    assert card.commercial_use == "unclear"
    assert "16 photos of 2 classes from in" in card.origin
    assert "drawn here" in card.origin

    net, _ = load_backbone(card, height=64, width=64)
    fresh, _ = load_backbone(find_backbone("test_efficientnet", "random"), height=64, width=64)
    photo = torch.ones(1, 3, 64, 64)
    assert not torch.equal(Body(net.eval(), "avg")(photo), Body(fresh.eval(), "avg")(photo))

    again = train(inside, recipe(backbone="mine", weights=None), out=tmp_path / "m")
    (told,) = again.extra
    assert (
        f"{again.evaluation.accuracy.n} of the {again.evaluation.accuracy.n} held-out photos are exact copies" in told
    )
    assert read_bundle(tmp_path / "m").card.outside == again.extra
    assert read_bundle(tmp_path / "m").card.backbone.known_as == "mine"
    assert run.id != again.id


def test_faults_are_one_line(inside: Dataset) -> None:  # noqa: F811
    with pytest.raises(BackboneError, match="'resnet50' is the name of one of timm's"):
        pretrain(inside, recipe(), "resnet50")
    with pytest.raises(BackboneError, match=r"'\.\./x' is no name"):
        pretrain(inside, recipe(), "../x")
    with pytest.raises(BackboneError, match="make it once: carspotter pretrain SOURCE --name car-lite0"):
        find_backbone("car-lite0")
    _, card = pretrain(inside, recipe(), "mine")
    with pytest.raises(BackboneError, match="there is a backbone 'mine'"):
        pretrain(inside, recipe(), "mine")

    weights = kept_folder() / "mine" / "backbone.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BackboneError, match="is not the file its card tells of"):
        load_backbone(card, height=64, width=64)
    weights.write_bytes(good)
    (kept_folder() / "mine" / "seen.txt").unlink()
    with pytest.raises(BackboneError, match="cannot tell what mine has seen"):
        train(inside, recipe(backbone="mine", weights=None), job=Job(deliver=False))
    (kept_folder() / "mine" / "card.json").write_text('{"name": 1}')
    with pytest.raises(BackboneError, match=r"card\.json: damaged"):
        find_backbone("mine")
    assert all(card.known_as != "mine" for card in backbone_cards())


@pytest.mark.slow
def test_a_second_generation_has_seen_what_the_first_saw(inside: Dataset, tmp_path: Path) -> None:  # noqa: F811
    pretrain(inside, recipe(), "first")
    other = folder(
        tmp_path / "other", {f"{c}/{i}.png": picture(800 + 10 * n + i) for n, c in enumerate("xy") for i in range(8)}
    )
    pretrain(other, recipe(backbone="first", weights=None), "second")
    (told,) = train(inside, recipe(backbone="second", weights=None), job=Job(deliver=False)).extra
    counts = re.search(r" (\d+) of the (\d+) held-out photos are exact copies of what it has seen, 0 more near", told)
    assert counts is not None, told
    assert counts[1] == counts[2]


@pytest.mark.parametrize(
    "change", [{"name": "hf-hub:somebody/net"}, {"known_as": "../../x"}, {"source": "package"}, {"std": (0, 1, 1)}]
)
def test_a_card_that_leads_elsewhere_is_not_believed(change: dict[str, object], inside: Dataset) -> None:  # noqa: F811
    pretrain(inside, recipe(), "mine")
    path = kept_folder() / "mine" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BackboneError, match="damaged"):
        find_backbone("mine")
