"""The tiny net's map is simply where a photo has more of one colour than of another: cells of 4 x 4 pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from carspotter.data.cache import PhotoCache
from carspotter.data.photo import decode, read_bytes
from carspotter.errors import BundleError, PhotoRefused, SourceError
from carspotter.evaluation.explain import HeadRows
from carspotter.inference.bundle import Bundle, write_bundle
from carspotter.inference.explanation import explain
from carspotter.inference.neighbours import find_neighbours, recall
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.reference import Reference, make_reference
from carspotter.records import Dataset, Photo
from helpers.tiny import HEIGHT, SHARPNESS, WIDTH, colour_photo, png, tiny_card, tiny_files, tiny_onnx

ROWS = HeadRows(SHARPNESS * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))


def bundle_of(folder: Path, rows: HeadRows = ROWS, **head: object) -> Bundle:
    files = tiny_files(folder / "parts", tiny_onnx())
    save_file({"head.linear.weight": rows.weight, "head.linear.bias": rows.bias}, files["model.safetensors"])
    card = tiny_card(folder / "parts")
    recipe = card.recipe.model_copy(update={"head": card.recipe.head.model_copy(update=head)})
    return write_bundle(folder / "model", card.model_copy(update={"recipe": recipe}), files)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load(bundle_of(tmp_path).folder)


def patched() -> Photo:
    """Dark, with a red patch at the top left and a smaller green one at the bottom right."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:16, :16, 0] = 255
    pixels[-8:, -8:, 1] = 255
    return Photo("patched.png", png(pixels))


