"""The tab of photos: what each shows, and on demand why, with training photos that are like it."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from carspotter.apps.web.held import Upload
from carspotter.apps.web.service import Like
from carspotter.apps.web.uploader import add_uploader
from carspotter.apps.web.visit import Visit
from carspotter.apps.web.words import Said
from carspotter.data.wording import brief
from carspotter.errors import Reason
from carspotter.evaluation.page import data_url, text
from carspotter.records import Answer, Rejected, Verdict

COLOURS = {Verdict.NAMED: "positive", Verdict.ONE_OF: "primary", Verdict.BAD_PHOTO: "grey-8"}
USUAL = "warning"
INSTALL = 'pip install "carspotter[train]"'


class PhotosTab:
    """One visitor's photos.

    Args:
        visit: of the visitor.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._cards: list[_Card] = []

    def build(self) -> None:
        """Put it onto the page."""
        visit = self._visit
        add_uploader(visit, visit.words("drop"), self._take, files=visit.limits.photos, most=visit.limits.photo_bytes)
        self._shown = ui.element("div").classes("answers").props("aria-live=polite")
        ui.button(visit.words("clear"), on_click=self._clear).props("flat")

    async def _take(self, photo: Upload) -> None:
        with self._shown:
            card = _Card(self._visit, photo)
        self._cards.append(card)
        await card.ask()

    def _clear(self) -> None:
        for card in self._cards:
            card.forget()
        self._cards.clear()
        self._shown.clear()


class _Card:
    """One photo. Its bytes are held until nothing more can be asked about it, or until they are let go to make room."""

    def __init__(self, visit: Visit, photo: Upload) -> None:
        self._visit = visit
        self._service = visit.service
        self._words = visit.words
        self._model = visit.model
        self._held: Upload | None = photo
        with ui.card().props("role=article aria-live=polite"):
            self._picture = ui.column().classes("w-full")
            self._said = ui.column().classes("w-full")
            ui.label(brief(photo.name)).classes("text-caption")
            self._why = ui.column().classes("w-full")
        visit.keep(photo, self._lose)

    async def ask(self) -> None:
        """The answer as it comes, then a picture."""
        if await self._visit.attempt(self._said, self._answer, self.ask) and self._held is not None:
            await self._visit.attempt(self._picture, self._draw)

    def forget(self) -> None:
        """Nothing more is asked."""
        if self._held is not None:
            self._visit.drop(self._held)
            self._held = None

    def _lose(self) -> None:
        self._held = None
        self._why.clear()
        with self._why:
            ui.label(self._words("let_go")).classes("text-caption")

    @property
    def _photo(self) -> Upload:
        if self._held is None:
            raise Said("let_go")
        return self._held

    async def _answer(self) -> Callable[[], None]:
        found = await self._service.identify(self._model, self._photo)
        if found.verdict is Verdict.BAD_PHOTO:
            self.forget()
        return lambda: self._say(found)

    async def _draw(self) -> Callable[[], None]:
        drawn = await self._service.picture(self._model, self._photo, "thumbnail")

        def show() -> None:
            if isinstance(drawn, Rejected):
                ui.label(self._words.reason(drawn.reason)).classes("text-caption")
                return
            ui.html(f'<img alt="" src="{data_url(drawn)}">', sanitize=False).classes("w-full")
            if self._held is not None:
                with self._why:
                    self._offer_why()

        return show

    def _offer_why(self) -> None:
        def ask() -> object:
            return self._visit.attempt(self._why, self._explain)

        ui.button(self._words("why"), on_click=ask).props("outline dense")

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

    async def _explain(self) -> Callable[[], None]:
        photo = self._photo
        drawn = await self._service.picture(self._model, photo, "why")
        like = await self._service.like(self._model, photo) if self._service.shows_training else None
        self.forget()

        def show() -> None:
            self._show_map(drawn)
            if like is not None:
                self._show_like(like)

        return show

    def _show_map(self, drawn: bytes | Rejected) -> None:
        words = self._words
        if isinstance(drawn, bytes):
            ui.html(f'<img alt="{words("why_alt")}" src="{data_url(drawn)}">', sanitize=False).classes("w-full")
            ui.label(words("why_alt")).classes("text-caption")
        elif drawn.reason is Reason.MISSING_EXTRA:  # the photo itself was read before
            ui.label(words("no_map", install=INSTALL))
        else:
            ui.label(words.reason(drawn.reason))

    def _show_like(self, found: tuple[Like, ...]) -> None:
        for one in found:
            if one.shown or one.absent or one.others:  # a class may have no photo that trained
                self._like(one)
        if not found:
            ui.label(self._words("no_like")).classes("text-caption")

    def _like(self, like: Like) -> None:
        words = self._words
        ui.label(words("like", label=like.label)).classes("text-caption text-bold")
        if like.shown:
            with ui.element("div").classes("like"):
                for name, distance, picture in like.shown:
                    said = text(words("like_alt", label=like.label, distance=distance))
                    img = f'<img alt="{said}" title="{said}" src="{data_url(picture)}">'
                    ui.html(f"{img}<small>{distance:.2f} · {text(brief(name))}</small>", sanitize=False)
        for key, number in (("like_absent", like.absent), ("like_others", like.others)):
            if number:
                ui.label(words(key, count=number)).classes("text-caption")
