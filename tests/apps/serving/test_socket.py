"""The socket of NiceGUI's page, with the handshakes that its script makes, on a real server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from tests.apps.serving.conftest import PART, head, talk, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from helpers.tiny import colour_photo, write_tiny_bundle

pytestmark = pytest.mark.slow
SOCKET = "/_nicegui_ws/socket.io/?EIO=4"
FOREIGN = ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1", "http://[::1")
HEADER_SECONDS = 1.0
SERVER = """
import sys
from pathlib import Path

import uvicorn

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.server import config, listen
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.web.pages import Extras, attach

limits = Limits(workers=1, header_seconds=float(sys.argv[2]), receive_seconds=3.0, body_bytes=1_000_000)
api = Api(ModelRegistry([Path(sys.argv[1])]), limits.resolved())
attach(api, Extras())
listening = listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
uvicorn.Server(config(api, "127.0.0.1", 0)).run([listening])
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the page, in a process of its own: NiceGUI looks at every object of its process."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").folder
    command = [sys.executable, "-c", SERVER, str(folder), str(HEADER_SECONDS)]
    env = os.environ | {"TMPDIR": str(folder.parent)}  # what ends it gives it no time to tidy up
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        wait_until(lambda: answers(url))
        yield url
        server.terminate()


def answers(url: str) -> bool:
    """Whether a server is there by now."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def poll(url: str, more: str = "", **headers: str) -> httpx.Response:
    """What the page's script asks where it cannot have a WebSocket."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{url}{SOCKET}&transport=polling{more}", headers=named, timeout=30)


def open_socket(url: str, origin: str, **more: str) -> ClientConnection:
    """A WebSocket, as the page's script opens it."""
    words = "".join(f"&{name}={value}" for name, value in more.items())
    return connect(f"{url.replace('http', 'ws', 1)}{SOCKET}&transport=websocket{words}", origin=origin, proxy=None)


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_other_sites_get_no_socket(page: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(page, origin):
        pass
    assert refused.value.response.status_code == 403
    polled = poll(page, origin=origin)
    assert (polled.status_code, polled.json()["error"]["code"]) == (403, "bad_origin")


def test_no_script_of_another_site_reads_what_is_polled(page: str) -> None:
    """A `<script>` names no origin, and a reply in JSONP would be one."""
    assert poll(page, "&j=0", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status_code == 403


def test_nothing_that_is_polled_is_open_to_other_sites(page: str) -> None:
    polled = poll(page, origin=page)
    assert polled.status_code == 200
    assert '"sid"' in polled.text
    assert [name for name in polled.headers if name.startswith("access-control-")] == []


def test_a_socket_outlives_the_deadline_of_headers(page: str) -> None:
    shown = httpx.get(page, timeout=30).text
    query = literal_eval(unescape(re.findall(r"query: (\{.*\}),", shown)[0]))
    words = {name: str(value) for name, value in query.items()}
    with open_socket(page, page, **words | {"implicit_handshake": "false"}) as line:
        assert str(line.recv(10)).startswith("0{")  # engine.io opens
        line.send("40")  # and so does socket.io
        assert str(line.recv(10)).startswith("40{")
        time.sleep(2 * HEADER_SECONDS)
        line.send('421["handshake",' + json.dumps(query | {"tab_id": "t", "document_id": "d"}) + "]")
        while not (said := str(line.recv(10))).startswith("431"):
            assert said.startswith("42"), said
        assert said == "431[true]"


def test_the_page_answers_for_no_path_of_the_api(page: str) -> None:
    assert httpx.head(f"{page}/healthz", timeout=30).status_code == 200
    wrong = {"/healthz": "GET, HEAD", "/readyz": "GET, HEAD", "/metrics": "GET", "/openapi.json": "GET", "/docs": "GET"}
    for path, allowed in wrong.items():
        found = httpx.post(page + path, timeout=30)
        assert (found.status_code, found.json()["error"]["code"]) == (405, "method")
        assert found.headers["allow"] == allowed
    for path in ("/v1/nowhere", "/docs/nowhere", "/docs/no/where"):
        assert httpx.get(page + path, timeout=30).json()["error"]["code"] == "not_found"


def test_nobody_works_for_who_hung_up_where_the_page_is_too(page: str) -> None:
    body = (PART + colour_photo(250, 0, 0, (2000, 1500)) + b"\r\n") * 50 + b"--x--\r\n"  # seconds of work
    with socket.create_connection(("127.0.0.1", int(page.rsplit(":", 1)[1])), timeout=15) as line:
        line.sendall(head(Content_Length=str(len(body))) + body)
        wait_until(lambda: "carspotter_photos_waiting 0.0" not in httpx.get(f"{page}/metrics", timeout=30).text)
    gone = 'carspotter_requests_total{route="/v1/identify",status="499"} 1.0'
    wait_until(lambda: gone in httpx.get(f"{page}/metrics", timeout=30).text)


def test_uploads_of_the_page_have_the_bounds_of_all_bodies(page: str) -> None:
    shown = httpx.get(page, timeout=30).text
    path, port = re.findall(r"/_nicegui/client/[^\"&]+/upload/\d+", shown)[0], int(page.rsplit(":", 1)[1])
    begun = head(path, Transfer_Encoding="chunked") + b"%x\r\n%s\r\n" % (len(PART), PART)
    flooded = talk(port, begun, *[b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 20)
    assert flooded.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in flooded
    late = talk(port, begun)
    assert late.startswith(b"HTTP/1.1 408")
    assert b'"too_slow"' in late
