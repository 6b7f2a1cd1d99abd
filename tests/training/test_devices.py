"""Devices that are not there, arithmetic, and two processes that train as one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training.test_resume import RECIPE, STAGES

from carspotter.apps.cli import main
from carspotter.apps.toml import toml_lines
from carspotter.errors import EXIT_FAULT, RecipeError, TrainingError
from carspotter.inference.bundle import read_bundle
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training import devices
from carspotter.training.devices import Peers, check_batches, check_shards, device_for
from carspotter.training.job import Job
from carspotter.training.train import train

DRIVER = Path(__file__).with_name("killed.py")

pytestmark = pytest.mark.usefixtures("runs_db")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_what_is_not_there_is_said_at_once(lot: Dataset) -> None:
    with pytest.raises(RecipeError, match="sees no CUDA device here; use --device cpu"):
        train(lot, RECIPE, job=Job(device="cuda"))
    with pytest.raises(RecipeError, match="fp16 needs CUDA"):
        train(lot, RECIPE.model_copy(update={"precision": "fp16"}))
    assert open_store().list() == ()


def test_shards_must_fit_the_processes() -> None:
    check_shards(4, 2)
    with pytest.raises(RecipeError, match=r"3 processes cannot share 2 shards .*--set shards=3"):
        check_shards(2, 3)
    stage = Stage.model_validate(STAGES[0])
    check_batches(stage, 7, 4, 1)
    with pytest.raises(TrainingError, match="batches of 7 photos, too few for 4 shards"):
        check_batches(stage, 7, 4, 2)


def test_every_shard_is_somebody_s() -> None:
    shares = [Peers(3, rank).share(6) for rank in range(3)]
    assert shares == [(0, 3), (1, 4), (2, 5)]


@pytest.mark.slow
def test_bf16_trains_and_ships_single_precision(lot: Dataset, tmp_path: Path) -> None:
    short = RECIPE.model_copy(update={"stage": RECIPE.stage[2:], "precision": "bf16"})
    plain = train(lot, short.model_copy(update={"precision": "fp32"}), out=tmp_path / "plain")
    half = train(lot, short, out=tmp_path / "half")
    assert half.bundle_hash != plain.bundle_hash
    assert abs(half.history[0].train_loss - plain.history[0].train_loss) < 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_trains(precision: str, lot: Dataset, tmp_path: Path) -> None:
    run = train(lot, RECIPE.model_copy(update={"precision": precision}), out=tmp_path / "m", job=Job(device="cuda"))
    assert run.machine.device != "cpu"
    with device_for("cuda", Recipe.model_validate(RECIPE.model_dump() | {"precision": precision})) as here:
        assert (here.scaler() is None) is (precision != "fp16")


# ---- two processes ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def pair(folder: Path, *words: str | Path) -> list[subprocess.Popen[bytes]]:
    """The same command twice, as `torchrun` starts it."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = []
    for rank in ("0", "1"):
        with (folder / f"said-{rank}").open("wb") as said:
            env = os.environ | place | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, DRIVER, *map(str, words)]
            started.append(subprocess.Popen(command, env=env, stderr=said, stdout=said))
    return started


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join(toml_lines(RECIPE.model_copy(update={"threads": 2}))), encoding="utf-8")
    return path


@pytest.mark.slow
def test_two_processes_train_as_one(lot: Dataset, tmp_path: Path, recipe_file: Path) -> None:
    words: list[str | Path] = ["train", tmp_path / "lot", "--recipe", recipe_file]
    codes = [process.wait() for process in pair(tmp_path, *words, "-o", tmp_path / "two")]
    assert codes == [0, 0], [(tmp_path / f"said-{rank}").read_text() for rank in (0, 1)]
    (two,) = open_store().list()
    assert two.birth is not None
    assert two.birth.processes == 2
    assert (tmp_path / "said-1").read_text() == ""
    assert main([*map(str, words), "-o", str(tmp_path / "one")]) == 0
    one = next(run for run in open_store().list() if run.id != two.id)
    assert [record.train_loss for record in one.history] == [record.train_loss for record in two.history]
    assert one.bundle_hash == two.bundle_hash


def launch(page: str, rank: int, port: int) -> list[str]:
    """The command up to `train` by which a page of docs starts several processes; the machine's number is `rank`."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    (line,) = re.findall(r"^    torchrun (.* -m carspotter) train contest/ --set shards=2$", text, re.MULTILINE)
    words = line.replace(" R ", f" {rank} ").replace("HEAD", "127.0.0.1").split()
    return [str(Path(sys.executable).with_name("torchrun")), "--master_port", str(port), *words]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "machines"), [("training.md", 1), ("scaling.md", 2)])
def test_the_documented_launch_trains_in_two_processes(
    page: str, machines: int, lot: Dataset, tmp_path: Path, recipe_file: Path
) -> None:
    """The machines are both this one."""
    port, words = free_port(), ["train", tmp_path / "lot", "--recipe", recipe_file, "--set", "shards=2"]
    started = []
    for rank in range(machines):
        with (tmp_path / f"said-{rank}").open("wb") as said:
            command = [*launch(page, rank, port), *map(str, words), "-o", str(tmp_path / "m")]
            started.append(subprocess.Popen(command, stdout=said, stderr=said))
    assert [one.wait(timeout=600) for one in started] == [0] * machines, (tmp_path / "said-0").read_text()
    (run,) = open_store().list()
    assert run.birth is not None
    assert run.birth.processes == 2
    assert run.bundle_hash == read_bundle(tmp_path / "m").hash


@pytest.mark.slow
def test_a_dead_process_ends_the_other(lot: Dataset, tmp_path: Path, recipe_file: Path) -> None:
    first, second = pair(tmp_path, "train", tmp_path / "lot", "--recipe", recipe_file, "-o", tmp_path / "m")
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(tmp_path.rglob("checkpoints/*.safetensors")):
        time.sleep(0.02)
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    assert first.wait(timeout=60) == EXIT_FAULT
    said = (tmp_path / "said-0").read_text()
    assert "process 0 of 2 lost another one" in said
    assert "Traceback" not in said
    assert devices.PEER_SECONDS > 60  # so it was noticed, not waited for


@pytest.mark.slow
def test_processes_with_other_weights_do_not_go_on(tmp_path: Path) -> None:
    code = (
        "from carspotter.training.devices import device_for\n"
        "from carspotter.errors import TrainingError\n"
        "from tests.training.test_resume import RECIPE\n"
        "import os\n"
        "with device_for('cpu', RECIPE) as here:\n"
        "    try: here.peers.same(lambda: os.environ['RANK'], 'weights')\n"
        "    except TrainingError as fault: print(fault)\n"
    )
    port, said = str(free_port()), []
    for rank in ("0", "1"):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, "-c", code]
        env = os.environ | place | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        said.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    texts = [process.communicate()[0] for process in said]
    assert texts == ["", "process 1 has other weights than process 0; start them with the same command\n"]
