"""A search from end to end, with processes that really train and really die."""

from __future__ import annotations

import multiprocessing
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from carspotter.apps.cli import main
from carspotter.data.source import read_source
from carspotter.errors import ManyProblems, RecipeError, TrackingError, TrainingError
from carspotter.progress import Progress
from carspotter.recipe import load_recipe
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training.look import look
from carspotter.training.space import Axis, Space, load_space
from carspotter.training.study import Tried, default_storage, open_study
from carspotter.training.sweep import Plan, Sweep, _conditions, sweep
from helpers.colours import RECIPE, write_colours

pytestmark = pytest.mark.usefixtures("runs_db")

GOOD = """
"stage.0.lr" = { low = 5e-3, high = 2e-2, log = true }
"head.dropout" = { choices = [0.0, 0.1] }
"""
PLANTED = """
"stage.0.lr" = { choices = [1e-2, 2e-2, 1e-6] }
"stage.0.augment.rotation" = { choices = [0, 5, 10] }
"""
"""At a rate of 1e-6 nothing is learnt."""
LONG = """
"stage.0.lr" = { low = 5e-3, high = 2e-2 }
"""


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "lot")


@pytest.fixture
def space(tmp_path: Path) -> Any:
    """Writes a space beside the recipe that it varies."""

    def write(axes: str, head: str = "") -> Path:
        (tmp_path / "base.toml").write_text(RECIPE, encoding="utf-8")
        path = tmp_path / "space.toml"
        path.write_text(f'recipe = "{tmp_path / "base.toml"}"\n{head}\n[axes]\n{axes}', encoding="utf-8")
        return path

    return write


def on(lot: Path) -> Dataset:
    return read_source(lot)


def children() -> list[Any]:
    return [child for child in multiprocessing.active_children() if child.name == "carspotter-trial"]


def killing(times: int, when: str = "features") -> Progress:
    """A progress that kills the process that trains, so many times: at work on features, or between two trials."""
    left = times

    def show(phase: str, done: int, total: int, said: str = "") -> None:
        nonlocal left
        if phase == when and left:
            left -= 1
            for child in children():
                child.kill()
                child.join()

    return show


