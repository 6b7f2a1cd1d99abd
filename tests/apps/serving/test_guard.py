"""What never reaches a route: raw sockets against a real server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.apps.serving.conftest import PART, Running, head, talk, wait_until

from carspotter.apps.serving.guard import _place, _same
from carspotter.apps.serving.limits import Limits
from helpers.tiny import colour_photo

RED = colour_photo(250, 0, 0)
LARGE = colour_photo(0, 0, 250, (1200, 900))
SMALL = Limits(workers=1, body_bytes=200_000, receive_seconds=2.0, header_seconds=1.0)


@pytest.fixture(scope="module")
def small(start: Callable[..., Running]) -> Running:
    return start(limits=SMALL)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8000", True), ("localhost", True), ("[::1]:80", True), ("LOCALHOST", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost@evil.example", False),
        ("evil.example#localhost", False), ("localhost/..", False), ("localhost:x", False), ("", False),
    ],
)  # fmt: skip
def test_only_its_own_names_are_answered(running: Running, host: str, known: bool) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/identify"), ("POST", "/v1/listings/check")):
        found = httpx.request(method, running.url + path, headers={"host": host}, timeout=30)
        assert (found.status_code == 421) != known, (method, path, found.text)


@pytest.mark.parametrize("path", ["/v1/identify", "/v1/listings/check"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:1", False), ("http://127.0.0.1", False), ("http://localhost:{port}", False),
        ("https://evil.example", False), ("null", False), ("file://127.0.0.1:{port}", False),
        ("http://[::1", False), ("http://a]b", False), ("http://127.0.0.1:{port}x", False), ("", False),
    ],
)  # fmt: skip
def test_pages_of_other_places_cannot_post(running: Running, path: str, origin: str, allowed: bool) -> None:
    origin = origin.format(port=running.port)
    sent = {"files": {"photos": ("r.png", RED)}, "data": {"declared": "red"} if "check" in path else {}}
    found = httpx.post(running.url + path, headers={"origin": origin}, timeout=30, **sent)
    assert found.status_code == (200 if allowed else 403)
    assert "access-control-allow-origin" not in found.headers


def test_two_hosts_in_one_request(running: Running) -> None:
    said = talk(
        running.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 400")


def fetched(mode: str, destination: str) -> dict[str, str]:
    """What a browser says of a request that another site's page makes without a script."""
    return {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": destination}


def test_pages_of_other_sites_cannot_read_either(running: Running) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/docs"):
        assert running.get(path, origin="https://evil.example").status_code == 403
        assert running.get(path, **fetched("no-cors", "script")).status_code == 403
        assert running.get(path, **fetched("navigate", "iframe")).status_code == 403
        assert running.get(path, **fetched("navigate", "document")).status_code == 200  # a link to us
        assert running.get(path, origin=running.url).status_code == 200


def test_a_token(start: Callable[..., Running]) -> None:
    guarded = start(token="0123456789abcdef")  # noqa: S106
    files = {"photos": ("r.png", RED)}
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer 0123456789abcdeF"}, 401),
        ({"authorization": "Bearer 0123456789abcdef"}, 200),
    ):
        found = httpx.post(f"{guarded.url}/v1/identify", files=files, headers=headers, timeout=30)
        assert found.status_code == status
        assert guarded.get("/v1/models", **headers).status_code == status
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200
    assert guarded.get("/metrics").status_code == 401


def test_another_name_may_be_allowed(start: Callable[..., Running]) -> None:
    named = start(hosts=("cars.example",))
    assert named.get("/healthz", host="cars.example:443").status_code == 200
    assert named.get("/healthz", host="www.cars.example").status_code == 421


def test_a_body_that_is_too_large_with_and_without_its_length(small: Running) -> None:
    said = talk(small.port, head(Content_Length=str(10**9)))
    assert said.startswith(b"HTTP/1.1 413")
    assert b"too_large" in said
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    said = talk(small.port, head(Transfer_Encoding="chunked"), b"%x\r\n%s\r\n" % (len(PART), PART), *[chunk] * 8)
    assert said.startswith(b"HTTP/1.1 413")
    assert small.post("/v1/identify", ("r.png", RED)).status_code == 200


@pytest.mark.parametrize("length", ["-5", "1e3", "abc"])
def test_a_length_that_is_none(small: Running, length: str) -> None:
    said = talk(small.port, head(Content_Length=length), b"x")
    assert said.split(b" ")[1][:1] == b"4"


