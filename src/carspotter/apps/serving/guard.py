"""What a request must be before anything reads it: from where, with which token, how large, how fast.

Plain ASGI, for HTTP and for WebSocket handshakes, which are GETs that no preflight asks about.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from carspotter.apps.serving.limits import Limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CORS = b"access-control-"
"""How the headers begin by which a server lets pages of other sites read its replies."""
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that are answered without being named."""
PORTS = {"http": 80, "https": 443}
"""Of the schemes that pages come by, where none is named."""
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Paths that need no token: browsers bear none before they are told one, which the description is for."""
CROWDED = "carspotter.crowded"
"""In a request's state: its connection was one too many."""
AGAIN = (("Retry-After", "1"),)
FLOODED = 413
LATE = 408


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of the reply.
        code: for programs.
        sentence: for people; never a path, a traceback or a library's text.
        headers: of the reply.
    """

    def __init__(self, status: int, code: str, sentence: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.headers = tuple(headers)


class Guard:
    """Wraps an app.

    Attributes:
        held: bytes of the bodies that are under way.

    Args:
        app: what is guarded.
        limits: of size and time.
        hosts: that may be named in `Host`, besides the local ones; a port is not looked at.
        token: that every request but the health checks must bear; empty: none.
        room: raises the refusal of photos that come now, if they would wait too long.
        photos: paths whose requests bring photos.
        measured: told the path's route (`other` where there is none), the status and the seconds of each reply.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        hosts: Iterable[str] = (),
        token: str = "",
        room: Callable[[], None] = lambda: None,
        photos: Iterable[str] = (),
        measured: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._hosts = frozenset(host.casefold() for host in (*LOCAL, *hosts))
        self._token = token
        self._room = room
        self._photos = frozenset(photos)
        self._measured = measured
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(_closed(message))

        try:
            await self._guarded(scope, receive, noted)
        finally:
            # A path that is no route would be a label of a stranger's making.
            known = getattr(scope.get("route"), "path", None)
            route = str(known or (scope["path"] if scope["path"] in self._photos else "other"))
            self._measured(route, status, time.perf_counter() - began)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; refuse it before that, or in the middle of its body, whatever the app makes of this."""
        refusal: Refusal | None = None
        begun = False
        body = _Body(receive, self._limits, self._hold)
        bounded = body.receive if scope["type"] == "http" else receive

        async def heard() -> Message:
            nonlocal refusal
            try:
                return await bounded()
            except Refusal as found:
                refusal = found
                raise

        async def said(message: Message) -> None:
            nonlocal begun
            if refusal is None or begun:
                begun = True
                await send(message)

        try:
            self._check(scope)
            await self._app(scope, heard, said)
        except Exception as found:  # an app's own middleware may have wrapped the refusal that it was handed
            refusal = refusal or (found if isinstance(found, Refusal) else None)
            if refusal is None:
                raise
        finally:
            self.held -= body.taken
        if refusal is not None and not begun:
            await _refuse(scope, send, refusal)

    def _check(self, scope: Scope) -> None:
        if scope.get("state", {}).get(CROWDED):
            raise Refusal(503, "crowded", "too many connections; try again", AGAIN)
        headers = _headers(scope)
        if _place(headers.get(b"host", b"").decode("latin-1"))[0] not in self._hosts:
            raise Refusal(421, "bad_host", "this server does not answer under that name; start it with --allow-host")
        if self._foreign(headers):
            raise Refusal(403, "bad_origin", "requests from pages of other sites are not answered")
        if self._token and scope["path"] not in OPEN and not scope["path"].startswith("/docs/"):
            borne = headers.get(b"authorization", b"")
            if not hmac.compare_digest(borne, b"Bearer " + self._token.encode()):
                raise Refusal(401, "no_token", "a bearer token is needed", [("WWW-Authenticate", "Bearer")])
        if scope["path"] in self._photos and scope.get("method") not in SAFE:
            self._room()
        self._check_length(headers)

    def _check_length(self, headers: Mapping[bytes, bytes]) -> None:
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._limits.body_bytes:
            raise _flooded(self._limits)
        if self.held + int(declared) > self._limits.bodies_bytes:
            raise busy()

    def _hold(self, more: int) -> None:
        """Bytes of a body have come, and stay until its request is answered."""
        self.held += more
        if self.held > self._limits.bodies_bytes:
            raise busy()

    def _foreign(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether another site's page asks, reading or writing: a page's socket begins with a GET.

        Browsers name the page in `Origin` where a script asks. Where a `<script>` or an `<img>` does, or a frame in
        which clicks could be stolen, `Sec-Fetch-Site` tells. Links to us are followed.
        """
        origin = headers.get(b"origin")
        if origin is not None:
            return not _same(origin.decode("latin-1"), headers[b"host"].decode("latin-1"))
        followed = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest")) == (b"navigate", b"document")
        return headers.get(b"sec-fetch-site") == b"cross-site" and not followed


