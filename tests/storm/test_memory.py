"""Memory runs out: of a training, which can be taken up; of a worker of the server, which harms no other request."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from tests.apps.serving.conftest import Running, start, wait_until  # noqa: F401 - a fixture
from tests.storm.harness import Child, Driver, is_clear
from tests.storm.test_training_kills import Training, difference, undisturbed

from carspotter.apps.serving.limits import Limits
from carspotter.records import Dataset
from helpers.storms import Storm, hardness
from helpers.tiny import colour_photo

pytestmark = [pytest.mark.storm, pytest.mark.slow]
MOST = 8 * 2**20
"""Bytes that a process may still take once it is bounded; of 64 MB a tiny training asked for less 14 times of 15."""
TRIES = 2
"""A bound is only felt when more memory is asked for; tries, for each fault that is wanted (assumption)."""
RED = colour_photo(250, 5, 5)


def bound_memory(pid: int, more: int) -> None:
    """Let a process take so many further bytes of address space; the next allocation beyond them fails."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    bound = pages * resource.getpagesize() + more
    try:
        resource.prlimit(pid, resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
    except PermissionError as fault:
        pytest.skip(f"the memory of another process may not be bounded here: {fault}")


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("runs_db")
def test_a_training_without_memory(
    lot: Dataset, tmp_path: Path, recipe_file: Path, driver: Driver, storm: Storm
) -> None:
    chance, words = random.Random(13), (tmp_path / "lot", "--recipe", recipe_file)  # noqa: S311
    whole, seconds = undisturbed(driver, tmp_path, *words)
    with storm("no memory for a training, then --resume") as tally:
        for number in range(TRIES * hardness()):
            training = Training(driver, tmp_path / f"m{number}", *words)
            child = training.begin()
            child.work_for(chance.uniform(0, seconds / 3))  # later it asks for no more than it has given back
            if died(child, int(chance.uniform(0, MOST))):
                tally.count(unclear(driver) or training.end() or difference(training.run(), whole))
            if tally.injected >= hardness():
                break
        if not tally.injected:
            pytest.skip(f"memory never ran out in {TRIES * hardness()} bounded trainings")


def died(child: Child, more: int) -> bool:
    bound_memory(child.pid, more)
    return child.wait() != 0


def unclear(driver: Driver) -> str | None:
    said = driver.said.read_text(errors="replace")
    return None if is_clear(said) else f"no clear line: {said}"


# ---- the server -----------------------------------------------------------------------------------------------------


def large_photo() -> bytes:
    """A PNG that takes 36 MB when it is decoded."""
    out = io.BytesIO()
    Image.new("RGB", (4000, 3000), (250, 5, 5)).save(out, "PNG")
    return out.getvalue()


def test_a_worker_without_memory(start: Callable[..., Running], storm: Storm) -> None:  # noqa: F811
    """Its photos are refused with a reason; when the system ends it, another one takes its place."""
    running = start(limits=Limits(workers=1, wait=1000, photo_seconds=30))
    large = large_photo()
    with storm("no memory for a worker of the server, then its end") as tally:
        for _ in range(hardness()):
            wait_until(lambda: running.api.pool.ready == 1)
            (victim,) = running.api.pool.pids
            bound_memory(victim, 2**20)
            tally.count(harm(running, victim, large))


def harm(running: Running, victim: int, large: bytes) -> str | None:
    """What is wrong with the answers while a worker has no memory and is ended, and after that."""
    answers = running.post("/v1/identify", ("large.png", large), ("r.png", RED)).json()["answers"]
    replaced = victim not in running.api.pool.pids  # it died of itself: another one was asked, which has memory
    if [answer["id"] for answer in answers] != ["large.png", "r.png"] or (
        answers[0]["verdict"] != "bad_photo" and not replaced
    ):
        return f"without memory: {answers}"
    wait_until(lambda: running.api.pool.ready == 1)  # without memory it may have died of itself
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(running.post, "/v1/identify", ("large.png", large), ("r.png", RED))
        wait_until(lambda: running.api.pool.working)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)  # as the kernel does when a machine has no memory left
        answers = asked.result().json()["answers"]
    if len(answers) != 2 or running.get("/healthz").status_code != 200:
        return f"while it was ended: {answers}"
    wait_until(lambda: running.api.pool.ready == 1 and victim not in running.api.pool.pids)
    (answer,) = running.post("/v1/identify", ("r.png", RED)).json()["answers"]
    return None if answer["label"] == "red" else f"afterwards: {answer}"