def test_the_map_of_a_linear_head(predictor: Predictor) -> None:
    found = explain(predictor, patched())
    assert (found.named, found.against, found.exact) == (0, 1, True)
    assert found.answer.top[0].label == "red"
    expected = np.zeros((HEIGHT // 4, WIDTH // 4))
    expected[:4, :4], expected[-2:, -2:] = SHARPNESS, -SHARPNESS
    np.testing.assert_allclose(found.cells, expected, atol=1e-5)
    assert found.seen == pytest.approx(found.lead, abs=1e-5)  # this head has no biases
    assert found.view.shape == (13 * HEIGHT, 13 * WIDTH, 3)


def test_hiding_the_heat_takes_the_lead_away(predictor: Predictor) -> None:
    found = explain(predictor, patched())
    assert found.hottest_hidden < 0 < found.drawn_hidden < found.lead


def test_another_class_to_compare_with(predictor: Predictor) -> None:
    found = explain(predictor, patched(), against="blue")
    assert found.against == 2
    assert found.cells.min() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("against", "why"), [("lilac", "no class 'lilac'; it knows red"), ("red", "own answer")])
def test_a_class_that_cannot_be_compared_with(predictor: Predictor, against: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        explain(predictor, patched(), against=against)


def test_a_bad_photo_is_refused(predictor: Predictor) -> None:
    with pytest.raises(PhotoRefused, match="not_a_photo"):
        explain(predictor, Photo("text", b"no photo at all"))


def test_rows_that_are_not_the_nets_are_refused(tmp_path: Path) -> None:
    wrong = HeadRows(ROWS.weight[::-1].copy(), ROWS.bias)
    with pytest.raises(BundleError, match="do not give the logits of its net"):
        explain(load(bundle_of(tmp_path, wrong).folder), patched())


def test_the_rows_of_a_reference_are_proven_too(predictor: Predictor) -> None:
    liar = reference(predictor, HeadRows(2 * ROWS.weight, ROWS.bias))
    with pytest.raises(BundleError, match="do not give the logits of its net"):
        explain(predictor, patched(), reference=liar)


def test_a_head_that_is_not_linear_asks_for_gradients(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, hidden=8)
    with pytest.raises(BundleError, match="needs gradients"):
        explain(load(bundle.folder), patched())
    asked = []

    def gradients(*words: object) -> np.ndarray:
        asked.append(words)
        return np.eye(8, 12)

    found = explain(load(bundle.folder), patched(), gradients=gradients)
    assert not found.exact
    assert asked[0][2:] == (0, 1)
    np.testing.assert_array_equal(found.cells, np.eye(8, 12))


def test_a_nets_own_pooling_is_tried_as_the_mean(tmp_path: Path) -> None:
    assert explain(load(bundle_of(tmp_path, pooling="own").folder), patched()).exact


def test_tokens_without_a_grid_have_no_map(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, hidden=8)
    with pytest.raises(BundleError, match="1000 tokens of 48x32-stretch, which fit no grid"):
        explain(load(bundle.folder), patched(), gradients=lambda *_: np.zeros(1000))


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


def large_jpeg(seed: int = 0) -> bytes:
    """1024 x 768 of fine noise, which eighths that libjpeg computes show otherwise than the whole does."""
    pixels = np.random.default_rng(seed).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    pixels[:400, :500, 0] = 255
    return jpeg(pixels)


def test_a_large_photo_is_explained_as_it_is_answered(predictor: Predictor) -> None:
    photo = Photo("large.jpg", large_jpeg())
    scores, found = predictor.scores(Dataset((photo,))), explain(predictor, photo)
    np.testing.assert_array_equal(found.embedding, scores.embeddings[0])
    assert found.answer == predictor.identify(photo)
    whole = predictor.outputs(predictor.view(decode(read_bytes(photo.where)).pixels))
    assert np.abs(whole.embeddings[0] - found.embedding).max() > 1e-4  # how it is decoded does matter here


def test_a_large_photo_is_shown_finer_than_the_net_sees_it(predictor: Predictor) -> None:
    rows = np.zeros((768, 1024, 3), np.uint8)
    rows[::16] = 255  # lines of one pixel; in the net's decoding, an eighth, they are as dark as an eighth of white
    found = explain(predictor, Photo("large.jpg", jpeg(rows)))
    assert found.view.shape == (13 * HEIGHT, 13 * WIDTH, 3)
    assert found.view[:, 0, 0].max() > 100


# ---- neighbours -----------------------------------------------------------------------------------------------------

PHOTOS = {
    "scarlet.png": (0, (250, 40, 0)),
    "crimson.png": (0, (220, 20, 60)),
    "broken.png": (0, (250, 0, 60)),
    "lime.png": (1, (40, 250, 0)),
}


def lot() -> Dataset:
    return Dataset(tuple(Photo(name, colour_photo(*colour)) for name, (_, colour) in PHOTOS.items()))


def reference(predictor: Predictor, rows: HeadRows | None = None) -> Reference:
    labels = np.array([label for label, _ in PHOTOS.values()])
    return make_reference(predictor.scores(lot()), labels, rows)


def test_like_training_photos_with_their_pictures(predictor: Predictor) -> None:
    known = {photo.id: photo for photo in lot().photos}
    known["crimson.png"] = Photo("crimson.png", colour_photo(0, 0, 250))
    known["broken.png"] = Photo("broken.png", b"no photo")
    embedding = predictor.scores(Dataset((Photo("asked", colour_photo(250, 40, 0)),))).embeddings[0]
    near, *others = find_neighbours(predictor, reference(predictor), known, embedding, 0, 4)
    assert (near.neighbour.id, near.why) == ("scarlet.png", "")
    assert near.neighbour.distance == pytest.approx(0, abs=2e-3)
    assert near.pixels is not None
    why = {one.neighbour.id: one.why for one in others}
    assert why == {"crimson.png": "another photo has its name", "broken.png": "not_a_photo"}
    assert all(one.pixels is None for one in others)
    (absent,) = find_neighbours(predictor, reference(predictor), {"x": near_photo()}, embedding, 1, 4)
    assert absent.why == "not among --photos"
    (unasked,) = find_neighbours(predictor, reference(predictor), {}, embedding, 1, 4)
    assert unasked.why == ""


def test_a_large_training_photo_is_recalled(predictor: Predictor) -> None:
    photo = Photo("large.jpg", large_jpeg())
    remembered = make_reference(predictor.scores(Dataset((photo,))), np.array([0]), None)
    pixels = recall(predictor, remembered, photo)
    assert pixels is not None
    np.testing.assert_array_equal(predictor.view(pixels), PhotoCache(None).pixels(photo, predictor.card.geometry))


def near_photo() -> Photo:
    return Photo("x", colour_photo(1, 2, 3))
