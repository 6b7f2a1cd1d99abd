"""A frozen part is run once, is the network's own lower part, and is kept soundly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from carspotter.data.views import ViewRanges
from carspotter.errors import TrainingError
from carspotter.training import frozen
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.frozen import FrozenPart, Upper, Views, can_cut, lower
from carspotter.training.loop import evaluating

MAPS = Path("/proc/self/maps")
TURNED = ViewRanges(rotation=9)


def test_lower_and_upper_part_make_the_whole(make_classifier, photo_set) -> None:
    classifier = make_classifier()
    prepared = classifier.prepare(photo_set(4).pixels(torch.arange(4).numpy(), None, ()))
    for point in ("blocks.1", "block3a", "conv_head"):
        with evaluating(classifier):
            parts = Upper(classifier.body, point)(lower(classifier.body, point, prepared))
            assert torch.equal(parts, classifier.body(prepared))
        assert can_cut(classifier.body, point, prepared)
    with evaluating(classifier):
        assert torch.equal(lower(classifier.body, "head", prepared), classifier.body(prepared))


@pytest.mark.parametrize(
    ("name", "point", "cuttable"), [("test_vit", "blocks.1", True), ("test_resnet", "layer3", True)]
)
def test_other_networks_are_cut_only_where_it_is_right(name: str, point: str, cuttable: bool) -> None:
    torch.manual_seed(0)
    net, _ = load_backbone(find_backbone(name, RANDOM), height=64, width=64)
    assert can_cut(Body(net, "avg"), point, torch.randn(2, 3, 64, 64)) is cuttable
    assert not can_cut(Body(net, "own"), point, torch.randn(2, 3, 64, 64))


def test_nothing_above_the_point_is_run(make_classifier, photo_set) -> None:
    classifier = make_classifier()
    classifier.backbone.blocks[2].register_forward_hook(lambda *_: pytest.fail("the upper part was run"))
    made = FrozenPart(classifier, "blocks.2", None).views(photo_set(3), Views(2, TURNED))
    assert [view.dtype for view in made] == [torch.float16] * 2
    assert not torch.equal(made[0], made[1])


def test_views_are_computed_once(make_classifier, photo_set, tmp_path) -> None:
    classifier, photos, calls = make_classifier(), photo_set(6), []
    classifier.body.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    part = FrozenPart(classifier, "head", tmp_path / "features")
    first, second = (torch.stack(part.views(photos, Views(2, ViewRanges(flip=True)))) for _ in range(2))
    assert calls == [6, 6]
    assert torch.equal(first, second)
    assert first.shape == (2, 6, 256)
    assert first.dtype == torch.float32


def test_other_weights_views_or_points_are_kept_apart(make_classifier, photo_set, tmp_path, monkeypatch) -> None:
    photos = photo_set(4)

    def made(seed: int = 0, point: str = "head", views: Views = Views(1, TURNED)) -> torch.Tensor:  # noqa: B008
        return FrozenPart(make_classifier(seed=seed), point, tmp_path).views(photos, views)[0]

    base = made()
    assert not torch.equal(base, made(seed=1))
    assert not torch.equal(base, made(views=Views(1, TURNED, seed=1)))
    made(point="blocks.2")
    made(views=Views(1, TURNED, lambda photos: photos, "a policy"))
    monkeypatch.setattr(frozen, "MADE_BY", "another torch")
    made()
    assert len(list(tmp_path.glob("*.safetensors"))) == 6


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_damaged_views_are_computed_again(fault: str, make_classifier, photo_set, tmp_path) -> None:
    photos = photo_set(3)
    good = FrozenPart(make_classifier(), "head", tmp_path).views(photos, Views())[0].clone()  # its file is overwritten
    (stored,) = tmp_path.glob("*.safetensors")
    data = bytearray(stored.read_bytes())
    if fault == "cut":
        del data[-9:]
    else:
        data[len(data) // 2] ^= 0x40
    stored.write_bytes(data)
    assert torch.equal(FrozenPart(make_classifier(), "head", tmp_path).views(photos, Views())[0], good)


def test_what_is_kept_stays_within_its_limit(make_classifier, photo_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(frozen, "MAX_BYTES", 10_000)
    for seed in range(4):
        FrozenPart(make_classifier(), "head", tmp_path).views(photo_set(4), Views(1, TURNED, seed=seed))
    assert 0 < sum(p.stat().st_size for p in tmp_path.glob("*.safetensors")) <= 10_000


def test_another_process_may_clear_the_folder_at_the_same_time(make_classifier, photo_set, tmp_path) -> None:
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "removed between the look and the question")
    FrozenPart(make_classifier(), "head", tmp_path).views(photo_set(4), Views())
    assert len([p for p in tmp_path.glob("*.safetensors") if p.is_file()]) == 1


def test_all_views_are_one_progress(make_classifier, photo_set) -> None:
    told: list[tuple[int, int]] = []
    part = FrozenPart(make_classifier(), "head", None, lambda _, done, total, said="": told.append((done, total)))
    part.views(photo_set(4), Views(3, TURNED))
    assert told == [(4, 12), (8, 12), (12, 12)]


def test_read_and_computed_views_lie_in_memory_alike(make_classifier, photo_set, tmp_path) -> None:
    """Another layout rounds otherwise, and a resumed training would end in other weights."""
    part = FrozenPart(make_classifier(), "bn2", tmp_path)
    (computed,), (read,) = part.views(photo_set(3), Views()), part.views(photo_set(3), Views())
    assert torch.equal(computed, read)
    assert computed.stride() == read.stride()


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is mapped")
def test_views_are_mapped_from_their_files(make_classifier, photo_set, tmp_path) -> None:
    """All of them in memory at once would be up to MAX_BYTES."""
    part, wanted = FrozenPart(make_classifier(), "bn2", tmp_path), Views(3, TURNED)
    kept = part.views(photo_set(5), wanted)
    mapped = {line.split()[-1] for line in MAPS.read_text().splitlines() if line.endswith(".safetensors")}
    assert mapped >= {str(path) for path in tmp_path.glob("*.safetensors")}
    assert len(kept) == len(list(tmp_path.glob("*.safetensors"))) == 3
    (tmp_path / "file").write_bytes(b"")
    for folder in (None, tmp_path / "file"):  # without a folder, and in one that takes nothing
        held = FrozenPart(make_classifier(), "bn2", folder).views(photo_set(5), wanted)
        assert all(torch.equal(a, b) for a, b in zip(held, kept, strict=True))


def test_a_view_of_several_batches_is_whole_and_in_order(make_classifier, photo_set, monkeypatch) -> None:
    part, told = FrozenPart(make_classifier(), "blocks.2", None), []
    (whole,) = part.views(photo_set(5), Views())
    monkeypatch.setattr(frozen, "BATCH", 2)
    several = FrozenPart(
        make_classifier(), "blocks.2", None, lambda _, done, total, said="": told.append((done, total))
    )
    assert torch.allclose(several.views(photo_set(5), Views())[0].float(), whole.float(), rtol=1e-2, atol=1e-3)
    assert len(told) > 1
    assert told[-1] == (5, 5)


def test_networks_of_another_shape_with_equal_weights_are_kept_apart(photo_set, tmp_path) -> None:
    """timm's `tf_` variant pads otherwise: same weights, other features."""
    made, state = [], None
    for name in ("tf_efficientnet_lite0", "efficientnet_lite0"):
        net, card = load_backbone(find_backbone(name, RANDOM), height=64, width=64)
        state = state or net.state_dict()
        net.load_state_dict(state)
        classifier = Classifier(Body(net, "avg"), Head(net.num_features, 2), mean=card.mean, std=card.std)
        made += FrozenPart(classifier, "blocks.2", tmp_path).views(photo_set(1), Views())
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert not torch.equal(*made)


def test_what_half_precision_cannot_hold_is_one_clear_line(make_classifier, photo_set) -> None:
    classifier = make_classifier()
    with torch.no_grad():
        classifier.backbone.conv_stem.weight.fill_(1e6)
        classifier.backbone.bn1.act = torch.nn.Identity()
    with pytest.raises(TrainingError, match=r"too large for half precision .* set views = 0"):
        FrozenPart(classifier, "blocks.0", None).views(photo_set(2), Views())
