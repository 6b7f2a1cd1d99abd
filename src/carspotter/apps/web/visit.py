"""What the tabs of one visitor's page share: words, the model that is chosen, uploads, and errors in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import events, ui

from carspotter.apps.serving.limits import Limits
from carspotter.apps.web.desk import Desk
from carspotter.apps.web.words import Said, Words
from carspotter.errors import CarspotterError

ENGLISH = "lang=en"
"""Of sentences that come from elsewhere (tables, runs, findings) and are there in English alone (WCAG 2.2, 3.1.2)."""
SHOWN_FAULTS = 5


class Visit:
    """One visitor.

    Args:
        desk: that is asked.
        limits: of the server.
        words: of the visitor's language.

    Attributes:
        model: that is chosen.
        tab: that is seen.
    """

    def __init__(self, desk: Desk, limits: Limits, words: Words) -> None:
        self.desk = desk
        self.limits = limits
        self.words = words
        self.model = desk.models[0]
        self.tab = "photos"

    def uploader(
        self,
        label: str,
        take: Callable[[events.UploadEventArguments], Any],
        *,
        accept: str = "image/*",
        single: bool = False,
        most: int | None = None,
    ) -> None:
        """A place to drop files onto.

        Args:
            label: what it is for.
            take: is handed each file.
            accept: kinds of files.
            single: one file at a time.
            most: bytes of a file; those of a photo where it is left out.
        """
        made = ui.upload(
            label=label,
            multiple=not single,
            auto_upload=True,
            max_file_size=most or self.limits.photo_bytes,
            max_files=1 if single else self.limits.photos,
            on_upload=take,
            on_rejected=lambda _: ui.notify(self.words("too_large", name=label), type="negative"),
        )
        made.on("finish", made.reset)  # else it counts what it has sent already
        made.props(f'accept="{accept}" aria-label="{label}" flat bordered').classes("w-full")
        if accept == "image/*":
            made.classes("takes-photos")

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Errors in words; what is our own fault goes to the log."""
        try:
            await work()
        except Said as fault:
            ui.notify(self.words(fault.key, **fault.values), type="negative", multi_line=True)
        except CarspotterError as fault:
            for problem in str(fault).splitlines()[:SHOWN_FAULTS]:
                ui.notify(problem, type="negative", multi_line=True, attrs={"lang": "en"})
        except Exception:
            ui.notify(self.words("fault"), type="negative")
            raise
