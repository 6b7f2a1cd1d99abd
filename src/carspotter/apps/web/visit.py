"""What the tabs of one visitor's page share: words, the model that is chosen, files that are held, errors in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import Client, ui

from carspotter.apps.serving.limits import Limits
from carspotter.apps.web.held import Upload
from carspotter.apps.web.service import PageService
from carspotter.apps.web.words import Said, Words
from carspotter.errors import CarspotterError

ENGLISH = "lang=en"
"""Of sentences that come from elsewhere (tables, runs, findings) and are there in English alone (WCAG 2.2, 3.1.2)."""
SHOWN_FAULTS = 5


class Visit:
    """One visitor, from a page's opening to its end.

    Args:
        client: of the page.
        service: that is asked.
        limits: of the server.
        words: of the visitor's language.

    Attributes:
        model: that is chosen.
        tab: that is seen.
    """

    def __init__(self, client: Client, service: PageService, limits: Limits, words: Words) -> None:
        self._client = client
        self.service = service
        self.limits = limits
        self.words = words
        self.model = service.models[0]
        self.tab = "photos"
        self._running: set[asyncio.Task[Any]] = set()
        service.held.come(client.id)
        client.on_delete(self._end)

    def _end(self) -> None:
        """The page is closed: nobody waits for what it asked, and what it held is let go."""
        self.service.held.go(self._client.id)
        for task in self._running:
            task.cancel()

    def keep(self, file: Upload, lost: Callable[[], None]) -> None:
        """Hold a file while the page is open; `lost` is called should it be let go to make room."""
        self.service.held.keep(self._client.id, file, lost)

    def drop(self, file: Upload) -> None:
        """It will not be asked about again."""
        self.service.held.drop(self._client.id, file)

    def button(self, name: str, work: Callable[[], Awaitable[None]]) -> ui.button:
        """A button that is dead until what it began is over."""

        async def run() -> None:
            try:
                await self.guarded(work)
            finally:
                made.enable()

        def pressed() -> Awaitable[None]:
            made.disable()
            return run()

        made = ui.button(name, on_click=pressed)
        return made

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Errors in words, shown for a while; what is our own fault goes to the log too."""
        try:
            with self._awaited():
                await work()
        except CarspotterError as fault:
            for said, language in self._sentences(fault):
                self.warn(said, language)
        except Exception:
            self.warn(self.words("fault"))
            raise

    async def attempt(
        self,
        place: ui.element,
        work: Callable[[], Awaitable[Callable[[], None]]],
        again: Callable[[], Awaitable[object]] | None = None,
    ) -> bool:
        """Work whose outcome fills a place; where it fails the place says why, and offers another try.

        Args:
            place: says meanwhile that there is something to wait for.
            work: gives what fills it.
            again: what another try is; the same as this one where it is left out.

        Returns:
            Whether there is an outcome.
        """
        again = again or (lambda: self.attempt(place, work))
        _fill(place, lambda: ui.label(self.words("working")))
        try:
            with self._awaited():
                fill: Callable[[], object] = await work()
        except CarspotterError as fault:
            self._offer(place, self._sentences(fault), again)
            return False
        except Exception:
            self._offer(place, [(self.words("fault"), self.words.language)], again)
            raise
        _fill(place, fill)
        return True

    def _offer(
        self, place: ui.element, sentences: list[tuple[str, str]], again: Callable[[], Awaitable[object]]
    ) -> None:
        """Say in a place what went wrong, and offer another try."""

        def fill() -> None:
            for said, language in sentences:
                ui.label(said).props(f"lang={language}")
            ui.button(self.words("again"), on_click=again).props("outline dense")

        _fill(place, fill)

    def warn(self, said: str, language: str = "") -> None:
        """Show a sentence for a while."""
        with self._client:
            ui.notify(said, type="negative", multi_line=True, attrs={"lang": language or self.words.language})

    def _sentences(self, fault: CarspotterError) -> list[tuple[str, str]]:
        """What went wrong, each sentence with its language."""
        told = [(problem, "en") for problem in str(fault).splitlines()[:SHOWN_FAULTS]]
        if isinstance(fault, Said):
            told[0] = (self.words(fault.key, **fault.values), self.words.language)
        return told

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        """What is given up once the page is closed."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in a coroutine
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)


def _fill(place: ui.element, fill: Callable[[], object]) -> None:
    if not place.is_deleted:  # it may have been cleared away meanwhile
        place.clear()
        with place:
            fill()