@pytest.mark.slow
def test_the_planted_bad_rate_is_given_up_and_the_best_is_told(
    lot: Path, space: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One search, looked at from all sides: starting a process that trains takes seconds."""
    path, best = space(PLANTED, head="hold = 3"), tmp_path / "best.toml"
    words = ["sweep", str(lot), "--space", str(path), "--trials", "12", "--study", "mine", "-o", str(best)]
    assert main(words) == 0
    said, remarks = capsys.readouterr()
    assert children() == []

    # 1. Every trial is a run that bears the study's name.
    tried = tried_in("mine")
    runs = {run.id: run for run in open_store().list()}
    assert len(tried) == len(runs) == 12
    assert {run.name for run in runs.values()} == {"mine"}
    finished = [trial for trial in tried if trial.state == "finished"]
    for trial in finished:
        run = runs[trial.facts["run"]]
        assert run.evaluation is not None
        assert (run.status, run.bundle, run.evaluation.log_loss) == ("finished", None, trial.value)
        assert f"{run.recipe.stage[0].lr:g}" == f"{float(trial.values['stage.0.lr']):g}"

    # 2. What learns nothing is pruned as soon as there is something to compare it with, and nothing else is.
    pruned = [trial for trial in tried if trial.state == "pruned"]
    late = [t for t in tried if t.values["stage.0.lr"] == "1e-06" and sum(f.number < t.number for f in finished) >= 5]
    assert late
    assert {trial.number for trial in late} <= {trial.number for trial in pruned}
    assert {run.status for run in runs.values()} == {"finished", "failed"}
    assert "TrainingStopped: pruned after epoch 3 of 10" in next(r.error or "" for r in runs.values() if r.error)

    # 3. Trials share their views in threes, so that features are computed at most by the first of each three.
    computed = [trial.number for trial in tried if not trial.facts["stored"]]
    assert computed[0] == 0
    assert {1, 2, 4, 5, 7, 8, 10, 11}.isdisjoint(computed)
    rotations = [trial.values["stage.0.augment.rotation"] for trial in tried]
    assert [rotations[i] == rotations[i + 1] == rotations[i + 2] for i in range(0, 12, 3)] == [True] * 4

    # 4. The best is printed as settings and written as a recipe, with what it is worth.
    top = min(finished, key=lambda trial: trial.value or 0)
    assert f"study    mine: {len(finished)} finished, {len(pruned)} pruned, 0 failed" in said
    assert f"--set stage.0.lr={top.values['stage.0.lr']}" in said
    assert f"{12 - len(computed)} read stored features only" in said
    assert f"the best of {len(finished)} on the same 6 photos is partly the luckiest" in remarks
    assert "trials: 12 of 12: trial 11: " in remarks
    assert "s, features computed" in remarks
    written = load_recipe(best)
    assert (written.name, f"{written.stage[0].lr:g}") == ("best", f"{float(top.values['stage.0.lr']):g}")
    assert "optimistic" in written.about

    # 5. The same command has nothing left to do, and says the same again.
    assert main(words) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[0] == said.splitlines()[0]
    assert "read stored" not in again
    assert len(open_store().list()) == 12


def tried_in(name: str) -> tuple[Tried, ...]:
    """Every trial of a study."""
    conditions = optuna.load_study(study_name=name, storage=default_storage()).user_attrs["conditions"]
    any_space = Space(name, "", "fast", (), (Axis("x", ("1", "2")),))
    with open_study(name, any_space, conditions, by="log_loss", seed=0, storage=default_storage()) as study:
        return study.tried()


@pytest.mark.slow
def test_a_killed_process_costs_its_trial_nothing(lot: Path, space: Any) -> None:
    found = sweep(on(lot), load_space(space(GOOD)), Plan(3), progress=killing(1))
    assert [trial.state for trial in found.tried] == ["repeated", "finished", "finished", "finished"]
    assert found.tried[0].values == found.tried[1].values
    assert found.session == (0, 1, 2, 3)
    killed = sorted(run.status for run in open_store().list())
    assert killed == ["finished", "finished", "finished", "interrupted"]


@pytest.mark.slow
def test_a_process_killed_between_two_trials_is_replaced(lot: Path, space: Any) -> None:
    found = sweep(on(lot), load_space(space(GOOD)), Plan(2), progress=killing(1, "trials"))
    assert [trial.state for trial in found.tried] == ["finished", "repeated", "finished"]


@pytest.mark.slow
def test_settings_that_kill_again_and_again_are_given_up(lot: Path, space: Any) -> None:
    with pytest.raises(TrainingError, match=r"none of the 3 trials of study space-.* finished; allow more, or narrow"):
        sweep(on(lot), load_space(space(GOOD)), Plan(1), progress=killing(9))
    assert children() == []


@pytest.mark.slow
def test_two_processes_do_what_one_does(lot: Path, space: Any) -> None:
    found = sweep(on(lot), load_space(space(GOOD)), Plan(4, jobs=2))
    assert [trial.state for trial in found.tried] == ["finished"] * 4
    assert len(open_store().list()) == 4
    assert isinstance(found, Sweep)
    assert found.best.value == min(trial.value or 9 for trial in found.tried)
    assert 0 <= found.alike <= 3
    assert found.trial_seconds > 0


@pytest.mark.slow
def test_accuracy_can_be_searched_and_time_bounded(lot: Path, space: Any) -> None:
    dataset, chosen = on(lot), load_space(space(GOOD))
    with pytest.raises(TrainingError, match="none of the 0 trials"):
        sweep(dataset, chosen, Plan(50, minutes=0, study="a"))
    found = sweep(dataset, chosen, Plan(2, by="accuracy", study="b"))
    assert found.best.value == max(trial.facts["accuracy"] for trial in found.tried)


@pytest.mark.slow
def test_what_no_trial_would_survive_ends_the_search(lot: Path, space: Any) -> None:
    path = space('"stage.0.trains" = { choices = ["head", "block99"] }')
    with pytest.raises(ManyProblems, match=r"^trial \d: .*block99") as refused:
        sweep(on(lot), load_space(path), Plan(8))
    assert refused.value.exit_code == 2
    assert children() == []


@pytest.mark.slow
def test_values_that_do_not_go_together_cost_their_trial_alone(lot: Path, space: Any) -> None:
    """A head alone is sound and so is mixup, on a recipe that trains everything without; both together are not."""
    path = space('"stage.0.trains" = { choices = ["all", "head"] }\n"stage.0.mixup" = { choices = [0.0, 0.2] }\n')
    path.write_text(path.read_text(encoding="utf-8").replace("base.toml", "whole.toml"), encoding="utf-8")
    whole = RECIPE.replace('trains = "head"', 'trains = "all"').replace("epochs = 10", "epochs = 1")
    path.with_name("whole.toml").write_text(whole, encoding="utf-8")
    found = sweep(on(lot), load_space(path), Plan(8))
    odd = [t for t in found.tried if (t.values["stage.0.trains"], t.values["stage.0.mixup"]) == ("head", "0.2")]
    assert odd
    assert {trial.state for trial in odd} == {"pruned"}
    assert "vectors computed once" in odd[0].facts["reason"]
    assert {trial.state for trial in found.tried if trial not in odd} == {"finished"}


def test_a_name_that_is_no_name_is_refused_before_anything(lot: Path, space: Any) -> None:
    for name in ("a/b", "", "x" * 81, "a\nb"):
        with pytest.raises(RecipeError, match=r"--study .*: needs 1 to 80 printable characters"):
            sweep(on(lot), load_space(space(GOOD)), Plan(1, study=name))


def test_near_copies_found_anew_make_another_study(lot: Path, space: Any) -> None:
    """The photos, the settings and the search are the same, and yet other photos validate: no trial compares."""
    chosen, looked = load_space(space(GOOD)), look(on(lot))
    base = load_recipe(chosen.recipe, chosen.fixed)
    firsts = [fact for fact in looked.facts[::2] for _ in range(2)]
    copies = tuple(
        replace(first, id=fact.id, digest=fact.digest) for first, fact in zip(firsts, looked.facts, strict=True)
    )
    before, after = (_conditions(chosen, base, scan, "log_loss") for scan in (looked, replace(looked, facts=copies)))
    assert {key for key in before if before[key] != after[key]} == {"validation photos"}

    def begin(conditions: dict[str, Any]) -> None:
        with open_study("mine", chosen, conditions, by="log_loss", seed=0, storage=default_storage()):
            pass

    begin(before)
    with pytest.raises(TrackingError, match="study mine was begun with other validation photos, so its trials cannot"):
        begin(after)


def test_a_recipe_is_not_written_under_another_ending(lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(lot), "-o", "best.json"]) == 2
    assert "name it best.toml" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_search_without_time_is_refused_at_once(lot: Path, minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(lot), "--minutes", minutes]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--minutes {minutes}: no trial would begin; give more than 0, or leave it out for no limit")


# ---- interrupted from outside ---------------------------------------------------------------------------------------


def started(lot: Path, path: Path, trials: int, *more: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    program = "import sys; from carspotter.apps.cli import main; sys.exit(main())"
    words = ["sweep", str(lot), "--space", str(path), "--trials", str(trials), "--study", "mine", *more]
    return subprocess.Popen(
        [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def heard(process: subprocess.Popen[str], what: str) -> subprocess.Popen[str]:
    """The same process, once it has said that."""
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(what, line):
            return process
    raise AssertionError(f"the sweep ended with {process.wait()}")


def finished_again(lot: Path, path: Path, trials: int) -> Sweep:
    return sweep(on(lot), load_space(path), Plan(trials, study="mine"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_search_goes_on_where_it_was(lot: Path, space: Any, number: signal.Signals, code: int) -> None:
    path = space(LONG, head='set = ["stage.0.epochs=80"]')
    process = heard(started(lot, path, 3), "trial 0: log loss")
    assert process.stderr is not None
    with process.stderr:
        time.sleep(0.5)  # into the second trial; wherever it strikes, the outcome must be the same
        process.send_signal(number)
        assert process.wait(timeout=300) == code
        rest = process.stderr.read()
    assert "Traceback" not in rest
    found = finished_again(lot, path, 3)
    states = [trial.state for trial in found.tried]
    assert states[0] == "finished"
    assert [state for state in states if state != "repeated"] == ["finished"] * 3
    assert 0 not in found.session
    for trial in found.tried:
        # What was under way is trained with the very same settings; killed before they were drawn, it has none.
        if trial.state == "repeated" and trial.values:
            assert found.tried[trial.facts.get("number", states.index("repeated") + 1)].values == trial.values
    deadline = time.monotonic() + 300
    while any(run.status == "running" for run in open_store().list()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert {run.status for run in open_store().list()} <= {"finished", "interrupted"}


# ---- several workers ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_two_workers_one_is_killed_and_no_trial_is_lost_or_done_twice(
    lot: Path, space: Any, postgresql: str
) -> None:
    """Two commands on one study, as on two machines; the first is killed with a trial under way."""
    path, trials = space(LONG, head='set = ["stage.0.epochs=80"]'), 5  # none is pruned before as many have ended
    first, second = (started(lot, path, trials, "--storage", postgresql) for _ in range(2))
    with first, second:
        for worker in (first, second):
            heard(worker, r"trial \d+: log loss")
        time.sleep(0.5)  # into a trial; wherever it strikes, the outcome must be the same
        first.kill()
        first.wait()
        assert second.stderr is not None
        rest = second.stderr.read()
        assert second.wait(timeout=300) == 0, rest
    found = sweep(on(lot), load_space(path), Plan(trials, study="mine", storage=postgresql))
    states = [trial.state for trial in found.tried]
    assert found.session == ()  # nothing was left to do
    assert [state for state in states if state != "repeated"] == ["finished"] * trials
    assert states.count("repeated") <= 1
    for trial in found.tried:
        if "repeats" in trial.facts:
            assert found.tried[trial.facts["repeats"]].values in (trial.values, {})
    # Each was trained to its end once, and by whom it was begun or whoever took it over.
    runs = {run.id: run for run in open_store().list()}
    kept = [trial.facts["run"] for trial in found.tried if trial.state == "finished"]
    assert len(set(kept)) == trials
    assert {runs[run].status for run in kept} == {"finished"}
