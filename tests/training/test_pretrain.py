"""A pretraining that was stopped, or whose backbone found no room, still ends in a backbone."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from tests.training.test_kept import _own_backbones  # noqa: F401 - a fixture
from tests.training.test_outside import inside  # noqa: F401 - a fixture
from tests.training.test_resume import kill_at, only_run  # noqa: F401 - a fixture
from tests.training.test_train import recipe

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.errors import EXIT_SOME_REFUSED, EXIT_TERMINATED, EXIT_UNUSABLE, BackboneError, RecipeError
from carspotter.inference.bundle import read_bundle
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training import kept
from carspotter.training.backbones import find_backbone
from carspotter.training.job import Job
from carspotter.training.kept import kept_folder
from carspotter.training.outside import Sources
from carspotter.training.pretrain import UNSTATED, pretrain

pytestmark = pytest.mark.usefixtures("runs_db", "_own_backbones")


@pytest.fixture
def words(inside: Dataset, tmp_path: Path) -> list[str]:  # noqa: F811
    """The command that begins a pretraining."""
    (tmp_path / "tiny.toml").write_text("\n".join(toml_lines(recipe())), encoding="utf-8")
    return ["pretrain", str(tmp_path / "in"), "--recipe", str(tmp_path / "tiny.toml"), "--name", "mine"]


@pytest.mark.slow
def test_an_interrupted_pretraining_goes_on_to_its_backbone(
    inside: Dataset,  # noqa: F811
    words: list[str],
    kill_at: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, card = pretrain(inside, recipe(), "whole")
    kill_at(3, signal.SIGTERM)
    assert main([*words, "--note", "drawn here"]) == EXIT_TERMINATED
    stopped = only_run()
    assert f"go on with: carspotter pretrain --resume {stopped.id[:8]}" in capsys.readouterr().err
    kill_at(-1, 0)
    assert main(["train", "--resume", stopped.id]) == EXIT_UNUSABLE
    assert f"was begun by pretrain; `carspotter pretrain --resume {stopped.id[:8]}`" in capsys.readouterr().err
    monkeypatch.chdir("/")  # what was first meant is where it goes
    assert main(["pretrain", "--resume", stopped.id[:8]]) == 0
    run = open_store().get(stopped.id)
    assert run.bundle_hash == whole.bundle_hash
    assert find_backbone("mine").sha256 == card.sha256
    assert find_backbone("mine").origin.endswith("; drawn here")
    assert UNSTATED not in capsys.readouterr().err
    assert read_bundle(tmp_path / "models" / f"t-{run.id[:8]}").hash == run.bundle_hash


def test_a_full_disk_at_the_end_keeps_the_net(
    inside: Dataset,  # noqa: F811
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "sync", full)
        assert main(words) == EXIT_UNUSABLE
    (run,) = open_store().list()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "No space left on device" in line
    assert f"the trained net is whole in {tmp_path / 'models' / f't-{run.id[:8]}'}" in line
    assert f"`carspotter pretrain --resume {run.id[:8]}` keeps its backbone" in line
    assert run.status == "finished"
    assert not list(kept_folder().iterdir())

    epochs = run.history
    assert main(["pretrain", "--resume", run.id[:8]]) == 0
    assert open_store().list() == (run,)
    assert run.history == epochs
    assert find_backbone("mine").known_as == "mine"
    assert main(["pretrain", "--resume", run.id[:8]]) == EXIT_UNUSABLE
    assert "there is a backbone 'mine'" in capsys.readouterr().err
    assert main(["pretrain", "--resume", run.id[:8], "--name", "other"]) == 0
    assert find_backbone("other").sha256 == find_backbone("mine").sha256

    (tmp_path / "in" / "a" / "0.png").unlink()
    assert main(["pretrain", "--resume", run.id[:8], "--name", "third"]) == EXIT_UNUSABLE
    assert "was trained on other photos or labels" in capsys.readouterr().err


def test_another_net_in_its_place_is_not_kept(inside: Dataset, tmp_path: Path) -> None:  # noqa: F811
    first, _ = pretrain(inside, recipe(), "first")
    pretrain(inside, recipe(seed=1), "second")
    ours, theirs = sorted((tmp_path / "models").iterdir(), key=lambda path: first.id[:8] not in path.name)
    ours.rename(tmp_path / "aside")
    theirs.rename(ours)
    with pytest.raises(BackboneError, match=f"holds another net than run {first.id[:8]} left"):
        pretrain(inside, recipe(), "third", job=Job(resume=first.id))


def test_photos_that_would_be_named_nowhere_do_not_train(inside: Dataset) -> None:  # noqa: F811
    with pytest.raises(RecipeError, match="learns from one source"):
        pretrain(inside, recipe(), "mine", job=Job(outside=Sources(extra=(inside,))))


def test_photos_left_out_are_told_by_the_exit_code(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "a" / "broken.png").write_bytes(b"\x89PNG")
    assert main([*words, "--strict"]) == EXIT_UNUSABLE
    assert "a/broken.png" in capsys.readouterr().err
    assert open_store().list() == ()
    assert main(words) == EXIT_SOME_REFUSED
    said = capsys.readouterr()
    assert "left out a/broken.png" in said.err
    assert "1 of 17 photos were left out" in said.err
    assert f'the card will say "{UNSTATED}"; say them with --note' in said.err
    assert find_backbone("mine").origin.endswith(f"; {UNSTATED}")
    assert "backbone " in said.out


def test_a_training_is_no_pretraining(words: list[str], capsys: pytest.CaptureFixture[str], kill_at: Any) -> None:  # noqa: F811
    kill_at(1, signal.SIGTERM)
    assert main(["train", *words[1:4]]) == EXIT_TERMINATED
    kill_at(-1, 0)
    assert main(["pretrain", "--resume", only_run().id]) == EXIT_UNUSABLE
    assert "was begun by train; `carspotter train --resume" in capsys.readouterr().err
    assert main(["pretrain"]) == EXIT_UNUSABLE
    assert "name a source, or a run by --resume" in capsys.readouterr().err


def test_it_works_in_one_process(inside: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="pretrain works in one process, not in 2"):
        pretrain(inside, recipe(), "mine")
