"""The tab of a review: findings as a grid, decided by a click or a key."""

from __future__ import annotations

import asyncio

from nicegui import events, ui

from carspotter.apps.web.held import Upload
from carspotter.apps.web.review import Review, Suspect
from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.data.wording import brief
from carspotter.evaluation.page import data_url, text
from carspotter.records import Kind, Rejected, Verb

PAGE = 12
"""Findings shown at once: what fits a desk's screen twice over."""
ASK_KEYS = "return localStorage.getItem('carspotter-keys') !== 'off'"
KEEP_KEYS = "localStorage.setItem('carspotter-keys', '{}')"
"""Whether keys decide is remembered by the browser alone, so that whoever speaks to it, or leans on its keyboard, can
switch them off for good (WCAG 2.2, 2.1.4)."""
BROWSER_SECONDS = 30.0
"""In which a browser must have told what it remembers, else keys are off (assumption: a slow phone)."""
LOOK_AT = """
const card = getHtmlElement({id});
card.focus({{preventScroll: true}});
card.scrollIntoView({{block: 'nearest'}});
"""


class ReviewTab:
    """One visitor's way through the findings.

    Args:
        review: findings and decisions.
        visit: of the visitor.
    """

    def __init__(self, review: Review, visit: Visit) -> None:
        self._review = review
        self._visit = visit
        self._service = visit.service
        self._words = visit.words
        self._guarded = visit.guarded
        self._kind: Kind | None = None
        self._at = 0
        self._decided: list[Suspect] = []  # by this visitor, the latest last
        self._turn_of = asyncio.Lock()  # keys that come faster than the disk wait for their turn
        self._cards: list[ui.card] = []
        self._states: list[ui.label] = []

    def build(self) -> None:
        """Put it onto the page."""
        words = self._words
        kinds = list(dict.fromkeys(one.kind for one in self._review.suspects))
        with ui.row().classes("items-center"):
            names = {"": words("all"), **{kind.value: words.kind(kind) for kind in kinds}}
            self._kinds = ui.select(names, value="", label=words("kind"), on_change=self._choose).classes("w-48")
            self._count = ui.label().props("aria-live=polite")
            self._switch = ui.switch(words("keys_on"), on_change=self._keys_changed)
        self._help = ui.label(words("keys")).classes("text-caption")
        self._grid = ui.element("div").classes("answers")
        with ui.row():
            ui.button("‹", on_click=lambda: self._turn(-PAGE)).props(f'aria-label="{words("previous")}" outline')
            ui.button("›", on_click=lambda: self._turn(PAGE)).props(f'aria-label="{words("next")}" outline')
        self._keyboard = ui.keyboard(on_key=self._key, repeating=False, ignore=["input", "select", "textarea"])
        self._keyboard.active = False  # until the browser has told what it remembers
        ui.timer(0, self._ask_keys, once=True)
        self._show()

    async def _ask_keys(self) -> None:
        self._switch.set_value(bool(await ui.run_javascript(ASK_KEYS, timeout=BROWSER_SECONDS)))

    def _keys_changed(self, event: events.ValueChangeEventArguments[bool | None]) -> None:
        self._keyboard.active = bool(event.value)
        self._help.set_visibility(bool(event.value))
        ui.run_javascript(KEEP_KEYS.format("on" if event.value else "off"))

    @property
    def _all(self) -> list[Suspect]:
        return [one for one in self._review.suspects if self._kind in {None, one.kind}]

    @property
    def _first(self) -> int:
        """Of those on the page that is shown."""
        return self._at // PAGE * PAGE

    @property
    def _shown(self) -> list[Suspect]:
        return self._all[self._first : self._first + PAGE]

    def _choose(self, event: events.ValueChangeEventArguments[str]) -> None:
        self._kind = Kind(event.value) if event.value else None
        self._at = 0
        self._show()

    # ---- where the visitor is -------------------------------------------------------------------------------------

    def _turn(self, by: int) -> None:
        self._go(self._first + by)

    def _go(self, to: int) -> None:
        """On to a finding, its page turned up, its card in sight and with the focus."""
        if not 0 <= to < len(self._all):
            return
        before, self._at = self._first, to
        if self._first == before:
            self._mark()
        else:
            self._show()
        self._grid.client.run_javascript(LOOK_AT.format(id=self._cards[to - self._first].id))

    def _show(self) -> None:
        self._grid.clear()
        self._cards, self._states = [], []
        with self._grid:
            for one in self._shown:
                self._cards.append(self._card(one))
        self._mark()

    def _mark(self) -> None:
        for number, card in enumerate(self._cards, self._first):
            if number == self._at:
                card.classes("current").props("aria-current=true")
            else:
                card.classes(remove="current").props(remove="aria-current")
        decided = sum(self._review.decision(one) is not None for one in self._all)
        self._count.set_text(self._words("decided", done=decided, total=len(self._all)))

    # ---- cards ----------------------------------------------------------------------------------------------------

    def _card(self, one: Suspect) -> ui.card:
        words = self._words
        with ui.card().props("role=article tabindex=-1") as card:
            place = ui.row().classes("pictures w-full no-wrap")  # as high before they are there: what is in sight stays
            names = [one.id, one.suggestion] if "duplicate" in one.kind or one.kind is Kind.LEAK else [one.id]
            ui.timer(0, lambda: self._pictures(place, names), once=True)
            ui.label(f"{one.label}: {words.kind(one.kind)}").classes("text-bold")
            ui.label(one.why).classes("text-caption").props(ENGLISH)
            ui.label(brief(one.id)).classes("text-caption ellipsis")
            with ui.row().classes("gap-1"):
                ui.button(words("keep"), on_click=lambda: self._decide(one, Verb.KEEP)).props("dense outline")
                ui.button(words("drop_photo"), on_click=lambda: self._decide(one, Verb.DROP)).props("dense outline")
                if one.better in self._review.classes:
                    named = words("relabel", label=one.better)
                    ui.button(named, on_click=lambda: self._decide(one, Verb.RELABEL)).props("dense outline")
                ui.button(words("undo"), on_click=lambda: self._undo(one)).props("dense flat")
            self._states.append(ui.label(self._said(one)).classes("text-caption text-bold"))
        return card

    def _said(self, one: Suspect) -> str:
        made = self._review.decision(one)
        return "" if made is None else f"{self._words.verb(made.decision)} {made.label} · {made.who} · {made.when}"

    async def _pictures(self, place: ui.row, names: list[str]) -> None:
        for name in names:
            data = await self._review.bytes_of(name)
            drawn: bytes | Rejected = data
            if isinstance(data, bytes):
                drawn = await self._service.picture(self._service.models[0], Upload(name, data), "thumbnail")
            with place:
                if isinstance(drawn, bytes):
                    ui.html(f'<img alt="{text(name)}" src="{data_url(drawn)}">', sanitize=False).classes("col")
                else:
                    ui.label(f"{brief(name)}: {self._words.reason(drawn.reason)}")

    # ---- decisions ------------------------------------------------------------------------------------------------

    async def _decide(self, one: Suspect, verb: Verb) -> None:
        label = one.better if verb is Verb.RELABEL else ""
        if verb is Verb.RELABEL and label not in self._review.classes:
            return

        async def keep() -> None:
            await self._review.decide(one, verb, label)
            self._decided = [*(other for other in self._decided if other != one), one]
            self._now(one, and_on=1)

        await self._guarded(keep)

    async def _undo(self, one: Suspect) -> None:
        async def take_back() -> None:
            await self._review.undo(one)
            self._decided = [other for other in self._decided if other != one]
            self._now(one)

        await self._guarded(take_back)

    def _latest(self) -> Suspect:
        """What this visitor decided last and still stands, else where he is."""
        stands = [one for one in self._decided if self._review.decision(one) is not None]
        return stands[-1] if stands else self._all[self._at]

    def _now(self, one: Suspect, and_on: int = 0) -> None:
        """What is decided about a finding, on its card; and there, or on from there."""
        if one not in self._all:
            self._kinds.set_value("")  # it was decided when others were chosen
        at = self._all.index(one)
        if at in range(self._first, self._first + PAGE):
            self._states[at - self._first].set_text(self._said(one))
        self._go(min(at + and_on, len(self._all) - 1))

    async def _key(self, event: events.KeyEventArguments) -> None:
        modified = event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt
        # A tab that was seen once goes on listening behind the others.
        if self._visit.tab == "review" and event.action.keydown and not modified:
            async with self._turn_of:
                await self._pressed(event)

    async def _pressed(self, event: events.KeyEventArguments) -> None:
        verbs = {"k": Verb.KEEP, "d": Verb.DROP, "r": Verb.RELABEL}
        name = str(event.key.name)
        if name in verbs:
            await self._decide(self._all[self._at], verbs[name])
        elif name == "u":
            await self._undo(self._latest())
        elif event.key.arrow_right or name == "n":
            self._go(self._at + 1)
        elif event.key.arrow_left or name == "p":
            self._go(self._at - 1)
