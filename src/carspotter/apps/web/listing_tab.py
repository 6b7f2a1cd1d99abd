"""The tab of a listing: whether the photos of an ad show the model that it declares."""

from __future__ import annotations

from nicegui import ui

from carspotter.apps.web.held import Upload
from carspotter.apps.web.uploader import add_uploader
from carspotter.apps.web.visit import Visit
from carspotter.apps.web.words import Said
from carspotter.records import Listed, ListingVerdict

COLOURS = {ListingVerdict.MATCH: "positive", ListingVerdict.MISMATCH: "negative"}
USUAL = "warning"


class ListingTab:
    """One visitor's listing.

    Args:
        visit: of the visitor.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._words = visit.words
        self._photos: list[Upload] = []
        self._left_out = self._let_go = 0

    def build(self) -> None:
        """Put it onto the page."""
        words, limits = self._words, self._visit.limits
        self._declared = ui.input(words("declared"), placeholder=words("declared_hint")).classes("w-full")
        add_uploader(self._visit, words("drop"), self._take, files=limits.photos, most=limits.photo_bytes)
        self._count = ui.label().props("aria-live=polite")
        with ui.row():
            self._visit.button(words("check"), self._check)
            ui.button(words("clear"), on_click=self._clear).props("flat")
        self._shown = ui.column().classes("w-full").props("aria-live=polite")

    async def _take(self, photo: Upload) -> None:
        if len(self._photos) < self._visit.limits.photos:
            self._photos.append(photo)
            self._visit.keep(photo, lambda: self._lose(photo))
        else:
            self._left_out += 1
        self._tell()

    def _lose(self, photo: Upload) -> None:
        self._photos.remove(photo)
        self._let_go += 1
        self._tell()

    def _tell(self) -> None:
        words = self._words
        told = [f"{words('photos')}: {len(self._photos)}"]
        if self._left_out:
            told.append(words("too_many_here", count=self._left_out, most=self._visit.limits.photos))
        if self._let_go:
            told.append(words("some_let_go", count=self._let_go))
        self._count.set_text(". ".join(told))

    def _clear(self) -> None:
        for photo in self._photos:
            self._visit.drop(photo)
        self._photos.clear()
        self._left_out = self._let_go = 0
        self._count.set_text("")
        self._shown.clear()

    async def _check(self) -> None:
        if not (self._declared.value or "").strip():
            raise Said("no_declared")
        if not self._photos:
            raise Said("no_photos")
        self._shown.clear()
        found = await self._visit.service.check(self._visit.model, self._declared.value, list(self._photos))
        with self._shown:
            self._show(found)

    def _show(self, found: Listed) -> None:
        words = self._words
        ui.label(words.listing(found.verdict)).classes(f"text-h6 text-{COLOURS.get(found.verdict, USUAL)}")
        told = [(words("recognised"), found.recognised or "–"), (words("suspicion"), f"{found.suspicion:.0%}")]
        if found.probability is not None:
            told.append((words("probability"), f"{found.probability:.0%}"))
        for name, value in told:
            ui.label(f"{name}: {value}")
        for sentence in words.evidence(found):
            ui.label(sentence)
