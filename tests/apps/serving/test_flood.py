"""Hostile photos and many of them: never a fault of ours, nobody left without an answer, memory that stays."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.apps.serving.conftest import Running, wait_until

from carspotter.apps.serving.limits import Limits
from helpers.tiny import colour_photo

pytestmark = pytest.mark.slow
ROUNDS, PHOTOS = 1_000, 10
"""Requests, and photos of each: 10,000 photos, a third of them bad."""
MORE = 64 * 2**20
"""Bytes that a worker may have more of at the end. Assumption: allocators keep some; 10 kB lost a photo are 100 MB."""


@pytest.mark.real
def test_the_whole_collection_of_bad_photos(start: Callable[..., Running], shared: Path) -> None:
    server = start(limits=Limits(workers=2, wait=100))
    files = sorted(path for path in (shared / "bad_photos").rglob("*") if path.is_file())
    assert len(files) > 100
    for at in range(0, len(files), 20):
        some = [(path.name, path.read_bytes()) for path in files[at : at + 20]]
        found = server.post("/v1/identify", *some)
        assert found.status_code == 200, found.text
        answers = found.json()["answers"]
        assert len(answers) == len(some)
        assert {one["verdict"] for one in answers} <= {"named", "bad_photo"}
        assert str(shared) not in found.text
    wait_until(lambda: server.api.pool.ready == 2)
    assert server.get("/healthz").status_code == 200


def test_ten_thousand_photos_leave_memory_as_it_was(start: Callable[..., Running]) -> None:
    server = start(limits=Limits(workers=1, wait=10_000))
    kinds = [colour_photo(250, 0, 0), colour_photo(0, 0, 250, (640, 480)), b"no photo"]
    drawn = random.Random(0)  # noqa: S311 - which photo comes next is no secret

    def ask(_: int) -> None:
        photos = [(f"{at}.png", drawn.choice(kinds)) for at in range(PHOTOS)]
        found = server.post("/v1/identify", *photos)
        assert found.status_code == 200
        assert len(found.json()["answers"]) == PHOTOS

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(ROUNDS // 10)))
        (worker,) = server.api.pool.pids
        before = resident(worker)
        list(threads.map(ask, range(ROUNDS - ROUNDS // 10)))
    assert server.api.pool.pids == (worker,)
    assert resident(worker) - before < MORE


def resident(process: int) -> int:
    """Bytes in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
