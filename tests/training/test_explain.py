"""Maps tell the truth about a net that was really trained: they find what was planted, and chance nets' maps do not.

Photos are noise with a grey disc (in all) and a striped disc whose stripes alone tell three classes apart. So the one
place that can matter is known, and every check here fails for the map of a net with random weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from carspotter.apps.cli import main
from carspotter.data.disk import hash_file
from carspotter.errors import BackboneError, BundleError
from carspotter.evaluation.deletion import area, deletion_curve, drawn, hottest_first
from carspotter.evaluation.explain import Floats, agrees, heatmap, lay_out, upsample
from carspotter.inference.bundle import MODEL, WEIGHTS, Bundle, write_bundle
from carspotter.inference.explanation import explain
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.reference import read_head_rows
from carspotter.records import Geometry, Photo, Pixels
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.explain import gradient_map, load_classifier, rows_of
from carspotter.training.export import export_onnx, save_weights
from helpers.tiny import png, tiny_card

HEIGHT, WIDTH, DISC = 64, 96, 10
GEOMETRY = Geometry(height=HEIGHT, width=WIDTH)
GREYS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


# ---- photos with one telling place ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """Photos, (N,) classes, and (N, H, W) where the telling disc is."""

    photos: Pixels
    labels: np.ndarray
    places: np.ndarray


def plant(count: int, seed: int) -> Planted:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    stripes = (x // 3 % 2, y // 3 % 2, (x + y) // 3 % 2)
    photos = rng.integers(60, 120, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels, places = np.arange(count) % 3, np.zeros((count, HEIGHT, WIDTH), bool)
    for at in range(count):
        sides = rng.permutation(2)  # the discs are in different halves, so neither hides the other
        for side, telling in zip(sides, (True, False), strict=True):
            cy = rng.integers(DISC, HEIGHT - DISC)
            cx = side * WIDTH // 2 + rng.integers(DISC, WIDTH // 2 - DISC)
            disc = (y - cy) ** 2 + (x - cx) ** 2 < DISC**2
            photos[at][disc] = (90 + 120 * stripes[labels[at]][disc])[:, None] if telling else 150
            if telling:
                places[at] = disc
    return Planted(photos, labels, places)


class Net(nn.Module):
    """8 x 12 cells of 16 channels; quick to train from nothing."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 16)
        self.layers = nn.Sequential(*(
            layer
            for wide_in, wide_out in pairwise(widths)
            for layer in (nn.Conv2d(wide_in, wide_out, 3, 2, 1), nn.BatchNorm2d(wide_out), nn.ReLU())
        ))  # fmt: skip

    def forward_features(self, prepared: torch.Tensor) -> torch.Tensor:
        return self.layers(prepared)


def make(seed: int, **head: object) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(Body(Net(), "avg"), Head(16, 3, **head), **GREYS).eval()  # type: ignore[arg-type]


