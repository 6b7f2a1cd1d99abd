"""The socket of NiceGUI's page, with the handshakes that its script makes, on a real server."""

from __future__ import annotations

import json
import re
import time
from ast import literal_eval
from collections.abc import Callable
from html import unescape

import httpx
import pytest
from tests.apps.serving.conftest import Running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from carspotter.apps.serving.limits import Limits
from carspotter.apps.web.pages import Extras, attach

SOCKET = "/_nicegui_ws/socket.io/?EIO=4"
FOREIGN = ("https://evil.example", "null", "http://127.0.0.1.evil.example")
HEADER_SECONDS = 0.5


@pytest.fixture(scope="module")
def page(start: Callable[..., Running]) -> Running:
    """A server with the page; NiceGUI has one app a process, so no other module may start one in its own."""
    return start(limits=Limits(workers=1, header_seconds=HEADER_SECONDS), prepare=lambda api: attach(api, Extras()))


def open_socket(page: Running, origin: str, **more: str) -> ClientConnection:
    """A WebSocket, as the page's script opens it."""
    words = "".join(f"&{name}={value}" for name, value in more.items())
    return connect(f"ws://127.0.0.1:{page.port}{SOCKET}&transport=websocket{words}", origin=origin, proxy=None)


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_other_sites_get_no_socket(page: Running, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(page, origin):
        pass
    assert refused.value.response.status_code == 403
    polled = page.get(f"{SOCKET}&transport=polling", origin=origin)
    assert (polled.status_code, polled.json()["error"]["code"]) == (403, "bad_origin")


def test_no_script_of_another_site_reads_what_is_polled(page: Running) -> None:
    """A `<script>` names no origin, and a reply in JSONP would be one."""
    polled = page.get(
        f"{SOCKET}&transport=polling&j=0", **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    )
    assert polled.status_code == 403
    followed = page.get("/", **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert followed.status_code == 200  # a link to us


def test_nothing_that_is_polled_is_open_to_other_sites(page: Running) -> None:
    polled = page.get(f"{SOCKET}&transport=polling", origin=page.url)
    assert polled.status_code == 200
    assert '"sid"' in polled.text
    assert [name for name in polled.headers if name.startswith("access-control-")] == []


def test_a_socket_outlives_the_deadline_of_headers(page: Running) -> None:
    shown = httpx.get(page.url, timeout=30).text
    query = literal_eval(unescape(re.findall(r"query: (\{.*\}),", shown)[0]))
    words = {name: str(value) for name, value in query.items()}
    with open_socket(page, page.url, **words | {"implicit_handshake": "false"}) as socket:
        assert str(socket.recv(10)).startswith("0{")  # engine.io opens
        socket.send("40")  # and so does socket.io
        assert str(socket.recv(10)).startswith("40{")
        time.sleep(2 * HEADER_SECONDS)
        socket.send('421["handshake",' + json.dumps(query | {"tab_id": "t", "document_id": "d"}) + "]")
        while not (said := str(socket.recv(10))).startswith("431"):
            assert said.startswith("42"), said
        assert said == "431[true]"
