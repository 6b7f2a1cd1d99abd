"""The page as a whole: its head, its tabs, and that of a listing. It asks `desk.py`, and speaks by `words.py`."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from nicegui import events, ui

from carspotter.apps.serving.api import Api
from carspotter.apps.web.desk import Desk, Upload
from carspotter.apps.web.lot_tab import LotTab
from carspotter.apps.web.photos_tab import PhotosTab
from carspotter.apps.web.review import Review
from carspotter.apps.web.review_tab import ReviewTab
from carspotter.apps.web.texts import LANGUAGES, Language
from carspotter.apps.web.visit import Visit
from carspotter.apps.web.words import Said, Words, choose_language
from carspotter.records import Dataset, Listed, ListingVerdict

PATIENCE = 30.0
"""Seconds that a page is remembered while its browser is away (assumption: a phone that changes cells)."""
LISTING_COLOURS = {ListingVerdict.MATCH: "positive", ListingVerdict.MISMATCH: "negative"}
USUAL = "warning"
PALETTE = {"primary": "#1c5d99", "positive": "#1b7f3b", "negative": "#b3261e", "warning": "#855800"}
"""Each has 4.5 to 1 or more against white (WCAG 2.2, 1.4.3); `STYLE` has their lighter kin for dark pages."""
STYLE = """
body{font-family:system-ui,sans-serif}
.answers{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1rem;width:100%}
.answers img{width:100%;border-radius:.4rem;display:block}
.like{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.4rem;width:100%}
.like small{display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.answers>*{scroll-margin:5rem 0 1rem}
.pictures{aspect-ratio:4/3;overflow:auto}
.pictures>*,.answers .pictures img{height:100%;object-fit:contain}
.current{outline:3px solid currentColor}
.sheet{width:100%;max-width:72rem;margin:0 auto}
.takes-photos .q-uploader__list{display:none}
@layer theme{
.body--dark .text-positive{color:#7ddb9a!important}
.body--dark .text-negative{color:#ff9d94!important}
.body--dark .text-warning{color:#f2c063!important}
.body--dark .text-primary{color:#8fc3f5!important}
.body--dark .text-grey-8{color:#c4c4c4!important}
}
"""
PASTE = """
if (!window.carspotterPaste) {
  window.carspotterPaste = true;
  document.addEventListener('paste', event => {
    const files = [...(event.clipboardData?.files ?? [])].filter(file => file.type.startsWith('image/'));
    const shown = [...document.querySelectorAll('.takes-photos')].find(one => one.offsetParent);
    if (files.length && shown) getElement(Number(shown.id.slice(1))).$refs.qRef.addFiles(files);
  });
}
"""
"""Pasted pictures go to the uploader that is seen."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Tabs beside those that need nothing but a model.

    Attributes:
        review: findings of an audit.
        runs: address of a store of runs.
        training: what trained the models, to be shown beside photos that are like it.
    """

    review: Review | None = None
    runs: str | None = None
    training: Dataset | None = None


def attach(api: Api, extras: Extras) -> None:
    """Put the pages onto the server's app, below `/`."""
    training = extras.training
    desk = Desk(api, None if training is None else {photo.id: photo for photo in training.photos})

    @ui.page("/", title="carspotter")
    def index(request: Request, lang: str | None = None) -> None:
        words = Words(choose_language(lang, request.headers.get("accept-language")))
        _speak(words.language)
        _Page(Visit(desk, api.limits, words), extras).build()

    ui.run_with(api.app, title="carspotter", dark=None, reconnect_timeout=PATIENCE, show_welcome_message=False)


def _speak(language: Language) -> None:
    """This visitor's page in a language, with the words of its parts (tables, uploads, lost connections)."""
    client = ui.context.client
    client.page = copy(client.page)  # the page itself is everybody's
    client.page.language = "ru" if language == "ru" else "en-US"


class _Page:
    """One visitor's page."""

    def __init__(self, visit: Visit, extras: Extras) -> None:
        self._extras = extras
        self._visit = visit
        self._desk = visit.desk
        self._words = visit.words

    def build(self) -> None:
        words = self._words
        ui.add_css(STYLE)
        ui.colors(**PALETTE)
        ui.run_javascript(PASTE)
        with ui.header().classes("items-center q-py-sm"):
            ui.label("carspotter").classes("text-h6").props("role=heading aria-level=1")
            ui.space()
            self._languages()
        with ui.column().classes("sheet q-pa-sm"):
            self._choose_model()
            shown = self._tabs()
            with ui.tabs(on_change=self._seen).classes("w-full") as tabs:
                named = {name: ui.tab(name, label=words(name)) for name in shown}
            with ui.tab_panels(tabs, value=named[self._visit.tab]).classes("w-full"):
                for name, build in shown.items():
                    with ui.tab_panel(named[name]).classes("q-px-none"):
                        build()
            ui.label(words("private")).classes("text-caption")

    def _seen(self, event: events.ValueChangeEventArguments[Any]) -> None:
        self._visit.tab = event.value

    def _tabs(self) -> dict[str, Callable[[], None]]:
        """Name → what builds it."""
        shown: dict[str, Callable[[], None]] = {
            "photos": PhotosTab(self._visit).build,
            "listing": self._listing,
            "lot": LotTab(self._visit).build,
        }
        if self._extras.review is not None:
            shown["review"] = ReviewTab(self._extras.review, self._visit).build
        if self._extras.runs is not None:
            from carspotter.apps.web.runs_tab import RunsTab  # the run store is no part of [serve]

            shown["runs"] = RunsTab(self._extras.runs, self._visit).build
        return shown

    def _languages(self) -> None:
        with ui.row().classes("gap-2").props(f'role=navigation aria-label="{self._words("language")}"'):
            for code, name in LANGUAGES.items():
                link = ui.link(name, f"/?lang={code}").classes("text-white").props(f"lang={code}")
                if code == self._words.language:
                    link.props("aria-current=true").classes("text-bold")

    def _choose_model(self) -> None:
        def chosen(event: events.ValueChangeEventArguments[str]) -> None:
            self._visit.model = event.value
            told.set_text(self._told())

        if len(models := self._desk.models) > 1:
            ui.select(list(models), label=self._words("model"), value=self._visit.model, on_change=chosen).classes(
                "w-64"
            )
        told = ui.label(self._told()).classes("text-caption")

    def _told(self) -> str:
        known = self._desk.accuracy(self._visit.model)
        if known is None:
            return f"{self._visit.model}: {self._words('unmeasured')}"
        return f"{self._visit.model}: {self._words('accuracy', accuracy=known[0], photos=known[1])}"

    # ---- listing ----------------------------------------------------------------------------------------------------

    def _listing(self) -> None:
        photos: list[Upload] = []

        async def take(event: events.UploadEventArguments) -> None:
            if len(photos) >= self._visit.limits.photos:
                return
            photos.append(Upload(event.file.name, await event.file.read()))
            count.set_text(f"{self._words('photos')}: {len(photos)}")

        def clear() -> None:
            photos.clear()
            count.set_text("")
            shown.clear()

        async def check() -> None:
            if not (declared.value or "").strip():
                raise Said("no_declared")
            if not photos:
                raise Said("no_photos")
            shown.clear()
            found = await self._desk.check(self._visit.model, declared.value, photos)
            with shown:
                self._listed(found)

        declared = ui.input(self._words("declared"), placeholder=self._words("declared_hint")).classes("w-full")
        self._visit.uploader(self._words("drop"), take)
        count = ui.label()
        with ui.row():
            ui.button(self._words("check"), on_click=lambda: self._visit.guarded(check))
            ui.button(self._words("clear"), on_click=clear).props("flat")
        shown = ui.column().classes("w-full").props("aria-live=polite")

    def _listed(self, found: Listed) -> None:
        words = self._words
        colour = LISTING_COLOURS.get(found.verdict, USUAL)
        ui.label(words.listing(found.verdict)).classes(f"text-h6 text-{colour}")
        told = [(words("recognised"), found.recognised or "–"), (words("suspicion"), f"{found.suspicion:.0%}")]
        if found.probability is not None:
            told.append((words("probability"), f"{found.probability:.0%}"))
        for name, value in told:
            ui.label(f"{name}: {value}")
        for sentence in words.evidence(found):
            ui.label(sentence)
