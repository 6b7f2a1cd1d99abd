"""`predict` and `submit` through the real entry, with a bundle that names colours."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from pathlib import Path

import pytest

from carspotter.apps.cli import main
from helpers.tiny import colour_photo, write_tiny_bundle


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_bundle(tmp_path / "models" / "tiny").folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(colour_photo(200, 10, 10))
    (folder / "b.png").write_bytes(colour_photo(10, 10, 200))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predict_writes_one_row_per_photo(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.csv"
    assert main(["predict", model, str(photos), "-o", str(out)]) == 0
    assert [(row["id"], row["verdict"], row["label"]) for row in rows(out)] == [
        ("a.png", "named", "red"),
        ("b.png", "named", "blue"),
    ]
    assert capsys.readouterr().out == f"2 answers in {out}\n"


def test_predict_without_a_file_prints_the_table(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", model, str(photos / "a.png"), str(photos / "b.png")]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:3] == ["id", "verdict", "label"]
    assert [line.split("\t")[2] for line in lines] == ["red", "blue"]


def test_a_bad_photo_is_a_row_and_exit_code_3(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "c.jpg").write_bytes(b"no photo at all")
    out = tmp_path / "answers.jsonl"
    assert main(["predict", model, str(photos), str(photos / "gone.jpg"), "-o", str(out)]) == 3
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(found) == 4
    assert [row["verdict"] for row in found] == ["named", "named", "bad_photo", "bad_photo"]
    assert found[3]["reason"].startswith("missing")
    assert "2 of 4 photos" in capsys.readouterr().err


def test_hostile_names_stay_on_their_line(model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("[red]x.png", "new\nline.png", "esc\x1b[2J.png"):
        (photos / name).write_bytes(colour_photo(10, 200, 10))
    (photos / os.fsdecode(b"\xff\xfe.png")).write_bytes(colour_photo(10, 200, 10))
    code = main(["predict", model, str(photos)])
    out, err = capsys.readouterr()
    assert code in (0, 3)
    assert len(out.splitlines()) == 1 + 6
    assert "[red]x.png" in out
    assert "new\\nline.png" in out
    assert "\x1b" not in out + err


def test_tta_is_passed_on(model: str, photos: Path, tmp_path: Path) -> None:
    """Seeded views change brightness, so the probabilities differ from those of the photo alone."""
    once, many = tmp_path / "once.csv", tmp_path / "many.csv"
    assert main(["predict", model, str(photos), "-o", str(once)]) == 0
    assert main(["predict", model, str(photos), "-o", str(many), "--tta", "10"]) == 0
    assert [row["label"] for row in rows(once)] == [row["label"] for row in rows(many)]
    assert [row["probability"] for row in rows(once)] != [row["probability"] for row in rows(many)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "{absent}", "{photos}"], "error: {absent} is no model folder"),
        (["predict", "{model}", "{photos}", "-o", "answers.txt"], "error: "),
        (["predict", "{model}"], "Missing argument"),
        (["predict", "{model}", "{photos}", "--tta", "0"], "--tta"),
        (["submit", "{model}", "{photos}", "-o", "s.csv"], "sample-submission.csv"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    words: list[str], said: str, model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"model": model, "photos": str(photos), "absent": str(tmp_path / "absent")}
    assert main([word.format(**places) for word in words]) == 2
    assert said.format(**places) in capsys.readouterr().err


def contest(folder: Path) -> Path:
    """A contest of three test photos, in an order that is not that of the zip."""
    folder.mkdir()
    ids = {"7.png": (200, 10, 10), "007.png": (10, 10, 200), "12.png": (10, 200, 10)}
    with zipfile.ZipFile(folder / "test.zip", "w") as file:
        for name, colour in sorted(ids.items()):
            file.writestr(f"test_upload/{name}", colour_photo(*colour))
    (folder / "sample-submission.csv").write_text("Id,Category\n" + "".join(f"{name},0\n" for name in ids))
    return folder


def test_submit_answers_exactly_the_sample(model: str, tmp_path: Path) -> None:
    out = tmp_path / "submission.csv"
    assert main(["submit", model, str(contest(tmp_path / "contest")), "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").splitlines() == ["Id,Category", "7.png,0", "007.png,2", "12.png,1"]


def test_submit_writes_nothing_when_a_photo_cannot_be_answered(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = contest(tmp_path / "contest")
    with zipfile.ZipFile(folder / "test.zip", "w") as file:
        for name in ("7.png", "007.png", "12.png"):
            file.writestr(f"test_upload/{name}", b"broken" if name == "12.png" else colour_photo(200, 10, 10))
    out = tmp_path / "submission.csv"
    assert main(["submit", model, str(folder), "-o", str(out)]) == 2
    assert "12.png" in capsys.readouterr().err
    assert not out.exists()
