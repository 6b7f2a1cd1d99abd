"""A training that was stopped goes on, and ends in the same weights bit for bit; or says why it cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.test_train import recipe

from carspotter.data.cache import PhotoCache
from carspotter.data.source import read_again, read_source
from carspotter.errors import EXIT_TERMINATED, SourceError, TrackingError, TrainingError
from carspotter.inference.bundle import read_bundle
from carspotter.records import Dataset, Run, Split
from carspotter.tracking import machine
from carspotter.tracking.folder import LOCK
from carspotter.tracking.lock import Lock
from carspotter.tracking.runs import open_store
from carspotter.training import beginning, checkpointer, loop
from carspotter.training import gather as gathering
from carspotter.training import train as driver
from carspotter.training.checkpoint import FOLDER
from carspotter.training.job import Job
from carspotter.training.look import look
from carspotter.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("runs_db")]

SIZE = {"height": 64, "width": 64, "batch": 8}
AUGMENT = {"rotation": 9.0, "flip": True}
STAGES = (
    {"name": "head", "trains": "head", "epochs": 2, "lr": 1e-2, **SIZE, "views": 2, "augment": AUGMENT},
    {"name": "half", "trains": "blocks.2", "epochs": 1, "lr": 1e-3, "optimizer": "sgd", **SIZE, "augment": AUGMENT},
    {
        "name": "all",
        "epochs": 3,
        "lr": 1e-3,
        "batch": 8,
        "height": 48,
        "width": 64,
        "ema": 0.9,
        "mixup": 0.3,
        "keep": "best",
        "early_stop": 3,
        "optimizer": "nadam",
        "clip": 1.0,
        "schedule": {"kind": "plateau"},
        "augment": {**AUGMENT, "policy": "trivial"},
    },
)
RECIPE = recipe(*STAGES, shards=2, head={"dropout": 0.5})


@pytest.fixture(scope="module")
def kept() -> list[Run]:
    return []


@pytest.fixture
def whole(kept: list[Run], lot: Dataset, tmp_path: Path) -> Run:
    """The training that nobody interrupts, in the store of the first test that asks."""
    if not kept:
        kept.append(train(lot, RECIPE, out=tmp_path / "whole"))
    return kept[0]


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sends this process a signal in the middle of the step with this number, counted over all stages."""

    def arrange(number: int, kind: int) -> None:
        step, seen = loop._step, [0]

        def counted(*words: Any) -> None:
            step(*words)
            if seen[0] == number:
                os.kill(os.getpid(), kind)
            seen[0] += 1

        monkeypatch.setattr(loop, "_step", counted)

    return arrange


def only_run() -> Run:
    (run,) = [run for run in open_store().list() if run.status != "finished"]
    return run


def same(run: Run, whole: Run) -> None:
    """The weights, and a journal that shows one training."""
    assert run.status == "finished"
    assert run.bundle_hash == whole.bundle_hash
    fields = ("stage", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    ours, theirs = ([[getattr(r, f) for f in fields] for r in one.history] for one in (run, whole))
    assert ours == theirs
    assert run.freezing == whole.freezing
    assert run.timings.keys() == whole.timings.keys()
    assert run.error is None


def folder_of(run: Run) -> Path:
    return next(Path(os.environ["CARSPOTTER_RUNS"].removeprefix("sqlite:///")).parent.rglob(f"{run.id}/artifacts"))


def checkpoints(run: Run) -> list[Path]:
    return sorted((folder_of(run) / FOLDER).glob("*.safetensors"))


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in (1, 3, 7, 8)]


@pytest.mark.parametrize("number", [0, 4, 11, *SLOW])
def test_a_signal_after_any_step(number: int, whole: Run, lot: Dataset, tmp_path: Path, kill_at: Any) -> None:
    """Two steps an epoch: the first of all, an epoch's last, a stage's first and last, the very last."""
    told: list[str] = []
    kill_at(number, signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        train(lot, RECIPE, out=tmp_path / "m", progress=lambda *words: told.append(str(words[-1])))
    assert left.value.code == EXIT_TERMINATED
    stopped = only_run()
    assert stopped.status == "interrupted"
    assert f"go on with: carspotter train --resume {stopped.id[:8]}" in told
    kill_at(-1, 0)
    run = train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=stopped.id))
    same(run, whole)
    assert run.id == stopped.id
    assert not checkpoints(run)


