"""`runs` that come and go, as one types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.tracking.runs import open_store
from helpers.seed_log import copy, training, without_history, write_log


@pytest.fixture
def log(tmp_path: Path, runs_db: Path) -> Path:
    first = training(1)
    return write_log(tmp_path / "log", [first, copy(first, 2, 9), without_history(training(3))])


def test_a_log_comes_in_once(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["runs", "import-seed", str(log), "--report", str(tmp_path / "report.csv")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 training of its own, 1 copy of another row's history, 1 without a whole history" in said
    assert "3 runs added, 0 already there" in said
    assert [line.split(",")[:3] for line in (tmp_path / "report.csv").read_text().splitlines()] == [
        ["NUM_EXP", "distinct", "copy_of"],
        ["1", "true", ""],
        ["2", "false", "1"],
        ["3", "false", ""],
    ]
    assert main(words) == 0
    assert "nothing added: every row is already there" in capsys.readouterr().out
    assert main(["runs", "best"]) == 0
    ranked = capsys.readouterr().out
    assert "seed log 1" in ranked
    assert "seed log 2" not in ranked


def test_a_bad_log_is_one_line_per_problem_and_imports_nothing(
    tmp_path: Path, runs_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [training(1), training(2) | {"R_LOSS": "[0.5"}, training(4) | {"R_ACC": "[x]"}]
    log = write_log(tmp_path / "log", rows)
    assert main(["runs", "import-seed", str(log), "--report", str(tmp_path / "report.csv")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("line ")[2].partition(" ")[0] for line in lines] == ["3:", "4:"]
    assert open_store().list() == ()
    assert not (tmp_path / "report.csv").exists()


def test_a_report_of_another_ending_is_said_before_anything(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "import-seed", str(log), "--report", str(tmp_path / "report.txt")]) == 2
    assert "the ending must be" in capsys.readouterr().err
    assert open_store().list() == ()


def test_runs_go_and_come_back(
    log: Path, tmp_path: Path, template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["runs", "import-seed", str(log)]) == 0
    runs = open_store().list()
    assert main(["runs", "export", "--all", "-o", str(tmp_path / "runs.zip")]) == 0
    assert main(["runs", "export", runs[0].id[:10], runs[0].id[:10], "-o", str(tmp_path / "one.csv")]) == 0
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "runs.db").write_bytes(template.read_bytes())
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{elsewhere / 'runs.db'}")
    capsys.readouterr()
    assert main(["runs", "import", str(tmp_path / "runs.zip")]) == 0
    assert capsys.readouterr().out == "3 runs added, 0 already there\n"
    assert main(["runs", "import", str(tmp_path / "runs.zip")]) == 0
    assert capsys.readouterr().out == "0 runs added, 3 already there\n"
    assert open_store().list() == runs


def test_a_lost_database_comes_back(
    log: Path, runs_db: Path, template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["runs", "import-seed", str(log)]) == 0
    runs = open_store().list()
    runs_db.write_bytes(template.read_bytes())
    monkeypatch.setenv("CARSPOTTER_RUNS", "sqlite:////nowhere/runs.db")
    words = ["runs", "recover", "--store", f"sqlite:///{runs_db}"]
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr() == ("3 runs recovered (3 finished), 0 already there\n", "")
    assert main(words) == 0
    assert capsys.readouterr() == ("0 runs recovered, 3 already there\n", "")
    assert {run.id: run for run in open_store(words[-1]).list()} == {run.id: run for run in runs}


def test_a_recovery_names_what_it_cannot_read(log: Path, runs_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "import-seed", str(log)]) == 0
    folder = runs_db.parent / "artifacts" / ("f" * 32) / "artifacts"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("{}\n")
    capsys.readouterr()
    assert main(["runs", "recover"]) == 3
    said = capsys.readouterr()
    assert said.out == "0 runs recovered, 3 already there\n"
    assert said.err == f"{folder / 'journal.jsonl'}, line 1 is damaged; restore the file from a copy\n"


def test_another_database_s_runs_are_named_with_the_way_to_have_them(
    log: Path, runs_db: Path, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "import-seed", str(log)]) == 0
    place = runs_db.with_name("other.db")
    place.write_bytes(template.read_bytes())
    words = ["runs", "recover", "--store", f"sqlite:///{place}"]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == "0 runs recovered, 0 already there\n"
    assert said.err == (
        "3 more here are of the database runs.db and were left to it; if it is gone, add --of runs.db\n"
    )
    assert main([*words, "--of", "runs.db"]) == 0
    assert capsys.readouterr().out == "3 runs recovered (3 finished), 0 already there\n"


def test_nothing_to_recover_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "recover", "--store", f"sqlite:///{tmp_path}/x/runs.db"]) == 0
    said = capsys.readouterr()
    assert said.out == "0 runs recovered, 0 already there\n"
    assert f"no run lies below {tmp_path / 'x' / 'artifacts'}; name the database" in said.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("words", [[], ["--all", "abc"]])
def test_export_wants_runs_or_all(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "export", *words, "-o", str(tmp_path / "runs.zip")]) == 2
    assert "name the runs to export, or give --all" in capsys.readouterr().err


def test_a_card_has_its_groups(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "import-seed", str(log)]) == 0
    (run,) = (run for run in open_store().list() if run.name == "seed log 1")
    capsys.readouterr()
    assert main(["runs", "card", run.id[:8]]) == 0
    said = capsys.readouterr().out
    titles = [line.removeprefix("# ") for line in said.splitlines() if line.startswith("# ")]
    assert titles == ["run", "data", "augmentation", "model", "head", "optimisation", "result", "time"]
    assert "head.dropout\t0.25\tshare of inputs of the last layer dropped in training" in said
    assert "C_OPTIMIZER_TYPE\tAdam_amsgrad\tКомпиляция модели. Тип оптимайзера" in said


def test_the_page_needs_runs_and_its_extra(
    tmp_path: Path, template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    assert main(["runs", "ui"]) == 2
    assert "there are no runs yet" in capsys.readouterr().err
    if "mlflow" in {found.name for found in metadata.distributions()}:
        pytest.skip("the page is installed here, and would open")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "runs.db").write_bytes(template.read_bytes())
    assert main(["runs", "ui"]) == 2
    assert 'pip install "carspotter[ui]"' in capsys.readouterr().err
