"""Photos in stores: a store in memory, and a web server on this machine that behaves badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from carspotter.data import archive, remote
from carspotter.data.photo import read_bytes
from carspotter.data.remote import read_remote
from carspotter.errors import PhotoRefused, Reason
from carspotter.records import Location, Remote

PHOTO = b"a photo" * 1000


class Store(BaseHTTPRequestHandler):
    """`/photo`; `/empty`; `/busy/N` fails N times; `/secret` is not allowed; `/hang` waits; `/endless` never ends."""

    asked: dict[str, int]
    ended: threading.Event

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        times = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if self.path == "/hang":
            self.ended.wait(20)
        if self.path.startswith("/busy/") and times <= int(self.path[6:]):
            return self.send_error(503)
        return self._endless() if self.path == "/endless" else self._head(send=True)

    def _head(self, send: bool = False) -> None:
        if self.path in {"/absent", "/secret"}:
            return self.send_error(404 if self.path == "/absent" else 403)
        data = b"" if self.path == "/empty" else PHOTO
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if send:
            self.wfile.write(data)
        return None

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.ended.is_set():
                self.wfile.write(bytes(2**16))
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    handler = type("Handler", (Store,), {"asked": {}, "ended": threading.Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        handler.ended.set()
        server.shutdown()


def refused(url: str, seconds: float = 10.0) -> Reason:
    with pytest.raises(PhotoRefused) as caught:
        read_remote(Remote(url), seconds=seconds, pauses=(0.0, 0.0))
    assert url not in caught.value.sentence
    return caught.value.reason


def test_photos_of_any_store() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/lot/a.jpg", PHOTO)
    assert read_bytes(Remote("memory://lot/a.jpg")) == PHOTO
    assert refused("memory://lot/b.jpg") is Reason.MISSING


def test_photos_of_a_server(store: str) -> None:
    assert read_bytes(Remote(f"{store}/photo")) == PHOTO
    assert refused(f"{store}/absent") is Reason.MISSING
    assert refused(f"{store}/secret") is Reason.NOT_ALLOWED
    assert refused(f"{store}/empty") is Reason.EMPTY
    assert refused("nosuch://a/b") is Reason.UNREACHABLE


def test_a_passing_fault_is_asked_again_a_bounded_number_of_times(store: str) -> None:
    assert read_remote(Remote(f"{store}/busy/2"), pauses=(0.0, 0.0)) == PHOTO
    assert refused(f"{store}/busy/3") is Reason.UNREACHABLE
    assert read_remote(Remote(f"{store}/busy/3")) == PHOTO  # three attempts used its faults up


def test_a_store_that_hangs_is_given_up(store: str) -> None:
    began = time.monotonic()
    assert refused(f"{store}/hang", seconds=0.2) is Reason.TIMEOUT
    assert time.monotonic() - began < 10


def test_no_more_than_the_cap_is_ever_held(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (remote, archive):
        monkeypatch.setattr(module, "MAX_PHOTO_BYTES", 2000)
    monkeypatch.setattr(remote, "check_length", lambda length: archive.check_length(length, 2000))
    assert refused(f"{store}/photo") is Reason.TOO_LARGE
    assert refused(f"{store}/endless") is Reason.TOO_LARGE


def test_nobody_there() -> None:
    assert refused("http://127.0.0.1:9/a.jpg") is Reason.UNREACHABLE


def test_a_path_is_never_fetched(store: str) -> None:
    """What `predict` or a caller names as a file is a file, whatever it looks like."""
    with pytest.raises(PhotoRefused) as caught:
        read_bytes(Location(f"{store}/photo"))
    assert caught.value.reason is Reason.MISSING
