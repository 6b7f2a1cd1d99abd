"""The server process: uvicorn with a deadline for headers, which it lacks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.guard import CROWDED
from carspotter.errors import SourceError

STOP_SECONDS = 20
"""In which requests under way are finished when the server stops."""


class Impatient(H11Protocol):
    """The HTTP protocol that ends connections whose headers do not come, and marks those that are one too many."""

    header_seconds = 10.0
    most = 500
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its headers are waited for."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.app_state = {**self.app_state, CROWDED: True}
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request: once its headers are whole, the body has a deadline of its own (`Guard`)."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:  # the latter: a WebSocket by now
            self._stop()
        elif self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

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
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


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
