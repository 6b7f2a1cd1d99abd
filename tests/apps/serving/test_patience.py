"""What waits is bounded: in photos, in bytes, in time, and by whoever waits for it."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.apps.serving.conftest import PART, Running, head, wait_until

from carspotter.apps.serving.limits import Limits
from helpers.tiny import colour_photo

RED = colour_photo(250, 0, 0)
LARGE = b"no photo" + bytes(2 * 2**20)


@contextmanager
def stopped(server: Running) -> Iterator[None]:
    """The time in which a server's only worker answers nothing."""
    wait_until(lambda: server.api.pool.ready == 1)
    (pid,) = server.api.pool.pids
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def many(photos: int) -> list[tuple[str, bytes]]:
    return [(f"{at}.png", RED) for at in range(photos)]


def refused(found: httpx.Response, code: str) -> bool:
    """Whether it is a refusal that tells when to come again."""
    assert found.status_code == 503, found.text
    return bool(found.json()["error"]["code"] == code and found.headers["retry-after"] == "1")


def hang_up(port: int, *parts: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=15) as line:
        for part in parts:
            line.sendall(part)


def counted(server: Running, status: int) -> bool:
    return f'carspotter_requests_total{{route="/v1/identify",status="{status}"}} 1.0' in server.get("/metrics").text


def test_photos_that_wait_are_bounded_whatever_the_requests(start: Callable[..., Running]) -> None:
    server = start(limits=Limits(workers=1, wait=1000, waiting=60))
    pool = server.api.pool
    with ThreadPoolExecutor(2) as threads, stopped(server):
        asked = [threads.submit(server.post, "/v1/identify", *many(50))]
        wait_until(lambda: pool.admitted == 50)
        assert refused(server.post("/v1/identify", *many(11)), "busy")
        asked.append(threads.submit(server.post, "/v1/identify", *many(10)))
        wait_until(lambda: pool.admitted == 60)
        assert pool.full
        assert refused(server.post("/v1/identify", *many(1)), "busy")
        os.kill(pool.pids[0], signal.SIGCONT)
        assert [len(one.result().json()["answers"]) for one in asked] == [50, 10]
    assert pool.admitted == 0


def test_bytes_under_way_are_bounded(start: Callable[..., Running]) -> None:
    server = start(limits=Limits(workers=1, body_bytes=200_000, bodies_bytes=300_000))
    guard = server.api.guarded
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as line:
        line.sendall(head(Content_Length="190000") + PART + bytes(180_000))
        wait_until(lambda: guard.held > 180_000)  # type: ignore[attr-defined]
        assert refused(server.post("/v1/identify", ("a.png", bytes(150_000))), "busy")
        with httpx.stream(  # without a length
            "POST", f"{server.url}/v1/identify", content=iter([PART, bytes(150_000)]),
            headers={"content-type": "multipart/form-data; boundary=x"}, timeout=30,
        ) as found:  # fmt: skip
            found.read()
            assert refused(found, "busy")
        assert server.post("/v1/identify", ("r.png", RED)).status_code == 200
    wait_until(lambda: guard.held == 0)  # type: ignore[attr-defined]
    assert server.post("/v1/identify", ("a.png", bytes(150_000))).status_code == 200


def test_a_request_is_answered_in_time_or_not_at_all(start: Callable[..., Running]) -> None:
    server = start(limits=Limits(workers=1, answer_seconds=1.0))
    with stopped(server):
        assert refused(server.post("/v1/identify", *many(3)), "late")
        assert server.api.pool.admitted == 0
    wait_until(lambda: not server.api.pool.working)
    assert server.post("/v1/identify", *many(1)).status_code == 200


def test_nobody_works_for_who_hung_up(start: Callable[..., Running]) -> None:
    server = start()
    pool = server.api.pool
    body = (PART + RED + b"\r\n") * 3 + b"--x--\r\n"
    with stopped(server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as line:
            line.sendall(head(Content_Length=str(len(body))) + body)
            wait_until(lambda: pool.admitted == 3)
        wait_until(lambda: pool.admitted == 0)
    wait_until(lambda: not pool.working)
    assert counted(server, 499)
    assert "carspotter_photos_total{" not in server.get("/metrics").text  # the two that waited were not looked at


def test_who_hangs_up_in_the_middle_is_no_fault_of_ours(start: Callable[..., Running]) -> None:
    server = start()
    hang_up(server.port, head(Content_Length="1000") + PART)
    wait_until(lambda: counted(server, 499))


def test_no_worker_is_not_waited_for(start: Callable[..., Running]) -> None:
    server = start()
    pool = server.api.pool
    wait_until(lambda: pool.ready == 1)
    with ThreadPoolExecutor(1) as threads:
        os.kill(pool.pids[0], signal.SIGKILL)
        asked = threads.submit(server.post, "/v1/identify", ("r.png", RED))  # finds it dead
        wait_until(lambda: pool.ready == 0)
        assert refused(server.post("/v1/identify", ("r.png", RED)), "starting")
        assert asked.result().json()["answers"][0]["label"] == "red"


def test_a_temporary_folder_without_room(
    start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        assert refused(server.post("/v1/identify", ("large.png", LARGE)), "no_room")
        assert server.post("/v1/identify", ("r.png", RED)).status_code == 200  # small ones stay in memory
    assert server.post("/v1/identify", ("large.png", LARGE)).status_code == 200


def test_connections_are_bounded(start: Callable[..., Running]) -> None:
    server = start(limits=Limits(workers=1, connections=2))
    with socket.create_connection(("127.0.0.1", server.port)), socket.create_connection(("127.0.0.1", server.port)):
        assert refused(server.get("/healthz"), "crowded")
    wait_until(lambda: server.get("/healthz").status_code == 200)
