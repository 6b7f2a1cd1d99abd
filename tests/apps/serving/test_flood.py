"""Hostile photos and requests, and many of them: never a fault of ours, nobody unanswered, memory that stays."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.apps.serving.conftest import PART, Running, head, wait_until

from carspotter.apps.serving.limits import Limits
from helpers.tiny import colour_photo, write_tiny_bundle

CLIENTS = 2
MORE = 64 * 2**20
"""Bytes that a process may have more of at the end. Assumption: allocators keep some; 10 kB a request are 100 MB."""
SERVER = """
import sys
from pathlib import Path

import uvicorn

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.server import config, listen
from carspotter.apps.serving.registry import ModelRegistry

api = Api(ModelRegistry([Path(sys.argv[1])]), Limits(workers=1, body_bytes=300_000).resolved())
listening = listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
uvicorn.Server(config(api, "127.0.0.1", 0)).run([listening])
"""


@pytest.mark.real
@pytest.mark.slow
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


def request(*photos: bytes, **headers: str) -> bytes:
    """A form, whole, on a connection of its own."""
    body = b"".join(PART + photo + b"\r\n" for photo in photos) + b"--x--\r\n"
    return head(Content_Length=str(len(body)), Connection="close", **headers) + body


RED, LARGE = colour_photo(250, 0, 0), colour_photo(0, 0, 250, (640, 480))
KINDS: dict[str, tuple[bytes, frozenset[int]]] = {
    "a photo": (request(RED), frozenset({200, 503})),
    "photos, a bad one among them": (request(LARGE, b"no photo", RED), frozenset({200, 503})),
    "a cut photo": (request(LARGE[:-300]), frozenset({200, 503})),
    "too many photos": (request(*[b"x"] * 51), frozenset({413, 503})),
    "too large": (head(Content_Length="400000", Connection="close"), frozenset({413, 503})),
    "no photo": (request(), frozenset({400, 503})),
    "no form": (head(Content_Length="1", Connection="close", Content_Type="text/plain") + b"x", frozenset({400, 503})),
    "another site's page": (request(RED, Origin="http://evil.example"), frozenset({403})),
    "hung up in the middle": (request(LARGE)[:-400], frozenset({0})),
    "hung up before the answer": (request(RED, RED), frozenset({0})),
}
"""What is sent, and the statuses that may answer it; 0: nobody waits for one."""


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server in a process of its own, and its port."""
    write_tiny_bundle(folder)
    command = [sys.executable, "-c", SERVER, str(folder)]
    env = os.environ | {"TMPDIR": str(folder.parent)}  # what ends it gives it no time to tidy up
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            wait_until(lambda: is_ready(port))
            yield port, process
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def ask(port: int, kind: str) -> tuple[str, int]:
    """A request of a kind, and the status of its answer."""
    sent, expected = KINDS[kind]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(sent)
        status = 0 if 0 in expected else int(line.makefile("rb").readline().split()[1])
    assert status in expected, (kind, status)
    return kind, status


@pytest.mark.parametrize("requests", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mixed_requests_leave_memory_as_it_was(
    requests: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = random.Random(0).choices(list(KINDS), k=requests)  # noqa: S311 - which comes next is no secret
    with server(tmp_path / "tiny") as (port, process), ThreadPoolExecutor(CLIENTS) as threads:
        first = Counter(threads.map(lambda kind: ask(port, kind), kinds[: requests // 10]))
        wait_until(lambda: is_ready(port))
        worker = worker_of(process.pid)
        before = resident(process.pid), resident(worker)
        seen = first + Counter(threads.map(lambda kind: ask(port, kind), kinds[requests // 10 :]))
        after = resident(process.pid), resident(worker)
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    statuses = Counter(status for (_, status), number in seen.items() for _ in range(number))
    with capsys.disabled():
        print(f"\n{requests} requests by status {dict(sorted(statuses.items()))}; MB before and after:")  # noqa: T201
        for name, least, most in zip(("server", "worker"), before, after, strict=True):
            print(f"  {name} {least / 2**20:.1f} {most / 2**20:.1f}")  # noqa: T201
    assert {kind for kind, _ in seen} == set(KINDS)
    assert {200, 400, 403, 413} <= set(statuses)
    assert re.search(r'status="5(?!03)', told) is None
    assert "carspotter_worker_restarts_total 0.0" in told
    assert max(most - least for least, most in zip(before, after, strict=True)) < MORE


def worker_of(server: int) -> int:
    """The process that answers photos."""
    (found,) = (
        int(place.name)
        for place in Path("/proc").glob("[0-9]*")
        if parent_of(place) == server and b"spawn_main" in (place / "cmdline").read_bytes()
    )
    return found


def parent_of(place: Path) -> int:
    try:
        return int(place.joinpath("stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, IndexError):  # it ended meanwhile
        return 0


def resident(process: int) -> int:
    """Bytes in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
