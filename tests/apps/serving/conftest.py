"""A real server on the loopback, with the tiny net that knows red, green and blue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.server import config, listen
from carspotter.apps.serving.shelf import Shelf
from helpers.tiny import write_tiny_bundle

READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A server at work.

    Attributes:
        api: its app.
        port: on the loopback.
        folders: of its models.
    """

    api: Api
    port: int
    folders: tuple[Path, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, *photos: tuple[str, bytes], **fields: str) -> httpx.Response:
        files = [("photos", photo) for photo in photos]
        return httpx.post(self.url + path, files=files, data=fields, timeout=60)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts servers; they end with the module."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def begin(*names: str, limits: Limits | None = None, **more: Any) -> Running:
        place = tmp_path_factory.mktemp("models")
        folders = tuple(write_tiny_bundle(place / name).folder for name in names or ("tiny",))
        api = Api(Shelf(folders), (limits or Limits(workers=1)).resolved(), **more)
        socket = listen("127.0.0.1", 0)
        server = uvicorn.Server(config(api, "127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([socket],))
        thread.start()
        servers.append((server, thread))
        running = Running(api, socket.getsockname()[1], folders)
        wait_until(lambda: server.started)
        return running

    yield begin
    for server, _ in servers:
        server.should_exit = True
    for _, thread in servers:
        thread.join()


def wait_until(true: Callable[[], object], seconds: float = READY_SECONDS) -> None:
    """Ask again and again.

    Raises:
        AssertionError: it did not become true in time.
    """
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(start: Callable[..., Running]) -> Running:
    """One server for all tests that only ask."""
    return start("tiny", "other")
