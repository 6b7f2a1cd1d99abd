"""`explain` through the real entry, with a bundle whose map is where a photo is red rather than green."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carspotter.apps import explain_picture
from carspotter.apps.cli import main
from carspotter.apps.explain_picture import lead
from carspotter.evaluation.unknown import SHIPPED
from carspotter.inference.explanation import Explanation
from carspotter.records import Answer, Calibration, Guess, Verdict
from helpers.tiny import (
    HEIGHT,
    WIDTH,
    as_if_in_integers,
    colour_photo,
    png,
    write_remembering_bundle,
    write_tiny_bundle,
)

TOP = (Guess("red", 0.41), Guess("green", 0.3))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, colour in (("red", (200, 40, 0)), ("green", (0, 200, 40)), ("blue", (0, 40, 200))):
        (tmp_path / "cars" / name).mkdir(parents=True)
        for i in range(2):
            photo = tmp_path / "cars" / name / f"{i}.png"
            photo.write_bytes(colour_photo(*(min(255, c + 20 * i) for c in colour)))
    return tmp_path / "cars"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Dark, red at the left, green in a corner."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, :16, 0], pixels[-8:, -8:, 1] = 255, 255
    (tmp_path / "new.png").write_bytes(png(pixels))
    return tmp_path / "new.png"


def page(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert not {"exif", "xmp", "icc_profile", "comment", "Software"} & image.info.keys()
        assert not image.getexif()
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_picture_and_what_is_said(
    source: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_remembering_bundle(tmp_path / "model", source), tmp_path / "out" / "why.png"
    assert main(["explain", str(model), str(photo), "-o", str(out), "--photos", str(source)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "answer   it is a red"
    assert said[1] == "map      red (86%), rather than green"
    assert said[2] == "lead     2.33 in logits, of which the photo gives 2.33 (exact: the head is linear)"
    assert said[4].startswith("nearest  red: red/")
    assert said[5].startswith("nearest  green: green/")
    assert said[6] == f"picture  {out}"
    drawn = page(out)
    assert drawn.shape[1] == 1320
    red = (drawn == (200, 40, 0)).all(2).sum()
    assert red > 10_000  # the neighbour's own colour is on the page
    heat = drawn[120:500, 672:1300]  # the map lies over the right photo: vermilion at its left, no blue there
    assert heat[:, :200, 0].mean() > heat[:, :200, 2].mean() + 50
    assert heat[-60:, -60:, 2].mean() > heat[-60:, -60:, 0].mean() + 50


def test_a_map_of_gradients_is_not_called_exact() -> None:
    """Its sum is not the lead: what the photo gives is true to first order only."""
    view, scores = np.zeros((8, 8, 3), np.uint8), np.zeros(4, np.float32)
    answer = Answer("photo", Verdict.NAMED)
    found = Explanation(answer, 0, 1, 2.0, np.full((2, 2), 0.5), False, 1.0, 1.5, view, scores)
    assert lead(found) == "2.00 in logits, of which the photo gives 0.50 (to first order: the head is not linear)"
    exact = replace(found, exact=True)
    assert lead(exact).endswith("gives 0.50 (exact: the head is linear)")
    assert lead(replace(exact, placeless=-0.02)).endswith("0.50, tokens of no place -0.02 (exact: the head is linear)")


@pytest.mark.parametrize(
    ("answer", "said", "map_of"),
    [
        (Answer("a", Verdict.NAMED, TOP), "It is a red", "red (41%), rather than green"),
        (Answer("a", Verdict.ONE_OF, TOP, reason="red or green", claimed=2), "One of 2 models", "red (41%), rather"),
        (Answer("a", Verdict.UNSURE, TOP, reason="9 may be meant"), "Not sure which model it is", "red (41%), rather"),
        (Answer("a", Verdict.UNKNOWN, TOP, reason="unlike all"), "No model that it knows", "if it had to be a model"),
        (Answer("a", Verdict.NOT_A_CAR, TOP, reason="no car"), "No photo of a car", "if it had to be a model"),
    ],
)
def test_the_verdict_stands_above_the_map(
    answer: Answer, said: str, map_of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, zeros = np.zeros((8, 8, 3), np.uint8), np.zeros(4, np.float32)
    found = Explanation(answer, 0, 1, 2.0, np.full((2, 2), 0.5), True, 1.0, 1.5, view, zeros)
    drawn = list[str]()
    monkeypatch.setattr(explain_picture._Sheet, "line", lambda _, text, *__: drawn.append(text))
    explain_picture.draw_explanation(found, ("red", "green"), (), tmp_path / "why.png")
    title, *lines = drawn
    assert title == said
    if answer.reason:
        assert lines.pop(0) == f"Reason: {answer.reason}."
    assert lines[0].startswith(f"Map: {map_of}")


def test_a_stranger_is_told_as_one_in_the_first_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `predict` calls unknown is not said to be a model."""
    model, odd = write_remembering_bundle(tmp_path / "model", source), tmp_path / "odd.png"
    card = json.loads((model / "card.json").read_text(encoding="utf-8"))
    bound = Calibration(temperature=1.0, method="none", photos=40, detector=SHIPPED, strange_at=0.01, refused=0.05)
    card["calibration"] = bound.model_dump(mode="json")
    (model / "card.json").write_text(json.dumps(card), encoding="utf-8")
    odd.write_bytes(colour_photo(120, 120, 110))
    assert main(["explain", str(model), str(odd), "-o", str(tmp_path / "why.png")]) == 0
    answer, of, *_ = capsys.readouterr().out.splitlines()
    assert answer == "answer   no model that it knows: unlike every model that was taught; red is the nearest"
    assert of.startswith("map      if it had to be a model that it knows: red")


