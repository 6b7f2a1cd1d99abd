"""Models that are replaced, through a real pool: what cannot be opened changes nothing, today or after a restart."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.fair_queue import Turn
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.pool import Pool
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.serving.worker import Gone, Model, Seen, Task
from carspotter.errors import BundleError, SourceError
from carspotter.inference.bundle import write_bundle
from helpers.tiny import COLOURS, colour_photo, tiny_card, tiny_files, write_tiny_bundle

BLUE = colour_photo(0, 0, 250)


def write_sealed_rubbish(folder: Path) -> None:
    """A bundle whose hashes are right and whose network is none."""
    files = tiny_files(folder.parent / "rubbish-parts")
    files["model.onnx"].write_bytes(b"rubbish")
    write_bundle(folder, tiny_card(files["model.onnx"].parent, ("red", "green", "navy")), files)


async def opens(_: Model) -> None:
    """Where nobody asks a process."""


@pytest.fixture
def served(tmp_path: Path) -> Callable[[Callable[[Api, Path], Awaitable[None]]], None]:
    """Runs work with the app of a server of one worker, and the folder of its model."""
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    api = Api(ModelRegistry([folder]), Limits(workers=1).resolved())

    async def run(work: Callable[[Api, Path], Awaitable[None]]) -> None:
        await api.pool.start()
        try:
            await work(api, folder)
        finally:
            await api.pool.stop()

    return lambda work: asyncio.run(run(work))


async def label(api: Api) -> str:
    """What the model of the moment calls a blue photo."""
    bundle, model = api.registry.now("tiny")
    said = await api.pool.run(Task(model, BLUE), Turn())
    assert isinstance(said, Seen), said
    assert said.logits is not None
    return bundle.card.classes[int(said.logits.argmax())]


async def end_the_worker(api: Api) -> None:
    (pid,) = api.pool.pids
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_what_no_worker_can_open_changes_nothing(served: Callable[..., None]) -> None:
    async def work(api: Api, folder: Path) -> None:
        before = api.registry.model("tiny")
        write_sealed_rubbish(folder)
        await api.refresh()
        assert api.registry.model("tiny") == before
        assert api.registry.look() == {}  # nor is it tried again
        await end_the_worker(api)
        assert await label(api) == "blue"  # by one that was started since
        write_tiny_bundle(folder, ("red", "green", "navy"))
        await api.refresh()
        assert await label(api) == "navy"

    served(work)


@pytest.mark.slow
def test_a_folder_that_is_damaged_or_gone_costs_no_restart(served: Callable[..., None]) -> None:
    async def work(api: Api, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"no model")
        os.utime(folder / "card.json")
        await api.refresh()
        await end_the_worker(api)
        assert await label(api) == "blue"
        shutil.rmtree(folder)
        await api.refresh()
        await end_the_worker(api)
        assert await label(api) == "blue"

    served(work)


@pytest.mark.slow
def test_a_worker_does_without_what_does_not_open(tmp_path: Path) -> None:
    registry = ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder])
    models = list(registry.models)

    async def work() -> None:
        pool = Pool(Limits(workers=1), lambda: models)
        await pool.start()
        models.insert(0, Model("absent", str(tmp_path / "absent"), "0"))
        os.kill(pool.pids[0], signal.SIGKILL)
        assert isinstance(await pool.run(Task(registry.model("tiny"), BLUE), Turn()), Seen)
        assert isinstance(await pool.run(Task(models[0], BLUE), Turn()), Gone)
        await pool.stop()
        with pytest.raises(BundleError, match="absent is no model folder"):
            await Pool(Limits(workers=1), lambda: models).start()

    asyncio.run(work())


def test_versions_under_way_stay_and_older_ones_go(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    registry = ModelRegistry([folder])
    places = [Path(registry.model("tiny").folder)]
    for blue in ("navy", "sky", "sea"):
        write_tiny_bundle(folder, (*COLOURS[:2], blue))
        assert asyncio.run(registry.refresh(opens)) == ("tiny",)
        places.append(Path(registry.model("tiny").folder))
    assert [place.is_dir() for place in places] == [False, False, True, True]
    assert asyncio.run(registry.refresh(opens)) == ()
    del registry
    gc.collect()
    assert not places[-1].parents[1].exists()


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = write_tiny_bundle(tmp_path / "a" / "m"), write_tiny_bundle(tmp_path / "b" / "m")
    with pytest.raises(SourceError, match="two models are called m"):
        ModelRegistry((one.folder, other.folder))
    (one.folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match="damaged or altered"):
        ModelRegistry((one.folder,))