@pytest.mark.slow
def test_a_body_that_does_not_come(small: Running) -> None:
    began = time.monotonic()
    said = talk(small.port, head(Content_Length="1000"), PART, *[b"x"] * 3, pause=0.3)
    assert said.startswith(b"HTTP/1.1 408")
    assert 1.5 < time.monotonic() - began < 12


@pytest.mark.slow
def test_headers_that_do_not_come(small: Running) -> None:
    began = time.monotonic()
    assert talk(small.port, b"GET /healthz HTTP/1.1\r\n", *[b"X-a: b\r\n"] * 4, pause=0.2) == b""
    assert time.monotonic() - began < 12
    assert talk(small.port) == b""  # who says nothing is not waited for either


@pytest.mark.parametrize("begins", [b"GET /healthz HTTP/1.1\r\n", b"GET /"])
def test_a_head_without_an_end(small: Running, begins: bytes) -> None:
    line = b"X-a: " + b"b" * 9_000 + b"\r\n" if begins.endswith(b"\n") else b"b" * 9_000
    said = talk(small.port, begins, *[line] * 40)  # a server that is late reads 256 KB at once: enough must follow
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_the_next_head_on_a_connection_has_the_same_deadline(small: Running) -> None:
    began = time.monotonic()
    first = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    said = talk(small.port, first, *[b"\r\n"] * 4, b"GET /healthz HTTP/1.1\r\n", *[b"X-a: b\r\n"] * 40, pause=0.1)
    assert said.count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - began < 12


def test_parts_with_endless_headers(small: Running) -> None:
    body = b"--x\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--x--\r\n"
    said = talk(small.port, head(Content_Length=str(len(body)), Connection="close"), body)
    assert said.split(b" ")[1][:1] == b"4"
    many = b"--x\r\n" + b"A: b\r\n" * 20_000 + b"\r\nx\r\n--x--\r\n"
    said = talk(small.port, head(Content_Length=str(len(many)), Connection="close"), many)
    assert said.split(b" ")[1][:1] == b"4"


def test_who_would_wait_too_long_is_told_at_once(start: Callable[..., Running]) -> None:
    busy = start(limits=Limits(workers=1, wait=0.75))
    pool = busy.api.pool
    wait_until(lambda: pool.ready == 1)
    os.kill(pool.pids[0], signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(busy.post, "/v1/identify", ("r.png", RED))]
        wait_until(lambda: pool.working == 1 and not pool.full)  # it is at a photo that should be done any moment
        asked.append(threads.submit(busy.post, "/v1/identify", ("r.png", RED)))
        wait_until(lambda: pool.waiting == 1)
        found = busy.post("/v1/identify", ("r.png", RED))
        assert (found.status_code, found.json()["error"]["code"]) == (503, "busy")
        assert found.headers["retry-after"] == "1"
        assert busy.get("/healthz").status_code == 200
        os.kill(pool.pids[0], signal.SIGCONT)
        assert [one.result().status_code for one in asked] == [200, 200]
    assert busy.post("/v1/identify", ("r.png", RED)).status_code == 200


def test_a_small_request_is_answered_while_a_large_one_is_under_way(start: Callable[..., Running]) -> None:
    busy = start()
    photos = [(f"{at}.png", LARGE) for at in range(50)]
    with ThreadPoolExecutor(1) as threads:
        large = threads.submit(busy.post, "/v1/identify", *photos)
        wait_until(lambda: busy.api.pool.waiting > 25)
        statuses = [busy.post("/v1/identify", ("r.png", RED)).status_code for _ in range(5)]
        assert 200 in statuses
        assert not large.done()
        assert [one["label"] for one in large.result().json()["answers"]] == ["blue"] * 50


def test_a_host_is_read_as_browsers_do() -> None:
    assert [_place(text) for text in ("a:1", "A.b", "[::1]:2", "a@b", "a/b", "a?b", ":", "", "[::1", "a:b")] == [
        ("a", 1), ("a.b", None), ("::1", 2), *[("", None)] * 7,
    ]  # fmt: skip


def test_a_port_that_is_usual_need_not_be_named() -> None:
    for host in ("cars.example", "Cars.Example", "cars.example:443"):
        assert _same("https://cars.example", host)  # a proxy speaks TLS before us
    assert _same("http://cars.example", "cars.example:80")
    for origin in ("https://cars.example:8443", "http://cars.example", "https://cars.example/", "ws://cars.example"):
        assert not _same(origin, "cars.example:443")
    assert not _same("https://", "")