def test_without_reference_a_line_says_what_to_do(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_remembering_bundle(tmp_path / "model"), tmp_path / "why.webp"
    assert main(["explain", str(model), str(photo), "-o", str(out)]) == 0
    assert "has no reference.safetensors; train again to have them" in capsys.readouterr().err
    assert page(out).shape[1] == 1320


def test_without_source_the_neighbours_are_named(
    source: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_remembering_bundle(tmp_path / "model", source)
    assert main(["explain", str(model), str(photo), "-o", str(tmp_path / "why.jpg"), "--neighbours", "1"]) == 0
    out, err = capsys.readouterr()
    assert "give --photos SOURCE" in err
    assert "nearest  red: red/" in out


def test_another_source_is_not_taken_for_the_right_one(
    source: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_remembering_bundle(tmp_path / "model", source)
    (source / "red" / "0.png").write_bytes(colour_photo(0, 0, 255))
    (source / "green" / "1.png").unlink()
    words = ["explain", str(model), str(photo), "-o", str(tmp_path / "why.png"), "--photos", str(source)]
    assert main(words) == 0
    said = f"2 of the nearest training photos are not in {source} as they were"
    assert capsys.readouterr().err.splitlines()[-1] == said
    as_if_in_integers(model)
    assert main(words) == 0
    doubt = ", or it remembers them as another net saw them"
    assert capsys.readouterr().err.splitlines()[-1] == said + doubt


def test_no_torch_is_loaded_for_a_linear_head(source: Path, photo: Path, tmp_path: Path) -> None:
    model = write_remembering_bundle(tmp_path / "model", source)
    words = ["explain", str(model), str(photo), "-o", str(tmp_path / "why.png"), "--photos", str(source)]
    script = (
        f"from carspotter.apps.cli import main; import sys; assert main({words!r}) == 0; "
        "print([name for name in ('torch', 'timm', 'matplotlib', 'onnx', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{model}", "{tmp}/gone.jpg", "-o", "why.png"], "error: {tmp}/gone.jpg: missing: "),
        (["{model}", "{tmp}/text.jpg", "-o", "why.png"], "error: {tmp}/text.jpg: not_a_photo: "),
        (["{model}", "{tmp}", "-o", "why.png"], "error: {tmp}: "),
        (["{model}", "{photo}", "-o", "why.svg"], "error: cannot draw why.svg: the ending must be"),
        (["{model}", "{photo}", "-o", "why.png", "--against", "lilac"], "error: the model knows no class 'lilac'"),
        (["{tmp}/none", "{photo}", "-o", "why.png"], "error: {tmp}/none is no model folder"),
        (["{bare}", "{photo}", "-o", "why.png", "--photos", "{tmp}/none"], "error: there is no {tmp}/none"),
        (["{model}", "{photo}"], "Missing option"),
    ],
)
def test_what_cannot_work_is_one_line(
    words: list[str],
    said: str,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_bytes(b"no photo at all")
    places = {"model": write_remembering_bundle(tmp_path / "model"), "photo": photo, "tmp": tmp_path}
    places["bare"] = write_tiny_bundle(tmp_path / "bare").folder
    assert main(["explain", *(word.format(**places) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said.format(**places) in err
    assert "Traceback" not in err
    if said.startswith("error"):
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "why.png").exists()