class _Body:
    """A request's body, counted as it comes, and all of it by a deadline.

    Attributes:
        taken: bytes that have come.
    """

    def __init__(self, receive: Receive, limits: Limits, hold: Callable[[int], None]) -> None:
        self.taken = 0
        self._whole = False
        self._receive = receive
        self._limits = limits
        self._hold = hold
        self._deadline = asyncio.get_running_loop().time() + limits.receive_seconds

    async def receive(self) -> Message:
        """The next part.

        Raises:
            Refusal: the body is too large, or too late, or there is no room for more bodies.
        """
        if self._whole:  # what follows is the end of the connection, for which there is no hurry
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(LATE, "too_slow", "the request did not arrive in time; send smaller photos") from None
        if message["type"] == "http.request":
            more = len(message.get("body", b""))
            self.taken += more
            self._whole = not message.get("more_body", False)
            self._hold(more)
            if self.taken > self._limits.body_bytes:
                raise _flooded(self._limits)
        return message


def _headers(scope: Scope) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name == b"host" and name in headers:
            raise Refusal(400, "bad_host", "the request names several hosts")
        headers[name] = value
    return headers


def _closed(message: Message) -> Message:
    """Without headers that open a reply to pages of other sites, as what serves the page's socket sends them."""
    if "headers" not in message:
        return message
    return {**message, "headers": [pair for pair in message["headers"] if not pair[0].lower().startswith(CORS)]}


def busy() -> Refusal:
    """More is under way than there is room for."""
    return Refusal(503, "busy", "too many photos wait already; try again", AGAIN)


def _flooded(limits: Limits) -> Refusal:
    most = f"{limits.body_bytes / 2**20:g} MB"
    return Refusal(FLOODED, "too_large", f"a request may have {most}; send fewer or smaller photos")


def _place(netloc: str) -> tuple[str, int | None]:
    """The name of a host and its port, if one is named; no name for what is no host."""
    try:
        parts = urlsplit(f"//{netloc}")
        port = parts.port
    except ValueError:
        return "", None
    bare = parts.netloc == netloc and "@" not in netloc and not parts.path and not parts.query and not parts.fragment
    return ((parts.hostname or "").casefold(), port) if bare else ("", None)


def _same(origin: str, host: str) -> bool:
    """Whether a page's origin is the very place that it asks: name and port. A proxy may speak TLS before us."""
    scheme, _, netloc = origin.partition("://")
    usual = PORTS.get(scheme)
    (name, port), (own, own_port) = _place(netloc), _place(host)
    return usual is not None and bool(name) and (name, port or usual) == (own, own_port or usual)


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence})
        return
    body = json.dumps(fault(refusal.code, refusal.sentence), ensure_ascii=False).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*headers, *refusal.headers)]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def fault(code: str, sentence: str) -> dict[str, Any]:
    """The body of every reply that is an error."""
    return {"error": {"code": code, "sentence": sentence}}
