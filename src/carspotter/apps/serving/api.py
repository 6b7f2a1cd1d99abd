"""The routes: photos and declared models in, answers out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import carspotter
from carspotter.apps.serving.docs_page import add_docs
from carspotter.apps.serving.fair_queue import Turn
from carspotter.apps.serving.form import Sent, read_form
from carspotter.apps.serving.guard import AGAIN, App, Guard, Refusal, busy, fault
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.metrics import CONTENT_TYPE_LATEST, Metrics
from carspotter.apps.serving.patience import for_client
from carspotter.apps.serving.pool import Full, Pool
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.serving.schemas import Checked, Failed, Identified, ModelCard, Models, Named, State
from carspotter.apps.serving.worker import Gone, Model, Seen, Task, together
from carspotter.evaluation.answer import answer
from carspotter.evaluation.listing import check_listing
from carspotter.inference.bundle import Bundle
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Answer, Listed, Rejected

log = logging.getLogger("carspotter.serving")
IDENTIFY, LISTING = "/v1/identify", "/v1/listings/check"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
ALLOWED = {
    IDENTIFY: "POST",
    LISTING: "POST",
    "/v1/models": "GET",
    "/healthz": "GET, HEAD",
    "/readyz": "GET, HEAD",
    "/metrics": "GET",
    "/openapi.json": "GET",
    "/docs": "GET",
}
"""Paths and their methods."""
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failed, "description": what}
    for status, what in (
        (400, "the request is not what it should be"),
        (401, "a token is needed"),
        (403, "from another site's page"),
        (404, "no such model"),
        (408, "it arrived too slowly"),
        (413, "too large, or too many photos"),
        (421, "not the name of this server"),
        (500, "a fault of the server"),
        (503, "too busy; try again"),
    )
}
SIMPLE: dict[int | str, dict[str, Any]] = {status: FAILURES[status] for status in (400, 401, 403, 421, 500, 503)}
"""Of requests that bring nothing."""
_PHOTOS = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "one or more photos"}
_MODEL = {"type": "string", "description": "name of a model; the first one where it is left out"}


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    required = [name for name in fields if name != "model"]
    schema = {"type": "object", "properties": fields, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class Api:
    """The app and what it works with.

    Args:
        registry: of models.
        limits: resolved.
        hosts: that may be named besides the local ones.
        token: see `Guard`.
        runtime: who computes.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        limits: Limits,
        *,
        hosts: Sequence[str] = (),
        token: str = "",
        runtime: RuntimeName = "onnxruntime",
    ) -> None:
        self.registry = registry
        self.limits = limits
        self.metrics = Metrics()
        self.pool = Pool(
            limits, lambda: registry.models, runtime=runtime, restarted=self.metrics.restarts.inc, said=self._count
        )
        self.app = FastAPI(
            title="carspotter",
            version=carspotter.__version__,
            summary="Names the car model in a photo, and says when it cannot.",
            lifespan=self._lifespan,
            docs_url=None,  # it would ask others for its scripts
            redoc_url=None,
        )
        # Only said, so that /docs asks for one: the guard is who looks at it.
        self._route([Security(HTTPBearer(auto_error=False))] if token else [])
        self.guarded: App = Guard(
            self.app,
            limits=limits,
            hosts=hosts,
            token=token,
            room=self._came,
            photos=(IDENTIFY, LISTING),
            measured=self._measured,
        )

    # ---- routes -----------------------------------------------------------------------------------------------------

    def _route(self, token: Sequence[Depends]) -> None:
        app = self.app
        identify_form = _form(photos=_PHOTOS, model=_MODEL)
        listing_form = _form(declared={"type": "string"}, photos=_PHOTOS, model=_MODEL)
        posted: dict[str, Any] = {"responses": FAILURES, "dependencies": token}
        got: dict[str, Any] = {"responses": SIMPLE, "dependencies": token}
        app.post(IDENTIFY, response_model=Identified, openapi_extra=identify_form, **posted)(self.identify)
        app.post(LISTING, response_model=Checked, openapi_extra=listing_form, **posted)(self.check)
        app.get("/v1/models", response_model=Models, **got)(self.models)
        app.get("/healthz", response_model=State, responses=SIMPLE)(self.alive)
        app.get("/readyz", response_model=State, responses=SIMPLE | {503: {"model": State | Failed}})(self.ready)
        app.head("/healthz", include_in_schema=False)(self.alive)
        app.head("/readyz", include_in_schema=False)(self.ready)
        app.get("/metrics", response_class=Response, **got)(self.told)
        add_docs(app)
        # The page is mounted below `/` and would answer for these.
        for path in ("/v1/{rest:path}", "/docs/{rest:path}", *ALLOWED):
            app.api_route(path, methods=sorted(METHODS), include_in_schema=False)(self.nothing)
        app.add_exception_handler(Refusal, _refused)
        app.add_exception_handler(HTTPException, _http_fault)
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(Exception, _our_fault)

    async def identify(self, request: Request) -> Identified:
        """Name the car in each photo. A photo that cannot be used is a `bad_photo` with its reason."""
        sent = await read_form(request, ("model",), self.limits)
        chosen, answers, _ = await self._answered(request, sent)
        return Identified(model=chosen.name, answers=answers)

    async def check(self, request: Request) -> Checked:
        """Whether the photos of an ad show the model that it declares."""
        sent = await read_form(request, ("declared", "model"), self.limits)
        declared = sent.texts.get("declared", "").strip()
        if not declared:
            raise Refusal(400, "no_declared", "the field declared is missing: the model as the ad names it")
        chosen, answers, seen = await self._answered(request, sent)
        listed = listed_of(chosen.bundle, declared, seen)
        return Checked.of(chosen.name, declared, listed, answers)

    async def models(self) -> Models:
        """The models of this server."""
        return Models(models=[_card(name, bundle) for name, bundle in self.registry.bundles.items()])

    async def alive(self) -> State:
        """Whether the server lives."""
        return State(status="ok")

    async def ready(self, response: Response) -> State:
        """Whether a photo would be answered."""
        if self.pool.ready:
            return State(status="ok")
        response.status_code = 503
        return State(status="starting")

    async def nothing(self, request: Request) -> None:
        """What is no route, or not with that method."""
        if allowed := ALLOWED.get(request.url.path):
            raise HTTPException(405, headers={"Allow": allowed})
        raise HTTPException(404)

    async def told(self) -> Response:
        """Counts and times, in Prometheus' text format."""
        self.metrics.waiting.set(self.pool.waiting)
        self.metrics.ready.set(self.pool.ready)
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    # ---- parts ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await self.pool.start()
        watch = asyncio.create_task(self.registry.watch(self.pool.try_open, self._replaced))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])
            await self.pool.stop()

    async def refresh(self) -> None:
        """Look whether models were replaced, now."""
        self._replaced(await self.registry.refresh(self.pool.try_open))

    def _replaced(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.metrics.reloads.labels(name).inc()

    def _measured(self, route: str, status: int, seconds: float) -> None:
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)

    def _came(self) -> None:
        """Photos come, and there is room or not (`_room`)."""
        self.pool.came()
        self._room()

    def _room(self) -> None:
        """Pass where photos that come now would be answered soon.

        Raises:
            Refusal: they would wait too long, or nobody could take them.
        """
        if not self.pool.ready:
            raise Refusal(503, "starting", "no worker is ready; try again", AGAIN)
        if self.pool.full:
            raise busy()

    async def _answered(self, request: Request, sent: Sent) -> tuple[_Chosen, list[Named], list[Seen]]:
        """Every photo by one version of one model."""
        name = sent.texts.get("model") or next(iter(self.registry.bundles))
        if name not in self.registry.bundles:
            raise Refusal(404, "no_model", "there is no such model; GET /v1/models names those there are")
        self._room()
        try:
            with self.pool.admitting(len(sent.photos)) as turn:
                return await for_client(request, self._by_one(name, sent, turn), self.limits.answer_seconds)
        except Full:
            raise busy() from None

    async def _by_one(self, name: str, sent: Sent, turn: Turn) -> tuple[_Chosen, list[Named], list[Seen]]:
        chosen = _Chosen(name, *self.registry.now(name))
        said = await asyncio.gather(*(self._look(chosen.model, photo, turn) for _, photo in sent.photos))
        seen = [one for one in said if isinstance(one, Seen)]
        for away in (one for one in said if isinstance(one, Gone)):
            log.warning("%s cannot be asked: %s", name, away.sentence)
            raise Refusal(503, "no_answer", "this model cannot be asked just now; try again", AGAIN)
        answers = answers_of(chosen.bundle, seen)
        return chosen, [Named.of(one, name) for one, (name, _) in zip(answers, sent.photos, strict=True)], seen

    async def _look(self, model: Model, photo: bytes | Rejected, turn: Turn) -> Seen | Gone:
        task = Task(model, b"" if isinstance(photo, Rejected) else photo)
        if not isinstance(photo, Rejected):
            return await self.pool.run(task, turn)
        self._count(task, refused := Seen(rejected=photo))
        return refused

    def _count(self, task: Task, seen: Seen) -> None:
        """A photo was looked at, for a program or for the page."""
        if task.want == "answer" and (bundle := self.registry.bundle(task.model)) is not None:
            (found,) = answers_of(bundle, [seen])
            self.metrics.photos.labels(task.model.name, found.verdict.value).inc()