def test_ctrl_c_is_another_exception(lot: Dataset, tmp_path: Path, kill_at: Any) -> None:
    kill_at(5, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(lot, RECIPE, out=tmp_path / "m")
    assert len(checkpoints(only_run())) == 2


@pytest.mark.slow
def test_killed_between_checkpoints_and_twice(whole: Run, lot: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    """A kill saves nothing: what was done since the last checkpoint is done anew, and its record taken back."""

    class Killed(BaseException):
        pass

    def killing(epoch: int, seconds: float) -> Callable[..., None]:
        monkeypatch.setattr(checkpointer, "EPOCH_SECONDS", seconds)

        def watch(record: Any) -> None:
            if (record.stage, record.epoch) == ("all", epoch):
                raise Killed

        return watch

    with pytest.raises(Killed):
        train(lot, RECIPE, out=tmp_path / "m", job=Job(watch=killing(1, 1e9)))
    run_id = only_run().id
    assert [record.stage for record in only_run().history] == ["head", "head", "half", "all", "all"]
    with pytest.raises(Killed):
        train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=run_id, watch=killing(2, 0.0)))
    assert len(checkpoints(only_run())) == 2
    same(train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=run_id[:10])), whole)


@pytest.mark.slow
def test_stopped_in_the_export(whole: Run, lot: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "ship", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(lot, RECIPE, out=tmp_path / "m")
    stopped, steps = only_run(), []
    monkeypatch.setattr(loop, "_step", lambda *_: steps.append(1))
    same(train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=stopped.id)), whole)
    assert not steps
    assert read_bundle(tmp_path / "m").hash == whole.bundle_hash


@pytest.mark.slow
def test_stopped_before_the_first_checkpoint(whole: Run, lot: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(lot, RECIPE, out=tmp_path / "m")
    same(train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=only_run().id)), whole)


