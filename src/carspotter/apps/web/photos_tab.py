"""The tab of photos: what each shows, and on demand why, with training photos that are like it."""

from __future__ import annotations

from nicegui import events, ui

from carspotter.apps.web.desk import Like, Upload
from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.data.wording import brief
from carspotter.evaluation.page import data_url, text
from carspotter.records import Answer, Verdict

COLOURS = {Verdict.NAMED: "positive", Verdict.ONE_OF: "primary", Verdict.BAD_PHOTO: "grey-8"}
USUAL = "warning"


class PhotosTab:
    """One visitor's photos.

    Args:
        visit: of the visitor.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._desk = visit.desk
        self._words = visit.words

    def build(self) -> None:
        """Put it onto the page."""

        async def named(event: events.UploadEventArguments) -> None:
            photo = Upload(event.file.name, await event.file.read())
            with shown:
                card = ui.card().props("role=article aria-live=polite")
            await self._visit.guarded(lambda: self._fill(card, photo))

        self._visit.uploader(self._words("drop"), named)
        shown = ui.element("div").classes("answers").props("aria-live=polite")
        ui.button(self._words("clear"), on_click=shown.clear).props("flat")

    async def _fill(self, card: ui.card, photo: Upload) -> None:
        """One photo's answer, as it comes."""
        model = self._visit.model
        with card:
            waiting = ui.label(f"{brief(photo.name)}: {self._words('working')}")
        found = await self._desk.identify(model, photo)
        usable = found.verdict is not Verdict.BAD_PHOTO
        picture = await self._desk.picture(model, photo, "thumbnail") if usable else None
        waiting.delete()
        with card:
            if isinstance(picture, bytes):
                ui.html(f'<img alt="" src="{data_url(picture)}">', sanitize=False)
            self._say(found)
            ui.label(brief(photo.name)).classes("text-caption")
            if isinstance(picture, bytes):
                self._offer_why(model, photo)

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

    def _offer_why(self, model: str, photo: Upload) -> None:
        async def show() -> None:
            button.disable()
            try:
                await self._show_map(place, model, photo)
                if self._desk.shows_training:
                    await self._show_like(place, model, photo)
            except Exception:
                place.clear()
                button.enable()  # it may be asked again
                raise

        button = ui.button(self._words("why"), on_click=lambda: self._visit.guarded(show)).props("outline dense")
        place = ui.column().classes("w-full")

    async def _show_map(self, place: ui.column, model: str, photo: Upload) -> None:
        drawn = await self._desk.picture(model, photo, "why")
        with place:
            if isinstance(drawn, bytes):
                ui.html(f'<img alt="{self._words("why_alt")}" src="{data_url(drawn)}">', sanitize=False)
                ui.label(self._words("why_alt")).classes("text-caption")
            elif "linear" in drawn:
                ui.label(self._words("no_map"))
            else:
                ui.label(drawn).props(ENGLISH)

    async def _show_like(self, place: ui.column, model: str, photo: Upload) -> None:
        found = await self._desk.like(model, photo)
        with place:
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
