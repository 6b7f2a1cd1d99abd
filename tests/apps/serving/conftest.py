"""A real server on the loopback, with the tiny net that knows red, green and blue."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.serving.server import config, listen
from helpers.tiny import write_tiny_bundle

READY_SECONDS = 60
PART = b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.png"\r\n\r\n'
"""How a photo begins in the form that `head` announces."""


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
        api = Api(ModelRegistry(folders), (limits or Limits(workers=1)).resolved(), **more)
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(config(api, "127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        servers.append((server, thread))
        running = Running(api, listening.getsockname()[1], folders)
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


def talk(port: int, *parts: bytes, pause: float = 0.0, seconds: float = 15.0) -> bytes:
    """What a server says to bytes that come in parts."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as line, ThreadPoolExecutor(1) as thread:

        def send() -> None:
            with suppress(ConnectionResetError, BrokenPipeError):  # refused in the middle, which is what is tested
                for part in parts:
                    line.sendall(part)
                    time.sleep(pause)

        # Read meanwhile: a reply that comes while the rest is still being sent is lost with the reset that follows it.
        sending = thread.submit(send)
        with suppress(ConnectionResetError):
            while more := line.recv(65536):
                said += more
        sending.result()
    return said


def head(path: str = "/v1/identify", **more: str) -> bytes:
    """How a request with a form begins."""
    lines = {"Host": "127.0.0.1", "Content-Type": "multipart/form-data; boundary=x"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }
    return f"POST {path} HTTP/1.1\r\n".encode() + b"".join(f"{n}: {v}\r\n".encode() for n, v in lines.items()) + b"\r\n"