def taught(seed: int, **head: object) -> Classifier:
    """A net that has learned the stripes in a second."""
    classifier, material = make(seed, **head), plant(240, seed=1)
    photos, labels = torch.from_numpy(material.photos), torch.from_numpy(material.labels)
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    classifier.train()
    for _ in range(15):
        for some in torch.randperm(len(photos)).split(40):
            loss = nn.functional.cross_entropy(classifier(classifier.prepare(photos[some])), labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def bundle_of(classifier: Classifier, folder: Path, name: str = "tiny", **recipe: object) -> Bundle:
    parts = folder / "parts"
    parts.mkdir(parents=True)
    export_onnx(classifier, GEOMETRY, parts / MODEL)
    save_weights(classifier, parts / WEIGHTS)
    card = tiny_card(parts, height=HEIGHT, width=WIDTH)
    changed = card.recipe.model_copy(update={"head": card.recipe.head.model_copy(update=recipe)})
    backbone = card.backbone.model_copy(update={"name": name, **GREYS})
    card = card.model_copy(update={"recipe": changed, "backbone": backbone, "geometry": GEOMETRY})
    return write_bundle(folder / "model", card, {n: parts / n for n in (MODEL, WEIGHTS)})


# ---- what a net says ------------------------------------------------------------------------------------------------


class Explained:
    """A net with its maps of the planted photos, the true class against the likeliest other."""

    def __init__(self, bundle: Bundle) -> None:
        self.predictor: Predictor = load(bundle.folder, threads=1)
        rows = read_head_rows(bundle)
        assert rows is not None
        self.rows = rows

    def pair(self, photo: Pixels, label: int) -> tuple[int, int]:
        logits = self.predictor.outputs(photo).logits[0].copy()
        logits[label] = -np.inf
        return label, int(logits.argmax())

    def map(self, photo: Pixels, pair: tuple[int, int]) -> Floats:
        found = self.predictor.outputs(photo)
        assert found.feature_map is not None
        assert agrees(found.feature_map[0], self.rows, found.logits[0], "avg")
        return heatmap(found.feature_map[0], self.rows.weight[pair[0]], self.rows.weight[pair[1]])

    def lead(self, photo: Pixels, pair: tuple[int, int]) -> float:
        logits = self.predictor.outputs(photo).logits[0]
        return float(logits[pair[0]] - logits[pair[1]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    torch.set_num_threads(1)
    return Explained(bundle_of(taught(0), tmp_path_factory.mktemp("trained")))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """Trained as well, from other random weights."""
    torch.set_num_threads(1)
    return Explained(bundle_of(taught(5), tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="module")
def randoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explained, ...]:
    """The same net with random weights, three times."""
    return tuple(Explained(bundle_of(make(s), tmp_path_factory.mktemp(f"random{s}"))) for s in (1, 2, 3))


@pytest.fixture(scope="module")
def held_out() -> Planted:
    return plant(24, seed=2)


def accuracy(net: Explained, planted: Planted) -> float:
    answers = [int(net.predictor.outputs(photo).logits[0].argmax()) for photo in planted.photos]
    return float(np.mean(np.array(answers) == planted.labels))


def pointed(net: Explained, planted: Planted) -> float:
    """Share of photos whose hottest point is on the telling disc (the pointing game of J. Zhang et al. 2016)."""
    hits = []
    for photo, label, place in zip(planted.photos, planted.labels, planted.places, strict=True):
        heat = upsample(net.map(photo, net.pair(photo, label)), HEIGHT, WIDTH)
        hits.append(place.ravel()[heat.argmax()])
    return float(np.mean(hits))


def correlation(a: Floats, b: Floats) -> float:
    """Spearman's, of two maps."""
    return float(np.corrcoef(hottest_first(a).ravel(), hottest_first(b).ravel())[0, 1])


def advantage(judged: Explained, maps: Explained, planted: Planted) -> float:
    """How much lower the deletion curve is than one by chance, as a share of the lead; mean over photos."""
    rng, found = np.random.default_rng(0), []
    for photo, label in zip(planted.photos, planted.labels, strict=True):
        pair = judged.pair(photo, label)

        def lead(pixels: Pixels, pair: tuple[int, int] = pair) -> float:
            return judged.lead(pixels, pair)

        by_map = area(deletion_curve(lead, photo, hottest_first(maps.map(photo, pair))))
        by_chance = np.mean([area(deletion_curve(lead, photo, drawn((8, 12), rng))) for _ in range(3)])
        found.append((by_chance - by_map) / abs(lead(photo)))
    return float(np.mean(found))


# ---- checks that a random net fails ---------------------------------------------------------------------------------


def test_the_heat_is_where_the_classes_differ(
    trained: Explained, randoms: tuple[Explained, ...], held_out: Planted
) -> None:
    assert accuracy(trained, held_out) > 0.9
    assert pointed(trained, held_out) > 0.9
    assert np.mean([pointed(net, held_out) for net in randoms]) < 0.6


def test_hiding_the_heat_takes_the_lead_away(
    trained: Explained, randoms: tuple[Explained, ...], held_out: Planted
) -> None:
    ours = advantage(trained, trained, held_out)
    theirs = np.mean([advantage(trained, net, held_out) for net in randoms])
    assert ours > 0.2
    assert theirs < ours / 2


def mean_correlation(one: Explained, other: Explained, planted: Planted) -> float:
    found = []
    for photo, label in zip(planted.photos, planted.labels, strict=True):
        pair = one.pair(photo, label)
        found.append(correlation(one.map(photo, pair), other.map(photo, pair)))
    return float(np.mean(found))


def test_random_weights_give_another_map(trained: Explained, randoms: tuple[Explained, ...], held_out: Planted) -> None:
    """The check of J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018."""
    assert abs(np.mean([mean_correlation(trained, net, held_out) for net in randoms])) < 0.2


@pytest.mark.slow
def test_a_second_training_gives_a_like_map(trained: Explained, twin: Explained, held_out: Planted) -> None:
    """So the low correlation with random nets is no noise of the maps."""
    assert mean_correlation(trained, twin, held_out) > 0.25


# ---- heads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [{}, {"batchnorm": True}, {"bias": False}, {"batchnorm": True, "dropout": 0.5}])
def test_linear_heads_have_rows_that_give_the_logits(head: dict[str, object]) -> None:
    """Where BatchNorm's figures are no longer 0 and 1."""
    classifier = make(0, **head)
    for layer in classifier.head.body:
        for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
            nn.init.uniform_(tensor, 0.5, 2)
    rows = rows_of(classifier)
    assert rows is not None
    photo = plant(1, 3).photos
    with torch.no_grad():
        features = classifier.body.feature_map(classifier.prepare(torch.from_numpy(photo)))
        logits = classifier.head(classifier.body.pool(features))
    assert agrees(features[0].numpy(), rows, logits[0].numpy(), "avg")


def test_a_hidden_layer_has_no_rows() -> None:
    assert rows_of(make(0, hidden=8)) is None
    assert rows_of(make(0, hidden=8, batchnorm=True)) is None


# ---- gradients ------------------------------------------------------------------------------------------------------

TIMM = "test_efficientnet"  # timm's own network for tests


def timm_classifier(pooling: str = "avg", name: str = TIMM, **head: object) -> Classifier:
    torch.manual_seed(0)
    net, _ = load_backbone(find_backbone(name, RANDOM), height=HEIGHT, width=WIDTH)
    return Classifier(Body(net, pooling), Head(net.num_features, 3, **head), **GREYS).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
def test_gradients_of_a_linear_head_are_the_exact_map(tmp_path: Path, pooling: str) -> None:
    classifier = timm_classifier(pooling)
    bundle = bundle_of(classifier, tmp_path, TIMM, pooling=pooling)
    photo, rows = plant(1, 4).photos[0], rows_of(classifier)
    features = load(bundle.folder).outputs(photo).feature_map
    assert rows is not None
    assert features is not None
    exact = heatmap(features[0], rows.weight[2], rows.weight[1], pooling)  # type: ignore[arg-type]
    np.testing.assert_allclose(gradient_map(bundle, photo, 2, 1), exact, rtol=1e-2, atol=1e-4)


def test_gradients_of_a_hidden_layer_foretell_small_changes(tmp_path: Path) -> None:
    """A cell a thousandth weaker changes the lead by a thousandth of what the map says."""
    classifier = timm_classifier(hidden=8, activation="gelu", batchnorm=True)
    bundle = bundle_of(classifier, tmp_path, TIMM, hidden=8, activation="gelu", batchnorm=True)
    photo = plant(1, 4).photos[0]
    cells = gradient_map(bundle, photo, 0, 2)
    classifier = classifier.double()
    with torch.no_grad():
        features = classifier.body.feature_map(
            ((torch.from_numpy(photo)[None].permute(0, 3, 1, 2) - 127.5) / 127.5).double()
        )

        def lead(features: torch.Tensor) -> float:
            logits = classifier.head(classifier.body.pool(features))[0]
            return float(logits[0] - logits[2])

        weaker = features.clone()
        weaker[:, :, 1, 2] *= 1 - 1e-3
        change = lead(features) - lead(weaker)
    assert cells[1, 2] / cells.size == pytest.approx(change / 1e-3, rel=0.02)


def test_the_command_asks_torch_for_a_hidden_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_of(timm_classifier(hidden=8), tmp_path, TIMM, hidden=8)
    (tmp_path / "photo.png").write_bytes(png(plant(1, 4).photos[0]))
    assert main(["explain", str(bundle.folder), str(tmp_path / "photo.png"), "-o", str(tmp_path / "why.png")]) == 0
    assert capsys.readouterr().out.startswith("answer   ")
    assert (tmp_path / "why.png").is_file()


def test_a_transformer_that_averages_its_tokens_has_a_map(tmp_path: Path) -> None:
    name = "test_vit"
    classifier = timm_classifier(name=name)
    bundle = bundle_of(classifier, tmp_path, name)
    photo = plant(1, 4).photos[0]
    cells = gradient_map(bundle, photo, 0, 1)
    assert cells.shape == (4 * 6 + 1,)  # patches of 16 pixels, and a class token
    placed = lay_out(cells, HEIGHT, WIDTH)
    assert placed is not None
    assert placed.shape == (4, 6)
    with torch.no_grad():
        classifier.head.linear.bias.zero_()
    found = explain(load(bundle_of(classifier, tmp_path / "unbiased", name).folder), Photo("a", png(photo)))
    assert found.exact
    assert abs(found.placeless) > 1e-3
    assert found.seen + found.placeless == pytest.approx(found.lead, abs=1e-4)


def test_a_net_that_timm_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="timm has no model"):
        load_classifier(bundle_of(make(0), tmp_path, "hf-hub:somebody/net"))


def test_weights_of_another_net(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.safetensors is not of its net") as caught:
        load_classifier(bundle_of(make(0), tmp_path, TIMM))
    assert "\n" not in str(caught.value)


def test_a_bundle_without_weights(tmp_path: Path) -> None:
    whole = bundle_of(make(0), tmp_path)
    card = whole.card.model_copy(update={"files": {MODEL: hash_file(whole.folder / MODEL)}})
    bundle = write_bundle(tmp_path / "bare", card, {MODEL: whole.folder / MODEL})
    with pytest.raises(BundleError, match="which gradients need"):
        load_classifier(bundle)
