"""The page as a whole: its head and its tabs. It asks `service.py`, and speaks by `words.py`."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from nicegui import events, ui

from carspotter.apps.serving.api import Api
from carspotter.apps.web.listing_tab import ListingTab
from carspotter.apps.web.lot_tab import LotTab
from carspotter.apps.web.photos_tab import PhotosTab
from carspotter.apps.web.review import Review
from carspotter.apps.web.review_tab import ReviewTab
from carspotter.apps.web.service import PageService
from carspotter.apps.web.texts import LANGUAGES, Language
from carspotter.apps.web.visit import Visit
from carspotter.apps.web.words import Words, choose_language
from carspotter.records import Dataset

PATIENCE = 30.0
"""Seconds that a page is remembered while its browser is away (assumption: a phone that changes cells)."""
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
.q-uploader__input,.q-uploader__list:empty,.takes-photos .q-uploader__list{display:none}
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
    service = PageService(api, None if training is None else {photo.id: photo for photo in training.photos})

    @ui.page("/", title="carspotter")
    def index(request: Request, lang: str | None = None) -> None:
        words = Words(choose_language(lang, request.headers.get("accept-language")))
        _speak(words.language)
        _Page(Visit(ui.context.client, service, api.limits, words), extras).build()

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
        self._service = visit.service
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
            "listing": ListingTab(self._visit).build,
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

        if len(models := self._service.models) > 1:
            ui.select(list(models), label=self._words("model"), value=self._visit.model, on_change=chosen).classes(
                "w-64"
            )
        told = ui.label(self._told()).classes("text-caption")

    def _told(self) -> str:
        known = self._service.accuracy(self._visit.model)
        if known is None:
            return f"{self._visit.model}: {self._words('unmeasured')}"
        return f"{self._visit.model}: {self._words('accuracy', accuracy=known[0], photos=known[1])}"