@pytest.fixture
def stopped(lot: Dataset, tmp_path: Path, kill_at: Any, monkeypatch: Any) -> Run:
    """A run with two checkpoints, ready to go on."""
    kill_at(9, signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(lot, RECIPE, out=tmp_path / "m")
    kill_at(-1, 0)
    assert len(checkpoints(only_run())) == 2
    return only_run()


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(
    damaged: int,
    whole: Run,
    stopped: Run,
    lot: Dataset,
    tmp_path: Path,
) -> None:
    for path in checkpoints(stopped)[-damaged:]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    told: list[str] = []
    job = Job(resume=stopped.id)
    run = train(lot, RECIPE, out=tmp_path / "m", job=job, progress=lambda *words: told.append(str(words[-1])))
    same(run, whole)
    assert len([line for line in told if "is damaged (its bytes do not have the hash in its name)" in line]) == damaged
    assert any("none is sound; the run begins anew" in line for line in told) is (damaged == 2)


def test_half_a_checkpoint_and_half_a_line_are_no_harm(whole: Run, stopped: Run, lot: Dataset, tmp_path: Path) -> None:
    (folder_of(stopped) / FOLDER / ".00000009.part").write_bytes(b"half")
    with (folder_of(stopped) / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"epoch":{"sta')
    same(train(lot, RECIPE, out=tmp_path / "m", job=Job(resume=stopped.id)), whole)


def test_what_changed_is_named_and_nothing_is_trained(
    stopped: Run, lot: Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    before = (folder_of(stopped) / "journal.jsonl").read_bytes()

    def refused(sentence: str, dataset: Dataset = lot, settings: Any = RECIPE) -> None:
        with pytest.raises(TrackingError, match=sentence):
            train(dataset, settings, out=tmp_path / "m", job=Job(resume=stopped.id))
        assert (folder_of(stopped) / "journal.jsonl").read_bytes() == before

    refused("began: threads was 1 and is 2; bring", settings=RECIPE.model_copy(update={"threads": 2, "name": "mine"}))
    refused(
        r"began: seed was 0 and is 7; the photos are divided otherwise \(\d+ photos changed sides; "
        r"14 train and 6 validate, by .*seed 0.*, then; 14 train and 6 validate, by .*seed 7.*, now\); bring",
        settings=RECIPE.model_copy(update={"seed": 7}),
    )
    divided = open_store().split(stopped.id)
    other = Split(
        (*divided.train[1:], divided.validation[0]), (*divided.validation[1:], divided.train[0]), divided.method
    )
    with monkeypatch.context() as patch:  # newer code finds other near copies
        patch.setattr(gathering, "split", lambda *_, **__: other)
        refused(
            r"otherwise \(2 photos changed sides; 14 train and 6 validate then; 14 train and 6 validate now\); bring"
        )
    refused("the photos or labels changed .20 then, .* 19 now", replace(lot, photos=lot.photos[1:]))
    with monkeypatch.context() as patch:
        patch.setattr(beginning, "code_hash", lambda: "other")
        refused(r"the code changed \(0\.")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_installed", lambda: {**stopped.machine.packages, "torch": "9.9"})
        refused(rf"torch was {stopped.machine.packages['torch']} and is 9\.9".replace("+", r"\+"))
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_processor", lambda: "another one")
        refused("processor was .* and is another one")


@pytest.mark.slow
def test_other_weights_are_refused(lot: Dataset, tmp_path: Path, kill_at: Any) -> None:
    """A file under the same name, changed between the two sittings."""
    from safetensors.torch import save_file

    from carspotter.training.backbones import RANDOM, find_backbone, load_backbone

    def weights(seed: int) -> None:
        torch.manual_seed(seed)
        net, _ = load_backbone(find_backbone("test_efficientnet", RANDOM), height=64, width=64)
        save_file(net.state_dict(), tmp_path / "w.safetensors")

    settings = recipe(weights=str(tmp_path / "w.safetensors"))
    weights(0)
    kill_at(2, signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(lot, settings, out=tmp_path / "m")
    kill_at(-1, 0)
    job = Job(resume=only_run().id)
    weights(1)
    with pytest.raises(
        TrackingError, match=r"other weights of test_efficientnet \(sha256 [0-9a-f]{12} then, [0-9a-f]{12} "
    ):
        train(lot, settings, out=tmp_path / "m", job=job)
    weights(0)
    assert train(lot, settings, out=tmp_path / "m", job=job).status == "finished"


def test_other_outside_photos_are_refused(stopped: Run, lot: Dataset, tmp_path: Path) -> None:
    from carspotter.training.outside import Sources

    other = tmp_path / "other" / "red"
    other.mkdir(parents=True)
    from PIL import Image

    Image.effect_noise((64, 48), 90).convert("RGB").save(other / "new.png")
    (tmp_path / "other" / "blue").mkdir()
    Image.effect_noise((64, 48), 40).convert("RGB").save(tmp_path / "other" / "blue" / "new.png")
    with pytest.raises(TrackingError, match=r"a teacher says otherwise: none then, .*1? outside photos"):
        train(lot, RECIPE, job=Job(Sources(extra=(read_source(tmp_path / "other"),)), resume=stopped.id))


@pytest.mark.slow
def test_a_finished_run_and_a_running_one_are_left_alone(stopped: Run, lot: Dataset) -> None:
    with Lock(folder_of(stopped).parent / LOCK), pytest.raises(TrackingError, match="another process is at work"):
        train(lot, RECIPE, job=Job(resume=stopped.id))
    dataset = look(lot).dataset
    with open_store().resume(stopped.id, dataset) as writer:
        with pytest.raises(TrackingError, match="another process is at work"):
            open_store().resume(stopped.id, dataset)
        writer.resumed(0, {}, 0.0)
        writer.finish()
    with pytest.raises(TrackingError, match="has finished and is never edited"):
        train(lot, RECIPE, job=Job(resume=stopped.id))
    with pytest.raises(TrackingError, match="has finished and is never edited"):
        open_store().resume(stopped.id, dataset)


@pytest.mark.slow
def test_a_full_disk_costs_the_checkpoint_not_the_training(
    whole: Run,
    lot: Dataset,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    """No place for a checkpoint: one sentence, the older one stays, the training ends as it would have."""
    from carspotter.training import checkpoint

    monkeypatch.setattr(checkpointer, "EPOCH_SECONDS", 0.0)
    told: list[str] = []
    kept: list[set[str]] = []

    def full(path: Any, wanted: Any = checkpoint.sync) -> None:
        if len(checkpoints(only_run())) == 2:
            raise OSError(28, "No space left on device")
        wanted(path)

    monkeypatch.setattr(checkpoint, "sync", full)
    run = train(
        lot,
        RECIPE,
        out=tmp_path / "m",
        cache=PhotoCache(None),
        job=Job(watch=lambda record: kept.append({path.name for path in checkpoints(only_run())})),
        progress=lambda *words: told.append(str(words[-1])),
    )
    same(run, whole)
    assert len([line for line in told if "no checkpoint could be saved, the training goes on" in line]) == 1
    assert kept[-1] == kept[-2]
    assert len(kept[-1]) == 2


def test_not_a_number_names_the_last_good_checkpoint(lot: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    """Weights that are not numbers are never saved over those that were."""
    monkeypatch.setattr(checkpointer, "CHECKPOINT_SECONDS", 0.0)
    gradients = loop.Shards.gradients
    calls = [0]

    def poisoned(self: Any, *words: Any) -> Any:
        calls[0] += 1
        found = gradients(self, *words)
        if calls[0] == 9:
            self._learner.head.linear.weight.grad.fill_(float("nan"))
        return found

    monkeypatch.setattr(loop.Shards, "gradients", poisoned)
    with pytest.raises(TrainingError, match=r"became nan .*; the last good checkpoint is kept in .*train --resume"):
        train(lot, RECIPE, out=tmp_path / "m")
    from safetensors.torch import load_file

    run = only_run()
    assert run.status == "failed"
    assert calls[0] == 10
    for path in checkpoints(run):
        assert all(t.isfinite().all() for t in load_file(path).values() if t.dtype == torch.float32)


def test_a_source_is_read_again_as_it_was(lot: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = read_source("lot")
    monkeypatch.chdir("/")
    assert dataset.reading is not None
    assert [photo.id for photo in read_again(dataset.reading).photos] == [photo.id for photo in dataset.photos]
    with pytest.raises(SourceError, match="it is no table"):
        read_again(dataset.reading.model_copy(update={"label_column": "x"}))
