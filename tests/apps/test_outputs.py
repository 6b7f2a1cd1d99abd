"""No command writes over what it reads: it is found before the work, and what is read stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.apps.cli import main
from helpers.tiny import colour_photo

DECIDED = "id,kind,decision,label,who,when,why\n1.png,dark,keep,,me,2026-11-27,\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a table `cars.csv` with its photos, a contest's sample, and decisions among findings."""
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars" / "1.png").write_bytes(colour_photo(250, 0, 0))
    (tmp_path / "cars.csv").write_text("id,label\n1.png,red\n")
    (tmp_path / "sample-submission.csv").write_text("Id,Category\n1.png,0\n")
    for name in ("answers.csv", "report/answers.csv", "audit/findings.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(DECIDED)
    (tmp_path / "mine.toml").write_text("")
    (tmp_path / "linked.csv").symlink_to(tmp_path / "cars.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "audit cars.csv --decisions audit/findings.csv",
        "audit cars.csv --against audit/findings.csv",
        "audit audit/findings.csv",
        "evaluate model report/answers.csv",
        "explain model cars/1.png -o cars/1.png",
        "mine model cars.csv --pool cars --table cars.csv",
        "mine model cars.csv --pool answers.csv --table answers.csv",
        "mine model cars.csv --pool cars --decisions answers.csv --table answers.csv",
        "mine model linked.csv --pool cars --table cars.csv",
        "lot model cars.csv --photos cars --model-column label -o linked.csv",
        "submit model . -o sample-submission.csv",
        "runs import-seed cars.csv --report cars.csv",
        "sweep cars.csv --recipe mine.toml -o mine.toml",
        "sweep cars.csv --space mine.toml -o mine.toml",
    ],
)
def test_what_is_read_is_not_written_over(place: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert main(words.split()) == 2
    assert "what stands there is read; choose another place" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_what_an_earlier_work_wrote_is_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "no model", "cars.csv"])
    assert "what stands there" not in capsys.readouterr().err