def answers_of(bundle: Bundle, seen: Sequence[Seen]) -> tuple[Answer, ...]:
    """In the order of what was seen, under numbers."""
    ids, card = [str(at) for at in range(len(seen))], bundle.card
    scores, strangers = together(seen, ids, len(card.classes))
    return answer(scores, card.classes, card.calibration, ids, strangers, card.parents)


def listed_of(bundle: Bundle, declared: str, seen: Sequence[Seen]) -> Listed:
    """Whether the photos of an ad show the model that it declares."""
    card = bundle.card
    scores, strangers = together(seen, [str(at) for at in range(len(seen))], len(card.classes))
    return check_listing(declared, scores, card.classes, card.calibration, strangers)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """One version of a model."""

    name: str
    bundle: Bundle
    model: Model


def _card(name: str, bundle: Bundle) -> ModelCard:
    card, accuracy = bundle.card, bundle.card.evaluation.accuracy if bundle.card.evaluation else None
    return ModelCard(
        name=name,
        hash=bundle.hash,
        classes=list(card.classes),
        width=card.geometry.width,
        height=card.geometry.height,
        accuracy=accuracy.value if accuracy else None,
        accuracy_low=accuracy.low if accuracy else None,
        accuracy_high=accuracy.high if accuracy else None,
        photos=accuracy.n if accuracy else None,
        calibrated=card.calibration is not None,
        knows_strangers=card.calibration is not None and card.calibration.strange_at is not None,
        backbone=card.backbone.known_as or card.backbone.name,
        commercial_use=card.backbone.commercial_use,
        created=card.provenance.created,
    )


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    if not isinstance(refusal, Refusal):
        raise refusal
    headers = {"Connection": "close"} | dict(refusal.headers)  # what is left of the body is not read
    return JSONResponse(fault(refusal.code, refusal.sentence), refusal.status, headers)


async def _http_fault(_: Request, found: Exception) -> JSONResponse:
    status = found.status_code if isinstance(found, HTTPException) else 500
    known = {
        404: ("not_found", "there is nothing here; /docs lists the routes"),
        405: ("method", "not with that method; /docs lists the routes"),
    }
    code, sentence = known.get(status, ("bad_request", "the request is not what it should be"))
    headers = found.headers if isinstance(found, HTTPException) else None
    return JSONResponse(fault(code, sentence), status, dict(headers or {}))


async def _invalid(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(fault("invalid", "the request is not what /docs describes"), 422)


async def _our_fault(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(fault("our_fault", "something went wrong here; the server's log says what"), 500)
