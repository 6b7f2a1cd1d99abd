"""`audit` from a set with planted faults to a table and a page."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from carspotter.apps.cli import main
from helpers.tiny import write_tiny_bundle

EACH = 12
CHANNELS = {"red": 0, "green": 1, "<b>blue": 2}


def scene(seed: int, channel: int) -> Image.Image:
    """A picture of its own in which one colour prevails."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 90, (6, 8, 3), dtype=np.uint8)).resize((160, 120))
    fine = Image.fromarray(rng.integers(0, 130, (60, 80, 3), dtype=np.uint8)).resize((160, 120))
    pixels = np.array(Image.blend(coarse, fine, 0.5))
    pixels[:, :, channel] = np.minimum(255, pixels[:, :, channel].astype(int) + 80).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """Three classes by colour; one wrong label, one dark, one blurry, one mirrored copy, one exact copy."""
    folder = tmp_path / "cars"
    for label, channel in CHANNELS.items():
        (folder / label).mkdir(parents=True)
        for at in range(EACH):
            exif = Image.Exif()
            exif[270] = "secret place"
            scene(100 * channel + at, channel).save(folder / label / f"{channel}{at:02}.jpg", quality=95, exif=exif)
    scene(999, 1).save(folder / "red" / "wrong.jpg", quality=95)
    scene(998, 0).point(lambda v: v // 12).save(folder / "red" / "dark.jpg", quality=95)
    blurred = ImageOps.autocontrast(scene(997, 1).filter(ImageFilter.GaussianBlur(6)))
    blurred.save(folder / "green" / "blurry.jpg", quality=95)
    scene(3, 0).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "red" / "zmirror.jpg", quality=95)
    (folder / "red" / "zsame.jpg").write_bytes((folder / "red" / "005.jpg").read_bytes())
    return folder


