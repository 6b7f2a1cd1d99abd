"""The server process: uvicorn with bounds for the head of a request, which it lacks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.guard import CROWDED
from carspotter.errors import SourceError

STOP_SECONDS = 20
"""In which requests under way are finished when the server stops."""
HEAD_BYTES = 64 * 2**10
"""What a request's line and headers may take after the first bytes that were read together. Assumption: four times what
h11 allows, which has 16 KB; this parser has no bound of its own."""


class Impatient(HttpToolsProtocol):
    """HTTP that ends connections whose headers do not come or do not end, and marks those that are too many.

    Its parser is in C: a refusal takes half the time that h11 takes, and on a shared core that is the worker's time.
    """

    header_seconds = 10.0
    most = 500
    _late: asyncio.TimerHandle | None = None
    _head: int | None = None
    """Bytes of a head that is not whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its headers are waited for."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.app_state = {**self.app_state, CROWDED: True}
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request: once its headers are whole, the body has a deadline of its own (`Guard`)."""
        begun = self._head is not None  # else these bytes may be another request's, up to where the head begins
        super().data_received(data)
        if begun and self._head is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
        if self._late is None and self._idle:
            self._wait()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        """The last byte of its head."""
        self._head = None
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.header_seconds, self._close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        if self._idle:
            self.transport.close()

    @property
    def _idle(self) -> bool:
        """Whether nothing is being answered, and the connection is HTTP's still."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.transport.get_protocol() is self


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a taken port is said before anything is started.

    Raises:
        SourceError: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as fault:
        why = getattr(fault, "strerror", None) or str(fault)
        raise SourceError(f"cannot listen on {host}:{port}: {why}; name another --host or --port") from None
    found.set_inheritable(False)
    return found


def config(api: Api, host: str, port: int, **more: Any) -> uvicorn.Config:
    """How uvicorn runs the app."""
    limits = api.limits
    return uvicorn.Config(
        api.guarded,
        host=host,
        port=port,
        http=type("Protocol", (Impatient,), {"header_seconds": limits.header_seconds, "most": limits.connections}),
        timeout_graceful_shutdown=STOP_SECONDS,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        **more,
    )
