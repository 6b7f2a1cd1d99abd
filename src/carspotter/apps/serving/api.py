"""The routes: photos and declared models in, answers out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

import carspotter
from carspotter.apps.serving.docs_page import add_docs
from carspotter.apps.serving.guard import App, Guard, Refusal, fault
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.line import Turn
from carspotter.apps.serving.metrics import CONTENT_TYPE_LATEST, Metrics
from carspotter.apps.serving.pool import Full, Pool
from carspotter.apps.serving.schemas import Checked, Failed, Identified, ModelCard, Models, Named, State
from carspotter.apps.serving.shelf import Shelf
from carspotter.apps.serving.worker import Gone, Model, Seen, Task, together
from carspotter.data.wording import brief
from carspotter.errors import Reason
from carspotter.evaluation.answer import answer
from carspotter.evaluation.listing import check_listing
from carspotter.inference.bundle import Bundle
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Rejected

IDENTIFY, LISTING = "/v1/identify", "/v1/listings/check"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
MAX_TEXT = 200
"""Characters of a declared model or a model's name (assumption)."""
TRIES = 3
"""How often a photo is asked again because its model was replaced meanwhile (assumption)."""
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
        (503, "too busy; try again"),
    )
}
_PHOTOS = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "one or more photos"}
_MODEL = {"type": "string", "description": "name of a model; the first one where it is left out"}


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    required = [name for name in fields if name != "model"]
    schema = {"type": "object", "properties": fields, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form holds.

    Attributes:
        photos: name, and bytes or the reason why they are not looked at.
        texts: its other fields.
    """

    photos: tuple[tuple[str, bytes | Rejected], ...]
    texts: dict[str, str]


class Api:
    """The app and what it works with.

    Args:
        shelf: of models.
        limits: resolved.
        hosts: that may be named besides the local ones.
        token: see `Guard`.
        runtime: who computes.
    """

    def __init__(
        self,
        shelf: Shelf,
        limits: Limits,
        *,
        hosts: Sequence[str] = (),
        token: str = "",
        runtime: RuntimeName = "onnxruntime",
    ) -> None:
        self.shelf = shelf
        self.limits = limits
        self.metrics = Metrics()
        self.pool = Pool(limits, lambda: shelf.models, runtime=runtime, restarted=self.metrics.restarts.inc)
        self.app = FastAPI(
            title="carspotter",
            version=carspotter.__version__,
            summary="Names the car model in a photo, and says when it cannot.",
            lifespan=self._lifespan,
            docs_url=None,  # it would ask others for its scripts
            redoc_url=None,
        )
        self._route()
        self.guarded: App = Guard(
            self.app,
            limits=limits,
            hosts=hosts,
            token=token,
            full=lambda: self.pool.full,
            photos=(IDENTIFY, LISTING),
            measured=self._measured,
        )

    # ---- routes -----------------------------------------------------------------------------------------------------

    def _route(self) -> None:
        app = self.app
        identify_form = _form(photos=_PHOTOS, model=_MODEL)
        listing_form = _form(declared={"type": "string"}, photos=_PHOTOS, model=_MODEL)
        app.post(IDENTIFY, response_model=Identified, responses=FAILURES, openapi_extra=identify_form)(self.identify)
        app.post(LISTING, response_model=Checked, responses=FAILURES, openapi_extra=listing_form)(self.check)
        app.get("/v1/models", response_model=Models)(self.models)
        app.get("/healthz", response_model=State)(self.alive)
        app.get("/readyz", response_model=State, responses={503: {"model": State}})(self.ready)
        app.get("/metrics", response_class=Response)(self.told)
        add_docs(app)
        # The page is mounted below `/` and would answer for these.
        app.api_route("/v1/{rest:path}", methods=sorted(METHODS), include_in_schema=False)(self.nothing)
        app.add_exception_handler(Refusal, _refused)
        app.add_exception_handler(HTTPException, _http_fault)
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(Exception, _our_fault)

    async def identify(self, request: Request) -> Identified:
        """Name the car in each photo. A photo that cannot be used is a `bad_photo` with its reason."""
        sent = await self._sent(request, ("model",))
        bundle, answers, _ = await self._answered(sent)
        return Identified(model=bundle.name, answers=answers)

    async def check(self, request: Request) -> Checked:
        """Whether the photos of an ad show the model that it declares."""
        sent = await self._sent(request, ("declared", "model"))
        declared = sent.texts.get("declared", "").strip()
        if not declared:
            raise Refusal(400, "no_declared", "the field declared is missing: the model as the ad names it")
        chosen, answers, seen = await self._answered(sent)
        card = chosen.bundle.card
        scores, strangers = together(seen, [str(at) for at in range(len(seen))], len(card.classes))
        listed = check_listing(declared, scores, card.classes, card.calibration, strangers)
        return Checked.of(chosen.name, declared, listed, answers)

    async def models(self) -> Models:
        """The models of this server."""
        return Models(models=[_card(name, bundle) for name, bundle in self.shelf.bundles.items()])

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
        known = {IDENTIFY: "POST", LISTING: "POST", "/v1/models": "GET"}
        if allowed := known.get(request.url.path):
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
        watch = asyncio.create_task(self.shelf.watch(self.pool.try_open, self._replaced))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])
            await self.pool.stop()

    async def refresh(self) -> None:
        """Look whether models were replaced, now."""
        self._replaced(await self.shelf.refresh(self.pool.try_open))

    def _replaced(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.metrics.reloads.labels(name).inc()

    def _measured(self, route: str, status: int, seconds: float) -> None:
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)

    async def _sent(self, request: Request, fields: Sequence[str]) -> Sent:
        """The form, read within all bounds.

        Raises:
            Refusal: it is no such form, or too much.
        """
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refusal(400, "no_form", "send a form (multipart/form-data) with the field photos")
        limits = self.limits
        try:
            async with request.form(
                max_files=limits.photos, max_fields=limits.fields, max_part_size=4 * MAX_TEXT
            ) as form:
                return await self._read(form, fields)
        except (MultiPartException, HTTPException) as broken:
            many = "Too many" in str(getattr(broken, "message", "") or getattr(broken, "detail", ""))
            if many:
                most = f"{limits.photos} photos and {limits.fields} fields"
                raise Refusal(413, "too_many", f"a request may have {most}; send several requests") from None
            raise Refusal(400, "bad_form", "the form is damaged or a field is too long; send it again") from None

    async def _read(self, form: FormData, fields: Sequence[str]) -> Sent:
        photos: list[tuple[str, bytes | Rejected]] = []
        texts: dict[str, str] = {}
        for key, value in form.multi_items():
            if isinstance(value, UploadFile) and key == "photos":
                name = brief(value.filename or f"photo {len(photos) + 1}")
                photos.append((name, await self._bytes(value)))
            elif isinstance(value, str) and key in fields:
                texts[key] = value
            else:
                kind = "photos must be files" if key == "photos" else f"expected photos and {', '.join(fields)}"
                raise Refusal(400, "bad_field", f"the field {brief(key)} is not expected here: {kind}")
        if not photos:
            raise Refusal(400, "no_photos", "the field photos is missing: one or more photos")
        if any(len(text) > MAX_TEXT for text in texts.values()):
            raise Refusal(400, "too_long", f"a text may have {MAX_TEXT} characters")
        return Sent(tuple(photos), texts)

    async def _bytes(self, upload: UploadFile) -> bytes | Rejected:
        most = self.limits.photo_bytes
        data = await upload.read(most + 1)
        if len(data) > most:
            return Rejected("", Reason.TOO_LARGE, f"a photo may have {most:,} bytes; save it smaller")
        return data

    async def _answered(self, sent: Sent) -> tuple[_Chosen, list[Named], list[Seen]]:
        """Every photo by one version of one model."""
        name = sent.texts.get("model") or next(iter(self.shelf.bundles))
        if name not in self.shelf.bundles:
            raise Refusal(404, "no_model", "there is no such model; GET /v1/models names those there are")
        try:
            with self.pool.admitting(len(sent.photos)) as turn:
                return await self._by_one(name, sent, turn)
        except Full:
            raise Refusal(503, "busy", "too many photos wait already; try again", [("Retry-After", "1")]) from None

    async def _by_one(self, name: str, sent: Sent, turn: Turn) -> tuple[_Chosen, list[Named], list[Seen]]:
        for _ in range(TRIES):
            chosen = _Chosen(name, *self.shelf.now(name))
            said = await asyncio.gather(*(self._look(chosen.model, photo, turn) for _, photo in sent.photos))
            seen = [one for one in said if isinstance(one, Seen)]
            if len(seen) == len(said):
                return chosen, self._named(chosen, sent, seen), seen
            await self.refresh()  # it was replaced meanwhile
        raise Refusal(503, "replaced", "the model is being replaced; try again", [("Retry-After", "2")])

    async def _look(self, model: Model, photo: bytes | Rejected, turn: Turn) -> Seen | Gone:
        return Seen(rejected=photo) if isinstance(photo, Rejected) else await self.pool.run(Task(model, photo), turn)

    def _named(self, chosen: _Chosen, sent: Sent, seen: Sequence[Seen]) -> list[Named]:
        """The answers, under the names of the files."""
        ids, card = [str(at) for at in range(len(seen))], chosen.bundle.card
        scores, strangers = together(seen, ids, len(card.classes))
        answers = answer(scores, card.classes, card.calibration, ids, strangers, card.parents)
        for one in answers:
            self.metrics.photos.labels(chosen.name, one.verdict.value).inc()
        return [
            Named.of(one).model_copy(update={"id": name}) for one, (name, _) in zip(answers, sent.photos, strict=True)
        ]


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