def issues(folder: Path) -> dict[str, list[dict[str, str]]]:
    rows = list(csv.DictReader(io.StringIO((folder / "findings.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["id", "kind", "score", "is_issue", "why", "suggestion"]
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["is_issue"] == "1":
            found.setdefault(row["kind"], []).append(row)
    return found


def test_planted_faults_are_found_with_a_model_and_no_torch(
    cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "audit"
    other = tmp_path / "test"
    other.mkdir()
    scene(104, 1).resize((80, 60)).save(other / "leak.jpg", quality=90)
    assert main(["audit", str(cars), "--model", str(model), "--against", str(other), "-o", str(out)]) == 0
    found = issues(out)
    assert found["label_error"][0]["id"] == "red/wrong.jpg"
    assert found["label_error"][0]["suggestion"] == "green"
    assert [row["id"] for row in found["dark"]] == ["red/dark.jpg"]
    assert [row["id"] for row in found["blurry"]] == ["green/blurry.jpg"]
    assert [(row["id"], row["suggestion"]) for row in found["near_duplicate"]] == [("red/zmirror.jpg", "red/003.jpg")]
    assert [(row["id"], row["suggestion"]) for row in found["exact_duplicate"]] == [("red/zsame.jpg", "red/005.jpg")]
    assert [(row["id"], row["suggestion"]) for row in found["leak"]] == [("green/104.jpg", "leak.jpg")]
    assert "label_error" in capsys.readouterr().out
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert "<b>blue" not in page
    assert "secret" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_a_set_without_labels_is_audited_for_the_rest(
    cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "audit"
    (cars / "red" / "broken.jpg").write_bytes(b"nothing")
    assert main(["audit", str(cars / "red"), "--model", str(model), "-o", str(out)]) == 3
    found = issues(out)
    assert "label_error" not in found
    assert [row["id"] for row in found["dark"]] == ["dark.jpg"]
    err = capsys.readouterr().err
    assert "labels were not judged" in err
    told = "red: 1 photo could not be read, so nothing is told of broken.jpg (not_a_photo)"
    assert told in err
    assert told in (out / "audit.html").read_text(encoding="utf-8")


HEADER = "id,kind,decision,label,who,when,why"


def test_what_was_decided_is_not_asked_again(cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, table = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "audit", tmp_path / "decisions.csv"
    words = ["audit", str(cars), "--model", str(model), "-o", str(out), "--decisions", str(table)]
    table.write_text(f"{HEADER}\n", encoding="utf-8")
    assert main(words) == 0
    before = issues(out)
    assert "as decided" not in capsys.readouterr().err
    made = (
        "red/wrong.jpg,label_error,relabel,green,ann,2026-11-26,",
        "red/zsame.jpg,exact_duplicate,drop,,ann,2026-11-26,",
        "red/dark.jpg,dark,keep,,ann,2026-11-26,a night photo",
        "green/blurry.jpg,dark,keep,,ann,2026-11-26,",  # another kind: that it is blurry stays
    )
    table.write_text("\n".join((HEADER, *made)), encoding="utf-8")
    assert main(words) == 0
    found, err = issues(out), capsys.readouterr().err
    assert {"red/wrong.jpg"} <= {row["id"] for row in before["label_error"]}
    assert "red/wrong.jpg" not in {row["id"] for row in found.get("label_error", [])}
    assert (len(before["dark"]), len(before["exact_duplicate"])) == (1, 1)
    assert "dark" not in found
    assert "exact_duplicate" not in found
    assert [row["id"] for row in found["blurry"]] == ["green/blurry.jpg"]
    assert "1 photo relabelled by decisions: red/wrong.jpg" in err
    assert "1 photo dropped by decisions: red/zsame.jpg" in err
    assert "1 finding left out, as decided before" in err
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert "1 finding left out, as decided before" in page
    assert 'id="dark"' not in page
    assert "red/dark.jpg,dark," not in (out / "findings.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,kind\nred/dark.jpg,dark\n", "has no column decision, who, when"),
        (f"{HEADER}\ngone.jpg,dark,drop,,ann,2026-11-26,\n", "line 2: {cars} has no photo 'gone.jpg'"),
        (None, "cannot read {table}"),
    ],
)
def test_bad_decisions_are_one_line(
    text: str | None, said: str, cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "decisions.csv", tmp_path / "audit"
    if text is not None:
        table.write_text(text, encoding="utf-8")
    assert main(["audit", str(cars), "-o", str(out), "--decisions", str(table)]) == 2
    err = capsys.readouterr().err
    assert said.format(cars=cars, table=table) in err
    assert len(err.splitlines()) == 1
    assert not (out / "findings.csv").exists()


def thumbnails(page: str) -> list[str]:
    return re.findall(r'src="data:[^"]+"', page)


def test_equal_ids_in_two_sets_are_two_photos(cars: Path, tmp_path: Path) -> None:
    """The leak's pair shows both photos, not the own one twice."""
    model, out = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "audit"
    other = tmp_path / "test"
    (other / "green").mkdir(parents=True)
    scene(104, 1).convert("L").save(other / "green" / "104.jpg", quality=90)
    words = ["audit", str(cars), "--model", str(model), "--against", str(other), "-o", str(out)]
    assert main(words) == 0
    assert [(row["id"], row["suggestion"]) for row in issues(out)["leak"]] == [("green/104.jpg", "green/104.jpg")]
    page = (out / "audit.html").read_text(encoding="utf-8")
    first, second = thumbnails(page[page.index('id="leak"') :])[:2]
    assert first != second
    (other / "green" / "broken.jpg").write_bytes(b"nothing")
    assert main(words) == 3
    assert "test: 1 photo could not be read" in (out / "audit.html").read_text(encoding="utf-8")


def test_a_contests_test_photos_stand_beside_a_set_called_test(
    cars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, contest, test = write_tiny_bundle(tmp_path / "tiny").folder, tmp_path / "contest", tmp_path / "test"
    shutil.copytree(cars, contest / "train")
    rows = [f"{path.name},{path.parent.name}" for path in sorted(cars.glob("*/*.jpg"))]
    (contest / "train.csv").write_text("Id,Category\n" + "\n".join(rows), encoding="utf-8")
    (contest / "sample-submission.csv").write_text("Id,Category\nt.jpg,red\n", encoding="utf-8")
    for folder, seed in ((contest / "test", 104), (test, 105)):
        folder.mkdir()
        scene(seed, 1).resize((80, 60)).save(folder / "t.jpg", quality=90)
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "contest", "--model", str(model), "--against", "test", "-o", "audit"]) == 0
    leaks = issues(tmp_path / "audit")["leak"]
    assert {(row["id"], row["why"].split("is also in ")[1]) for row in leaks} == {
        ("104.jpg", "the contest's test photos"),
        ("105.jpg", "test"),
    }


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["audit", str(tmp_path / "nowhere"), "-o", str(tmp_path / "taken")]) == 2
    err = capsys.readouterr().err
    assert f"cannot write {tmp_path / 'taken' / 'findings.csv'}" in err
    assert "nowhere" not in err
