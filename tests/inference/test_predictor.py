from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.data.cache import PhotoCache
from carspotter.data.photo import decode
from carspotter.data.views import apply_view, fit, tta_views
from carspotter.errors import BundleError, Reason
from carspotter.evaluation.metrics import softmax
from carspotter.inference.bundle import Bundle, write_bundle
from carspotter.inference.predictor import AHEAD, Predictor, load
from carspotter.inference.runtime import open_runtime
from carspotter.records import Calibration, Dataset, Location, Photo, Pixels, Rejected, Verdict
from helpers.tiny import (
    COLOURS,
    HEIGHT,
    WIDTH,
    colour_photo,
    png,
    tiny_card,
    tiny_files,
    tiny_onnx,
    write_tiny_bundle,
)

RED, GREEN, BLUE = colour_photo(255, 0, 0), colour_photo(0, 255, 0), colour_photo(0, 0, 255)


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return load(tiny_bundle.folder, threads=2)


def noise(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def mixed() -> Dataset:
    photos = [Photo("r", RED), Photo("text", b"hello"), Photo("g", GREEN), Photo("gone", Location("/no/such.jpg"))]
    return Dataset((*photos, Photo("b", BLUE)), rejected=(Rejected("listed", Reason.MISSING, "not in the zip"),))


def test_what_was_ignored_in_a_photo_stands_in_its_reason(predictor: Predictor) -> None:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(file, "JPEG", exif=b"Exif\0\0garbage")
    noted, plain = predictor.identify([file.getvalue(), RED])
    assert noted.verdict is Verdict.NAMED
    assert noted.reason == "its EXIF is damaged and was ignored"
    assert plain.reason == ""


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_keep_the_order_and_lose_nothing(predictor: Predictor) -> None:
    scores = predictor.scores(mixed())
    assert scores.ids == ("r", "g", "b")
    assert [(r.id, r.reason) for r in scores.rejected] == [
        ("listed", Reason.MISSING),
        ("text", Reason.NOT_A_PHOTO),
        ("gone", Reason.MISSING),
    ]
    np.testing.assert_allclose(scores.embeddings, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(scores.logits, 8 * np.eye(3), atol=1e-4)
    assert (scores.logits.dtype, scores.embeddings.dtype) == (np.float32, np.float32)


def test_many_photos_on_many_threads_keep_their_order(tiny_bundle: Bundle) -> None:
    photos = tuple(Photo(str(at), noise(at)) for at in range(40))
    one, four = (load(tiny_bundle.folder, threads=n).scores(Dataset(photos)) for n in (1, 4))
    assert one.ids == four.ids == tuple(str(at) for at in range(40))
    np.testing.assert_array_equal(one.logits, four.logits)
    assert len(np.unique(one.logits, axis=0)) == 40


def test_a_photo_gets_the_same_bits_whatever_its_neighbours_are(predictor: Predictor) -> None:
    photos = tuple(Photo(str(at), noise(at)) for at in range(9))
    together = predictor.scores(Dataset(photos)).logits
    alone = np.concatenate([predictor.scores(Dataset((photo,))).logits for photo in photos])
    np.testing.assert_array_equal(together, alone)


def test_an_empty_set_has_empty_scores_of_the_right_shape(predictor: Predictor) -> None:
    refused = (Rejected("listed", Reason.MISSING, "not in the zip"),)
    scores = predictor.scores(Dataset((), rejected=refused), tta=4)
    assert (scores.logits.shape, scores.embeddings.shape) == ((0, 3), (0, 3))
    assert scores.rejected == refused
    assert predictor.identify([]) == ()


def test_progress_counts_every_photo(predictor: Predictor) -> None:
    seen: list[tuple[str, int, int]] = []
    predictor.scores(mixed(), progress=lambda *step: seen.append(step))
    assert seen == [("photos", at, 5) for at in range(1, 6)]


def test_a_cache_gives_the_same_scores_and_is_used(predictor: Predictor, tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "photos")
    first, again = (predictor.scores(mixed(), cache=cache) for _ in range(2))
    np.testing.assert_array_equal(first.logits, again.logits)
    np.testing.assert_array_equal(first.logits, predictor.scores(mixed()).logits)
    assert first.rejected == again.rejected
    assert any(path.is_file() for path in (tmp_path / "photos").rglob("*"))


# ---- views ----------------------------------------------------------------------------------------------------------


def test_one_view_is_the_photo_itself(predictor: Predictor) -> None:
    pixels = fit(decode(noise(1)).pixels, predictor.card.geometry)
    expected = open_runtime(predictor.bundle.read("model.onnx")).run(pixels[None])
    scores = predictor.scores(Dataset((Photo("n", noise(1)),)))
    np.testing.assert_array_equal(scores.logits, expected.logits)
    np.testing.assert_array_equal(scores.embeddings, expected.embeddings)


@pytest.mark.parametrize("tta", [2, 5])
def test_views_average_probabilities_and_embeddings(predictor: Predictor, tta: int) -> None:
    half = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    half[:, : WIDTH // 2, 0] = 255
    half[: HEIGHT // 2, :, 2] = 200
    views = np.stack([apply_view(half, view) for view in tta_views(tta)])
    expected = open_runtime(predictor.bundle.read("model.onnx")).run(views)
    scores = predictor.scores(Dataset((Photo("half", png(half)),)), tta=tta)
    np.testing.assert_allclose(softmax(scores.logits)[0], softmax(expected.logits).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.exp(scores.logits[0]), softmax(expected.logits).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(scores.embeddings[0], expected.embeddings.mean(axis=0), atol=1e-6)


def test_averaged_logits_stay_finite_where_a_probability_rounds_to_nothing(tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "parts", tiny_onnx(weight=10_000.0))
    write_bundle(tmp_path / "sharp", tiny_card(tmp_path / "parts"), files)
    logits = load(tmp_path / "sharp").scores(Dataset((Photo("r", RED),)), tta=2).logits
    assert logits[0].tolist() == pytest.approx([0, -10_000, -10_000], abs=0.01)


# ---- identify -------------------------------------------------------------------------------------------------------


def test_one_photo_of_any_kind_gives_one_answer(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "blue car.png"
    path.write_bytes(BLUE)
    for given, name in ((path, str(path)), (str(path), str(path)), (BLUE, "photo 1"), (Photo("x", BLUE), "x")):
        found = predictor.identify(given)
        assert (found.id, found.verdict, found.top[0].label) == (name, Verdict.NAMED, "blue")
    assert found.top[0].probability == pytest.approx(np.exp(8) / (np.exp(8) + 2), abs=1e-4)


def test_many_photos_give_one_answer_each_named_twice_or_not(predictor: Predictor) -> None:
    answers = predictor.identify([Photo("x", RED), Photo("x", BLUE), b"junk", Photo("x", RED), GREEN])
    assert [a.id for a in answers] == ["x", "x", "photo 3", "x", "photo 5"]
    assert [a.top[0].label if a.top else a.code for a in answers] == ["red", "blue", Reason.NOT_A_PHOTO, "red", "green"]


def test_a_dataset_is_answered_whole_its_refused_photos_last(predictor: Predictor) -> None:
    answers = predictor.identify(mixed(), tta=2)
    assert [a.id for a in answers] == ["r", "text", "g", "gone", "b", "listed"]
    assert [a.verdict is Verdict.BAD_PHOTO for a in answers] == [False, True, False, True, False, True]


def test_the_bundles_calibration_is_used(tmp_path: Path) -> None:
    calibration = Calibration(temperature=4.0, method="by hand", photos=3)
    bundle = write_tiny_bundle(tmp_path / "tiny", calibration=calibration)
    assert load(bundle.folder).identify(RED).top[0].probability == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-4)


# ---- what does not fit ----------------------------------------------------------------------------------------------


def test_a_net_with_another_size_or_class_count_than_its_card_is_refused(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for name, model, classes, why in (
        ("size", tiny_onnx(64, 64), COLOURS, "takes 64x64 photos, the card says 48x32"),
        ("count", tiny_onnx(), (*COLOURS, "grey"), "tells 3 classes apart, the card names 4"),
    ):
        files = tiny_files(parts, model)
        write_bundle(tmp_path / name, tiny_card(parts, classes), files)
        with pytest.raises(BundleError, match=why):
            load(tmp_path / name)


class Slow:
    """A net that waits, and counts who is inside."""

    height, width, classes, dimensions = HEIGHT, WIDTH, 3, 3
    bf16 = False

    def __init__(self, runtime: object, breaks_at: int | None = None) -> None:
        self.runtime, self.breaks_at = runtime, breaks_at
        self.inside = self.most = self.runs = 0
        self.lock = threading.Lock()

    def run(self, photos: Pixels, *, feature_map: bool = False) -> object:
        with self.lock:
            self.inside += 1
            self.runs += 1
            self.most = max(self.most, self.inside)
            broken = self.runs == self.breaks_at
        time.sleep(0.005)
        with self.lock:
            self.inside -= 1
        if broken:
            raise BundleError("the net fails")
        return self.runtime.run(photos, feature_map=feature_map)


class Counted(PhotoCache):
    """Counts the photos decoded; the set below is endless enough to tell whether it is read ahead."""

    def __init__(self) -> None:
        super().__init__(None)
        self.decoded = 0
        self.lock = threading.Lock()

    def pixels(self, photo: Photo, geometry: object) -> Pixels:
        with self.lock:
            self.decoded += 1
        return super().pixels(photo, geometry)


def test_photos_are_worked_on_side_by_side_but_never_far_ahead(tiny_bundle: Bundle) -> None:
    slow, cache = Slow(open_runtime(tiny_bundle.read("model.onnx"))), Counted()
    lead: list[int] = []
    predictor = Predictor(tiny_bundle, slow, threads=3)
    predictor.scores(
        Dataset(tuple(Photo(str(at), RED) for at in range(40))),
        cache=cache,
        progress=lambda _, done, total: (time.sleep(0.01), lead.append(cache.decoded - done)),
    )
    assert 1 < slow.most <= 3
    assert max(lead) <= 3 * AHEAD


def test_a_failing_net_ends_the_work_at_once(tiny_bundle: Bundle) -> None:
    slow = Slow(open_runtime(tiny_bundle.read("model.onnx")), breaks_at=3)
    with pytest.raises(BundleError, match="the net fails"):
        Predictor(tiny_bundle, slow, threads=2).scores(Dataset(tuple(Photo(str(at), RED) for at in range(100))))
    assert slow.runs < 12


def test_an_interruption_stops_the_work_and_leaves_no_thread(predictor: Predictor) -> None:
    def interrupt(phase: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.scores(Dataset(tuple(Photo(str(at), RED) for at in range(100))), progress=interrupt)
    assert not [thread for thread in threads() if thread.name.startswith("worker")]


def threads() -> Iterator[threading.Thread]:
    return (thread for thread in threading.enumerate() if thread.is_alive())


# ---- real photos ----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_every_real_bad_photo_ends_as_an_answer_or_a_reason(predictor: Predictor, shared: Path) -> None:
    paths = sorted(path for path in (shared / "bad_photos").rglob("*") if path.is_file())
    answers = predictor.identify(paths)
    assert [a.id for a in answers] == [str(path) for path in paths]
    assert all((a.verdict is Verdict.BAD_PHOTO) == (a.code is not None) == (not a.top) for a in answers)
