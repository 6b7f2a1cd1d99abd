"""The pages: photos, a listing, a lot. What they ask is `desk.py`, what they say `texts.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from nicegui import events, ui

from carspotter.apps.lot_table import LotColumns
from carspotter.apps.serving.api import Api
from carspotter.apps.web.desk import MAX_TABLE_BYTES, Desk, Ready, Upload
from carspotter.apps.web.review import Review
from carspotter.apps.web.review_tab import ReviewTab
from carspotter.apps.web.texts import LANGUAGES, Words, choose_language
from carspotter.data.table import Cell
from carspotter.data.wording import brief
from carspotter.errors import CarspotterError, SourceError
from carspotter.evaluation.page import data_url, text
from carspotter.records import Answer, Listed, ListingVerdict, Verdict

PATIENCE = 30.0
"""Seconds that a page is remembered while its browser is away (assumption: a phone that changes cells)."""
COLOURS = {Verdict.NAMED: "positive", Verdict.ONE_OF: "primary", Verdict.BAD_PHOTO: "grey-8"}
LISTING_COLOURS = {ListingVerdict.MATCH: "positive", ListingVerdict.MISMATCH: "negative"}
USUAL = "warning"
PALETTE = {"primary": "#1c5d99", "positive": "#1b7f3b", "negative": "#b3261e", "warning": "#855800"}
"""Each has 4.5 to 1 or more against white (WCAG 2.2, 1.4.3); `STYLE` has their lighter kin for dark pages."""
STYLE = """
body{font-family:system-ui,sans-serif}
.answers{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1rem;width:100%}
.answers img{width:100%;border-radius:.4rem;display:block}
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
    """

    review: Review | None = None
    runs: str | None = None


def attach(api: Api, extras: Extras) -> None:
    """Put the pages onto the server's app, below `/`."""
    desk = Desk(api)

    @ui.page("/", title="carspotter")
    def index(request: Request, lang: str | None = None) -> None:
        words = Words(choose_language(lang, request.headers.get("accept-language")))
        _Page(desk, api, words, extras).build()

    ui.run_with(api.app, title="carspotter", dark=None, reconnect_timeout=PATIENCE, show_welcome_message=False)


