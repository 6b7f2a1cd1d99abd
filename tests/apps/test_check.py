"""`check` reports everything at once, and its exit code says how bad it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from carspotter.apps.cli import main


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """Two classes of five photos that look different."""
    for number, name in enumerate(("golf", "polo")):
        (tmp_path / "cars" / name).mkdir(parents=True)
        for i in range(5):
            noise = Image.effect_noise((64, 48), 40 + 10 * i).convert("RGB")
            noise.save(tmp_path / "cars" / name / f"{number}{i}.png")
    return tmp_path / "cars"


def test_a_clean_source_is_exit_code_0(cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(cars), "--sheet", str(tmp_path / "sheet.png")]) == 0
    out = capsys.readouterr().out
    assert "10 photos, 2 classes" in out
    assert "no problems" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_refused_photo_is_named_and_exit_code_3(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cars / "golf" / "[red]x\n.png").write_bytes(b"nothing")
    (cars / "golf" / "empty.png").touch()
    assert main(["check", str(cars)]) == 3
    out = capsys.readouterr().out
    assert "golf/[red]x\\n.png" in out
    assert "golf/empty.png" in out


def test_a_table_with_faults_is_exit_code_2_and_names_all(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cars / "list.csv"
    table.write_text("Id,Category\na.png,\nb.png,x\nb.png,y\n", encoding="utf-8")
    assert main(["check", str(table), "--photos", str(cars / "golf")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) >= 2
    assert all(line.startswith("error: ") for line in err.splitlines())


def test_columns_may_be_named(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cars / "list.csv"
    rows = "".join(f"{i},0{i}.png,{'ab'[i % 2]}\n" for i in range(4))
    table.write_text(f"nr,picture,make\n{rows}", encoding="utf-8")
    words = ["check", str(table), "--photos", str(cars / "golf"), "--id-column", "picture"]
    assert main(words) == 2
    capsys.readouterr()
    assert main([*words, "--label-column", "make"]) == 0
    assert "4 photos, 2 classes" in capsys.readouterr().out


def test_a_class_name_cannot_forge_a_line(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cars / "golf").rename(cars / "golf\nproblem: none\x1b[2J")
    assert main(["check", str(cars)]) == 0
    out = capsys.readouterr().out
    assert "\\nproblem: none\\x1b[2J" in out
    assert not any(line.startswith("problem") for line in out.splitlines())


@pytest.mark.real
def test_the_competitions_table_without_photos_is_one_line(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(shared / "competition" / "train.csv")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "15,561 photos" in lines[0]
