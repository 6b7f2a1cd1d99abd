"""A tiny net that was taught pure colours is asked about others, with and without a net that sees "vehicles" (red)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carspotter.data.disk import hash_file
from carspotter.errors import BundleError
from carspotter.evaluation.explain import HeadRows
from carspotter.inference.bundle import FINDER, Bundle, write_bundle
from carspotter.inference.explanation import explain
from carspotter.inference.predictor import load
from carspotter.inference.reference import REFERENCE, Reference, make_reference, write_reference
from carspotter.inference.strangers import Strangers
from carspotter.records import Calibration, Photo, Scores, Verdict
from helpers.tiny import SHARPNESS, colour_photo, tiny_card, tiny_files, tiny_finder

TAUGHT = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)  # the net's embedding is the photo's mean colour
KNOWS = Calibration(temperature=1.0, method="by hand", photos=100, detector="knn", strange_at=0.3, refused=0.05)
ROWS = HeadRows(SHARPNESS * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
PURPLE, OLIVE, RED = colour_photo(200, 0, 200), colour_photo(0, 200, 200), colour_photo(250, 10, 0)


def reference(embeddings: np.ndarray = TAUGHT) -> Reference:
    labels = np.arange(len(embeddings)) // 5
    ids = tuple(f"{i}.png" for i in range(len(embeddings)))
    return make_reference(Scores(ids, np.zeros((len(embeddings), 3), np.float32), embeddings), labels, ROWS)


def bundle(folder: Path, calibration: Calibration | None, *, finder: bool = False, remembers: bool = True) -> Bundle:
    files = tiny_files(folder / "parts")
    card = tiny_card(folder / "parts", calibration=calibration)
    if remembers:
        files[REFERENCE] = folder / "parts" / REFERENCE
        write_reference(files[REFERENCE], reference())
    if finder:
        files[FINDER] = folder / "parts" / FINDER
        files[FINDER].write_bytes(tiny_finder())
    hashes = {name: hash_file(path) for name, path in files.items()}
    return write_bundle(folder / "model", card.model_copy(update={"files": hashes}), files)


def test_what_was_never_taught_is_unknown(tmp_path: Path) -> None:
    predictor = load(bundle(tmp_path, KNOWS).folder)
    red, purple = predictor.identify([RED, PURPLE])
    assert red.verdict is Verdict.NAMED
    assert (purple.verdict, purple.claim, purple.group) == (Verdict.UNKNOWN, (), None)
    assert purple.reason == f"unlike every model that was taught; {purple.top[0].label} is the nearest"
    assert purple.top[0].label in {"red", "blue"}  # what it is most like is still told
    shown = explain(predictor, Photo("p", PURPLE), reference=predictor.reference)
    assert shown.answer.verdict is Verdict.UNKNOWN
    two = predictor.identify([Photo("same", PURPLE), Photo("same", RED)])  # by position, not by name
    assert [one.verdict for one in two] == [Verdict.UNKNOWN, Verdict.NAMED]


def test_a_stranger_in_which_no_vehicle_is_seen_is_no_car(tmp_path: Path) -> None:
    """The finder sees vehicles in what is redder than green."""
    calibration = KNOWS.model_copy(update={"no_car_at": 50.0})
    predictor = load(bundle(tmp_path, calibration, finder=True).folder)
    assert predictor.finder is None  # photos are shown whole all the same
    purple, olive, green = predictor.identify([PURPLE, OLIVE, colour_photo(0, 250, 0)])
    assert (purple.verdict, olive.verdict) == (Verdict.UNKNOWN, Verdict.NOT_A_CAR)
    assert olive.reason == "no car is seen from outside"
    assert green.verdict is Verdict.NAMED  # no vehicle either, but no stranger


@pytest.mark.parametrize(
    ("calibration", "remembers"),
    [
        (None, True),
        (KNOWS, False),
        (KNOWS.model_copy(update={"strange_at": None}), True),
        (KNOWS.model_copy(update={"detector": ""}), True),
    ],
)
def test_a_model_that_cannot_tell_calls_nothing_strange(
    tmp_path: Path, calibration: Calibration | None, remembers: bool
) -> None:
    predictor = load(bundle(tmp_path, calibration, remembers=remembers).folder)
    assert predictor.identify(PURPLE).verdict is Verdict.NAMED


def test_a_detector_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path, KNOWS.model_copy(update={"detector": "oracle"})).folder
    with pytest.raises(BundleError, match="names the detector oracle, this version has knn"):
        load(folder)
    with pytest.raises(BundleError, match="remembers no photo"):
        Strangers(reference(np.zeros((0, 3), np.float32)))
    with pytest.raises(BundleError, match="3 numbers a photo are not of 2 networks"):
        Strangers(reference(), 2)


def test_networks_side_by_side_have_the_same_say() -> None:
    """However large the numbers of one are, and whichever training photos are near in one alone."""
    loud = np.concatenate([TAUGHT, 100 * TAUGHT], axis=1)
    asked = np.concatenate([TAUGHT[[5, 0]], 100 * np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float32)], axis=1)
    scores = Scores(("a", "b"), np.zeros((2, 3), np.float32), asked)
    found = Strangers(reference(loud), 2).strangeness(scores)
    # Both networks know the first photo, though not by the same training photos; the second one only the first does.
    assert found == pytest.approx([0, (0 + (2 - 1.6) ** 0.5) / 2], abs=1e-3)
    assert Strangers(reference(loud)).strangeness(scores)[1] > 0.6  # what would be if the louder one were heard alone