class _Page:
    """One visitor's page."""

    def __init__(self, desk: Desk, api: Api, words: Words, extras: Extras) -> None:
        self._extras = extras
        self._desk = desk
        self._limits = api.limits
        self._words = words
        self._model = desk.models[0]

    def build(self) -> None:
        words = self._words
        ui.add_css(STYLE)
        ui.colors(**PALETTE)
        ui.run_javascript(f"document.documentElement.lang = '{words.language}';" + PASTE)
        with ui.header().classes("items-center q-py-sm"):
            ui.label("carspotter").classes("text-h6").props("role=heading aria-level=1")
            ui.space()
            self._languages()
        with ui.column().classes("sheet q-pa-sm"):
            self._choose_model()
            shown = self._tabs()
            with ui.tabs().classes("w-full") as tabs:
                named = {name: ui.tab(name, label=words(name)) for name in shown}
            with ui.tab_panels(tabs, value=named["photos"]).classes("w-full"):
                for name, build in shown.items():
                    with ui.tab_panel(named[name]).classes("q-px-none"):
                        build()
            ui.label(words("private")).classes("text-caption")

    def _tabs(self) -> dict[str, Callable[[], None]]:
        """Name → what builds it."""
        shown: dict[str, Callable[[], None]] = {"photos": self._photos, "listing": self._listing, "lot": self._lot}
        if self._extras.review is not None:
            shown["review"] = ReviewTab(self._extras.review, self._desk, self._words, self._guarded).build
        if self._extras.runs is not None:
            from carspotter.apps.web.runs_tab import RunsTab  # the run store is no part of [serve]

            shown["runs"] = RunsTab(self._extras.runs, self._words, self._guarded).build
        return shown

    def _languages(self) -> None:
        with ui.row().classes("gap-2").props(f'role=navigation aria-label="{self._words("language")}"'):
            for code, name in LANGUAGES.items():
                link = ui.link(name, f"/?lang={code}").classes("text-white").props(f"lang={code}")
                if code == self._words.language:
                    link.props("aria-current=true").classes("text-bold")

    def _choose_model(self) -> None:
        def chosen(event: events.ValueChangeEventArguments[str]) -> None:
            self._model = event.value
            told.set_text(self._told())

        if len(models := self._desk.models) > 1:
            ui.select(list(models), label=self._words("model"), value=self._model, on_change=chosen).classes("w-64")
        told = ui.label(self._told()).classes("text-caption")

    def _told(self) -> str:
        known = self._desk.accuracy(self._model)
        if known is None:
            return f"{self._model}: {self._words('unmeasured')}"
        return f"{self._model}: {self._words('accuracy', accuracy=known[0], photos=known[1])}"

    # ---- photos -----------------------------------------------------------------------------------------------------

    def _photos(self) -> None:
        async def named(event: events.UploadEventArguments) -> None:
            photo = Upload(event.file.name, await event.file.read())
            with shown:
                card = ui.card().props("role=article aria-live=polite")
            await self._guarded(lambda: self._fill(card, photo))

        self._uploader(self._words("drop"), named)
        shown = ui.element("div").classes("answers").props("aria-live=polite")
        ui.button(self._words("clear"), on_click=shown.clear).props("flat")

    async def _fill(self, card: ui.card, photo: Upload) -> None:
        """One photo's answer, as it comes."""
        with card:
            waiting = ui.label(f"{brief(photo.name)}: {self._words('working')}")
        found = await self._desk.identify(self._model, photo)
        usable = found.verdict is not Verdict.BAD_PHOTO
        picture = await self._desk.picture(self._model, photo, "thumbnail") if usable else None
        waiting.delete()
        with card:
            if isinstance(picture, bytes):
                ui.html(f'<img alt="" src="{data_url(picture)}">', sanitize=False)
            self._say(found)
            ui.label(brief(photo.name)).classes("text-caption")
            if isinstance(picture, bytes):
                self._why(photo)

    def _say(self, found: Answer) -> None:
        labels = [guess.label for guess in found.top[: max(1, found.claimed)]]
        said = self._words.verdict(found.verdict, labels)
        ui.label(said).classes(f"text-subtitle1 text-bold text-{COLOURS.get(found.verdict, USUAL)}")
        for guess in () if found.verdict is Verdict.NOT_A_CAR else found.top:
            with ui.row().classes("w-full items-center no-wrap gap-2"):
                ui.label(guess.label).classes("col ellipsis")
                ui.label(f"{guess.probability:.0%}")
            ui.linear_progress(guess.probability, show_value=False).props(f'aria-label="{text(guess.label)}"')
        if found.code is not None:
            ui.label(self._words.reason(found.code)).classes("text-caption")
        elif found.group:
            ui.label(self._words("family", group=found.group)).classes("text-caption")

    def _why(self, photo: Upload) -> None:
        async def show() -> None:
            button.disable()
            drawn = await self._desk.picture(self._model, photo, "why")
            with place:
                if isinstance(drawn, bytes):
                    ui.html(f'<img alt="{self._words("why_alt")}" src="{data_url(drawn)}">', sanitize=False)
                    ui.label(self._words("why_alt")).classes("text-caption")
                else:
                    ui.label(self._words("no_map") if "linear" in drawn else drawn)

        button = ui.button(self._words("why"), on_click=lambda: self._guarded(show)).props("outline dense")
        place = ui.column().classes("w-full")

    # ---- listing ----------------------------------------------------------------------------------------------------

    def _listing(self) -> None:
        photos: list[Upload] = []

        async def take(event: events.UploadEventArguments) -> None:
            if len(photos) >= self._limits.photos:
                return
            photos.append(Upload(event.file.name, await event.file.read()))
            count.set_text(f"{self._words('photos')}: {len(photos)}")

        def clear() -> None:
            photos.clear()
            count.set_text("")
            shown.clear()

        async def check() -> None:
            if not (declared.value or "").strip():
                raise SourceError(self._words("no_declared"))
            if not photos:
                raise SourceError(self._words("no_photos"))
            shown.clear()
            found = await self._desk.check(self._model, declared.value, photos)
            with shown:
                self._listed(found)

        declared = ui.input(self._words("declared"), placeholder=self._words("declared_hint")).classes("w-full")
        self._uploader(self._words("drop"), take)
        count = ui.label()
        with ui.row():
            ui.button(self._words("check"), on_click=lambda: self._guarded(check))
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
        seen = found.evidence
        if seen.photos:
            ui.label(words("shown", count=seen.photos, model=seen.likeliest, share=seen.share))
        for key, number in (("unlike", seen.unknown), ("no_car", seen.no_car), ("unusable", seen.unusable)):
            if number:
                ui.label(words(key, count=number))

    # ---- lot --------------------------------------------------------------------------------------------------------

    def _lot(self) -> None:
        words = self._words
        held: dict[str, Any] = {}

        async def take_table(event: events.UploadEventArguments) -> None:
            async def read() -> None:
                given = await self._desk.read_lot(Upload(event.file.name, await event.file.read()))
                held["table"] = given
                choose.clear()
                with choose:
                    held["chosen"] = self._choose_columns(given.columns)

            await self._guarded(read)

        async def take_archive(event: events.UploadEventArguments) -> None:
            held["archive"] = Upload(event.file.name, await event.file.read())

        async def check() -> None:
            if not {"table", "archive"} <= held.keys():
                raise SourceError(words("need_both"))
            shown.clear()
            model, photos, price, year = (
                held["chosen"][key].value or None for key in ("model", "photos", "price", "year")
            )
            if not model or not photos:
                raise SourceError(words("need_both"))
            columns = LotColumns(model, photos, price, year)
            bar.set_visibility(True)

            def told(done: int, total: int) -> None:
                bar.set_value(done / total)
                state.set_text(words("ads_done", done=done, total=total))

            try:
                ready = await self._desk.check_lot(self._model, held["table"], held["archive"], columns, told)
            finally:
                bar.set_visibility(False)
            with shown:
                self._ready(ready)

        self._uploader(words("table"), take_table, accept=".csv,.tsv,.xlsx", single=True, most=MAX_TABLE_BYTES)
        choose = ui.row().classes("w-full")
        self._uploader(words("archive"), take_archive, accept=".zip", single=True, most=self._limits.body_bytes)
        ui.button(words("check_lot"), on_click=lambda: self._guarded(check))
        bar = ui.linear_progress(0, show_value=False)
        bar.set_visibility(False)
        state = ui.label().props("aria-live=polite")
        shown = ui.column().classes("w-full")

    def _choose_columns(self, columns: tuple[str, ...]) -> dict[str, ui.select]:
        from carspotter.apps.lot_table import MODEL_COLUMNS, PHOTO_COLUMNS

        usual = {
            "model": MODEL_COLUMNS,
            "photos": PHOTO_COLUMNS,
            "price": ("price", "цена"),
            "year": ("year", "год"),
        }
        labels = {"model": "model_column", "photos": "photo_column", "price": "price_column", "year": "year_column"}
        found = {}
        for key, names in usual.items():
            first = next((column for column in columns if column.strip().casefold() in names), None)
            options = list(columns) if key in {"model", "photos"} else ["", *columns]
            value = first if first is not None else (None if key in {"model", "photos"} else "")
            found[key] = ui.select(options, label=self._words(labels[key]), value=value).classes("w-48")
        return found

    def _ready(self, ready: Ready) -> None:
        def cell(value: Cell) -> Cell:
            return round(value, 3) if isinstance(value, float) else brief(value if value is not None else "")

        columns = [
            {"name": str(at), "label": name, "field": str(at), "sortable": True, "align": "left"}
            for at, name in enumerate(ready.columns)
        ]
        rows = [{"id": n, **{str(at): cell(one) for at, one in enumerate(row)}} for n, row in enumerate(ready.rows)]
        ui.button(
            self._words("download"), on_click=lambda: ui.download.content(ready.as_csv(), "checked.csv", "text/csv")
        ).props("outline")
        ui.table(columns=columns, rows=rows, row_key="id", pagination=50).classes("w-full")
        for sentence in ready.notes:
            ui.label(sentence).classes("text-caption")

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _uploader(
        self,
        label: str,
        take: Callable[[events.UploadEventArguments], Any],
        *,
        accept: str = "image/*",
        single: bool = False,
        most: int | None = None,
    ) -> None:
        bound = most or self._limits.photo_bytes
        made = ui.upload(
            label=label,
            multiple=not single,
            auto_upload=True,
            max_file_size=bound,
            max_files=1 if single else self._limits.photos,
            on_upload=take,
            on_rejected=lambda _: ui.notify(self._words("too_large", name=label), type="negative"),
        )
        made.on("finish", made.reset)  # else it counts what it has sent already
        made.props(f'accept="{accept}" aria-label="{label}" flat bordered').classes("w-full")
        if accept == "image/*":
            made.classes("takes-photos")

    async def _guarded(self, work: Callable[[], Any]) -> None:
        """Errors in words; what is our own fault goes to the log."""
        try:
            await work()
        except CarspotterError as fault:
            for problem in str(fault).splitlines()[:5]:
                ui.notify(problem, type="negative", multi_line=True)
        except Exception:
            ui.notify(self._words("fault"), type="negative")
            raise
