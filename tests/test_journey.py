"""The README's story end to end, through the real entry of the command line."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import carspotter
from carspotter.apps.cli import main
from carspotter.apps.commands.demo import play
from carspotter.data.synthetic import draw_lot
from carspotter.recipe import load_recipe
from carspotter.records import Verdict
from carspotter.tracking.runs import open_store

RECIPE = """
name = "tiny"
about = "Seconds, for tests: every kind of stage, hardly any learning."
seed = 1
threads = 1
backbone = "tf_efficientnet_lite0"
split = { share = 0.25 }

[[stage]]
name = "head"
trains = "head"
epochs = 3
height = 64
width = 64
batch = 16
lr = 3e-3
views = 2
augment = { flip = true }

[[stage]]
name = "top"
trains = "block7a"
epochs = 1
height = 64
width = 96
batch = 16
lr = 1e-3
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_db: Path) -> Path:
    """An empty working folder with the tiny recipe in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def columns(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.slow
def test_a_drawn_contest_from_check_to_rerun(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_lot("contest", train=60, test=10, height=96, width=128)

    assert main(["check", "contest", "--sheet", "sheet.png"]) == 0
    assert "60 photos, 10 classes" in capsys.readouterr().out
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")

    assert main(["train", "contest", "--recipe", "tiny.toml", "-o", "models/tiny"]) == 0
    assert "accuracy" in capsys.readouterr().out
    card = json.loads(Path("models/tiny/card.json").read_text(encoding="utf-8"))
    assert card["provenance"]["parity"] < 1e-3

    assert main(["submit", "models/tiny", "contest", "-o", "submission.csv", "--tta", "2"]) == 0
    given, sample = columns(Path("submission.csv")), columns(Path("contest/sample-submission.csv"))
    assert [row[0] for row in given] == [row[0] for row in sample]
    assert {row[1] for row in given[1:]} <= set("0123456789")

    assert main(["predict", "models/tiny", "contest/test.zip", "-o", "answers.jsonl"]) == 0
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 10
    assert {row["label"] for row in answers} <= set(card["classes"])

    run = open_store().list()[0]
    # Nothing of the first training may be left: features read back from a cache would prove nothing.
    monkeypatch.setenv("CARSPOTTER_CACHE", str(workplace / "empty"))
    assert main(["runs", "rerun", run.id[:8]]) == 0, capsys.readouterr()
    again = open_store().list()[0]
    assert again.id != run.id
    assert again.bundle_hash == run.bundle_hash
    assert again.bundle == f"models/tiny-{again.id[:8]}"
    capsys.readouterr()
    assert main(["runs", "compare", run.id, again.id, "--curves", "curves.png"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert Path("curves.png").is_file()


@pytest.mark.slow
def test_every_fold_becomes_one_model_and_finished_folds_are_not_trained_again(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_lot("contest", train=60, test=10, height=96, width=128)
    words = ["train", "contest", "--recipe", "tiny.toml", "--set", "stage.1.epochs=0", "--set", "split.folds=2"]
    words += ["--every-fold", "-o", "models/all"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("fold ") == 2
    assert "on 60 photos" in out
    assert len(open_store().list()) == 2
    assert main(words) == 0
    assert "2 of 2 folds had been trained before" in capsys.readouterr().err
    assert len(open_store().list()) == 2
    assert main(["submit", "models/all", "contest", "-o", "submission.csv"]) == 0
    assert len(columns(Path("submission.csv"))) == 11
    assert main([*words, "--resume", "x"]) == 2

    assert main([*words, "--repeats", "2"]) == 0
    told = capsys.readouterr()
    assert "2 of 4 folds had been trained before" in told.err
    assert "that is of the mean of 2 networks; the model is the mean of all" in told.err
    assert "fold 1 of seed 2 " in told.out
    assert "on 60 photos" in told.out


@pytest.mark.parametrize("words", [["--repeats", "2"], ["--join", "soup"]])
def test_what_only_every_fold_can_do_is_refused_without(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere", *words]) == 2
    assert f"{words[0]} needs --every-fold" in capsys.readouterr().err


@pytest.mark.slow
def test_the_python_of_the_readme(workplace: Path) -> None:
    draw_lot("contest", train=40, test=10, height=96, width=128, faults=False)
    dataset = carspotter.read_source("contest")
    run = carspotter.train(dataset, carspotter.load_recipe("tiny.toml", ["stage.1.epochs=0"]), out="models/other")
    assert run.evaluation is not None
    assert run.evaluation.accuracy.n == len(open_store().split(run.id).validation)
    photo = workplace / "photo.jpg"
    where = dataset.photos[0].where
    from carspotter.data.photo import read_bytes

    photo.write_bytes(where if isinstance(where, bytes) else read_bytes(where))
    answer = carspotter.load("models/other").identify("photo.jpg")
    assert answer.verdict is Verdict.NAMED
    assert answer.top[0].label in dataset.classes


@pytest.mark.slow
def test_broken_photos_are_left_out_named_and_exit_code_3(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for number, name in enumerate(("red", "blue")):
        (workplace / "cars" / name).mkdir(parents=True)
        for i in range(6):
            noise = Image.effect_noise((80, 60), 30 + 10 * i).convert("RGB")
            colour = Image.new("RGB", (80, 60), (200 * (1 - number), 10 * i, 200 * number))
            Image.blend(noise, colour, 0.5).save(workplace / "cars" / name / f"{i}.png")
    (workplace / "cars" / "red" / "broken\n.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    words = ["train", "cars", "--recipe", "tiny.toml", "--set", "stage.1.epochs=0", "-o", "models/cars"]
    assert main(words) == 3
    err = capsys.readouterr().err
    assert "red/broken\\n.jpg" in err
    assert "1 of 13 photos" in err
    assert len(open_store().list()[0].rejected) == 1

    assert main([*words, "--strict"]) == 2
    assert "red/broken\\n.jpg" in capsys.readouterr().err
    assert len(open_store().list()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "contest", "-o", "own"], "own"),
        (["train", "contest", "--set", "stage.0.lr=-1", "--set", "speed=9"], "speed"),
        (["train", "contest", "--recipe", "absent.toml"], "absent.toml"),
        (["train", "nowhere"], "nowhere"),
        (["train", "own"], "own"),
        (["check", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(
    words: list[str], said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "own").mkdir()
    (workplace / "own" / "thesis.txt").write_text("no model", encoding="utf-8")
    draw_lot("contest", train=10, test=1, height=64, width=64, faults=False)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert (workplace / "own" / "thesis.txt").is_file()
    assert open_store().list() == ()


@pytest.mark.slow
def test_the_demo_takes_the_lot_that_is_there_and_says_where_to_look(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_lot("demo", train=40, test=10, height=96, width=128).write_truth()
    drawn = Path("demo/train.zip").stat().st_mtime_ns
    play(Path("demo"), Path("models/demo"), load_recipe("tiny.toml", ["stage.1.epochs=0"]), (50, 20))
    assert Path("demo/train.zip").stat().st_mtime_ns == drawn
    out = capsys.readouterr().out
    assert "DRAWN" in out
    assert "on 10 photos" in out
    for place in ("models/demo", "demo/submission.csv", "demo/curves.png"):
        assert place in out
        assert Path(place).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_says_so_and_stays_visible(sign: signal.Signals, code: int, workplace: Path) -> None:
    draw_lot("contest", train=40, test=1, height=96, width=128)
    words = ["train", "contest", "--recipe", "tiny.toml", "--set", "stage.1.epochs=1000", "-o", "models/stopped"]
    process = subprocess.Popen(
        [sys.executable, "-m", "carspotter.apps.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (runs := open_store().list()) or not runs[0].history:
        assert process.poll() is None, process.communicate()
        time.sleep(0.5)
    process.send_signal(sign)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-1] == ("interrupted" if code == 130 else "terminated")
    assert "Traceback" not in err
    stopped = open_store().list()[0]
    assert stopped.status == "interrupted"
    assert stopped.history
    assert not Path("models/stopped").exists()


@pytest.mark.slow
def test_the_demo_learns_what_it_draws(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    run = open_store().list()[0]
    assert run.evaluation is not None
    # Guessing gives 0.1. Assumption: three times that is learning, whatever the threads of this machine round.
    assert run.evaluation.accuracy.low > 0.3
    assert run.photos == 400
    assert f"{run.evaluation.accuracy}" in capsys.readouterr().out
    assert len(columns(Path("demo/submission.csv"))) == 101


@pytest.mark.slow
@pytest.mark.real
def test_the_real_contest_from_check_to_submission(
    shared: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The walkthrough of the README on real photos, with `fast` cut to a few epochs."""
    contest = str(shared / "contest")
    assert main(["check", contest, "--sheet", "sheet.png"]) == 0
    assert "616 photos, 10 classes" in capsys.readouterr().out

    stages = load_recipe("fast").stage
    epochs = [min(stage.epochs, 3) for stage in stages]
    fewer = [word for number, few in enumerate(epochs) for word in ("--set", f"stage.{number}.epochs={few}")]
    assert main(["train", contest, "--recipe", "fast", *fewer, "-o", "models/contest"]) == 0
    run = open_store().list()[0]
    assert run.evaluation is not None
    # Guessing gives 0.1. Assumption: a working net's interval is above twice that even after few epochs.
    assert run.evaluation.accuracy.low > 0.2

    assert main(["submit", "models/contest", contest, "-o", "submission.csv", "--tta", "2"]) == 0
    given, sample = columns(Path("submission.csv")), columns(shared / "contest" / "sample-submission.csv")
    assert [row[0] for row in given] == [row[0] for row in sample]
    assert len({row[1] for row in given[1:]}) > 3

    assert main(["predict", "models/contest", str(shared / "contest" / "test.zip"), "-o", "answers.parquet"]) == 0
    assert main(["predict", "models/contest", str(shared / "bad_photos"), "-o", "bad.csv"]) == 3
    assert "fault of carspotter" not in capsys.readouterr().err
