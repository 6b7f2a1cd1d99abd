"""Mixing works on photos, on maps and on a ViT's tokens; what cannot be cut is said, and done on photos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.test_train import recipe
from torch.nn import functional as F  # noqa: N812 - the field's own name

from carspotter.data.cache import PhotoCache
from carspotter.records import Dataset
from carspotter.training.augment import make_mixing
from carspotter.training.job import Job
from carspotter.training.train import train

VIT = {"backbone": "test_vit", "head": {"pooling": "avg"}}
STAGE = {"name": "half", "trains": "blocks.3", "epochs": 1, "height": 64, "width": 64, "batch": 8, "lr": 1e-3}


def test_tokens_are_mixed_as_their_targets_are() -> None:
    mix = make_mixing(0.4, 0)
    assert mix is not None
    torch.manual_seed(0)
    tokens, targets = torch.randn(6, 5, 4), F.one_hot(torch.arange(6), 6).float()
    mixed, wanted = mix(tokens, targets)
    share = wanted.diagonal()[:, None, None]
    assert 0 < float(share[0]) < 1
    assert torch.allclose(mixed, share * tokens + (1 - share) * tokens.roll(1, 0))


def test_maps_are_mixed_as_torchvision_mixes_them() -> None:
    from torchvision.transforms import v2

    mix = make_mixing(0.4, 0)
    assert mix is not None
    maps, targets = torch.randn(6, 3, 4, 4), F.one_hot(torch.arange(6), 6).float()
    torch.manual_seed(1)
    ours = mix(maps, targets)
    torch.manual_seed(1)
    theirs = v2.MixUp(alpha=0.4)(maps, targets)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("runs_db")
@pytest.mark.parametrize(
    ("mixing", "whole"),
    [({"mixup": 0.4}, False), ({"cutmix": 0.4}, True), ({"mixup": 0.4, "cutmix": 0.4}, True)],
    ids=["mixup", "cutmix", "both"],
)
def test_a_half_frozen_vit_trains_with_either(
    mixing: dict[str, float], whole: bool, lot: Dataset, tmp_path: Path
) -> None:
    """Mixup mixes the stored tokens. CutMix has no rectangles there: the network runs whole, and that is said."""
    said: list[str] = []

    def tell(phase: str, done: int, total: int, what: str = "") -> None:
        said.append(f"{phase} {what}")

    job, cache = Job(deliver=False), PhotoCache(tmp_path / "cache")
    run = train(lot, recipe(STAGE | mixing, **VIT), job=job, cache=cache, progress=tell)
    assert run.status == "finished"
    remark = (
        "features half: the frozen part runs in every epoch: cutmix cuts rectangles, and what enters blocks.3 is no map"
    )
    assert any(line.startswith(remark) for line in said) is whole
    assert bool(list((tmp_path / "cache").rglob("features/*.safetensors"))) is not whole


@pytest.mark.usefixtures("runs_db")
def test_a_whole_vit_trains_with_both(lot: Dataset) -> None:
    settings = recipe(STAGE | {"trains": "all", "mixup": 0.4, "cutmix": 0.4}, **VIT)
    assert train(lot, settings, job=Job(deliver=False)).status == "finished"
