"""The tab of a review: findings as a grid, decided by a click or a key."""

from __future__ import annotations

import asyncio

from nicegui import events, ui

from carspotter.apps.web.desk import Upload
from carspotter.apps.web.review import Review, Suspect
from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.data.wording import brief
from carspotter.evaluation.page import data_url, text
from carspotter.records import Kind, Verb

PAGE = 12
"""Findings shown at once: what fits a desk's screen twice over."""
ASK_KEYS = "return localStorage.getItem('carspotter-keys') !== 'off'"
KEEP_KEYS = "localStorage.setItem('carspotter-keys', '{}')"
"""Whether keys decide is remembered by the browser alone, so that whoever speaks to it, or leans on its keyboard, can
switch them off for good (WCAG 2.2, 2.1.4)."""


class ReviewTab:
    """One visitor's way through the findings.

    Args:
        review: findings and decisions.
        visit: of the visitor.
    """

    def __init__(self, review: Review, visit: Visit) -> None:
        self._review = review
        self._desk = visit.desk
        self._words = visit.words
        self._guarded = visit.guarded
        self._kind: Kind | None = None
        self._first = 0
        self._at = 0
        self._turn_of = asyncio.Lock()  # keys that come faster than the disk wait for their turn
        self._cards: list[ui.card] = []
        self._states: list[ui.label] = []

    def build(self) -> None:
        """Put it onto the page."""
        words = self._words
        kinds = list(dict.fromkeys(one.kind for one in self._review.suspects))
        with ui.row().classes("items-center"):
            names = {"": words("all"), **{kind.value: words.kind(kind) for kind in kinds}}
            ui.select(names, value="", label=words("kind"), on_change=self._choose).classes("w-48")
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
        self._switch.set_value(bool(await ui.run_javascript(ASK_KEYS)))

    def _keys_changed(self, event: events.ValueChangeEventArguments[bool | None]) -> None:
        self._keyboard.active = bool(event.value)
        self._help.set_visibility(bool(event.value))
        ui.run_javascript(KEEP_KEYS.format("on" if event.value else "off"))

    @property
    def _all(self) -> list[Suspect]:
        return [one for one in self._review.suspects if self._kind in {None, one.kind}]

    @property
    def _shown(self) -> list[Suspect]:
        return self._all[self._first : self._first + PAGE]

    def _choose(self, event: events.ValueChangeEventArguments[str]) -> None:
        self._kind = Kind(event.value) if event.value else None
        self._first = self._at = 0
        self._show()

    def _turn(self, by: int) -> None:
        if 0 <= self._first + by < len(self._all):
            self._first, self._at = self._first + by, 0
            self._show()

    def _show(self) -> None:
        self._grid.clear()
        self._cards, self._states = [], []
        with self._grid:
            for at, one in enumerate(self._shown):
                self._cards.append(self._card(at, one))
        self._mark()

    def _card(self, at: int, one: Suspect) -> ui.card:
        words = self._words
        with ui.card().props("role=article") as card:
            place = ui.row().classes("w-full no-wrap")
            names = [one.id, one.suggestion] if "duplicate" in one.kind or one.kind is Kind.LEAK else [one.id]
            ui.timer(0, lambda: self._pictures(place, names), once=True)
            ui.label(f"{one.label}: {words.kind(one.kind)}").classes("text-bold")
            ui.label(one.why).classes("text-caption").props(ENGLISH)
            ui.label(brief(one.id)).classes("text-caption ellipsis")
            with ui.row().classes("gap-1"):
                ui.button(words("keep"), on_click=lambda: self._decide(at, Verb.KEEP)).props("dense outline")
                ui.button(words("drop_photo"), on_click=lambda: self._decide(at, Verb.DROP)).props("dense outline")
                if one.better in self._review.classes:
                    named = words("relabel", label=one.better)
                    ui.button(named, on_click=lambda: self._decide(at, Verb.RELABEL)).props("dense outline")
                ui.button(words("undo"), on_click=lambda: self._undo(at)).props("dense flat")
            self._states.append(ui.label(self._said(one)).classes("text-caption text-bold"))
        return card

    def _said(self, one: Suspect) -> str:
        made = self._review.decision(one)
        return "" if made is None else f"{self._words.verb(made.decision)} {made.label} · {made.who} · {made.when}"

    async def _pictures(self, place: ui.row, names: list[str]) -> None:
        for name in names:
            data = await self._review.bytes_of(name)
            drawn: bytes | str = data
            if isinstance(data, bytes):
                drawn = await self._desk.picture(self._desk.models[0], Upload(name, data), "thumbnail")
            with place:
                if isinstance(drawn, bytes):
                    ui.html(f'<img alt="{text(name)}" src="{data_url(drawn)}">', sanitize=False).classes("col")
                else:
                    ui.label(drawn).props(ENGLISH)

    async def _decide(self, at: int, verb: Verb) -> None:
        if at >= len(self._shown):
            return
        one = self._shown[at]
        label = one.better if verb is Verb.RELABEL else ""
        if verb is Verb.RELABEL and label not in self._review.classes:
            return

        async def keep() -> None:
            await self._review.decide(one, verb, label)
            self._again(at)

        await self._guarded(keep)

    async def _undo(self, at: int) -> None:
        if at >= len(self._shown):
            return
        one = self._shown[at]

        async def take_back() -> None:
            await self._review.undo(one)
            self._again(at)

        await self._guarded(take_back)

    def _again(self, at: int) -> None:
        """The card as it is now, and on to the next one."""
        said = self._said(self._shown[at])
        self._states[at].set_text(said)
        self._at = min(at + 1, len(self._shown) - 1) if said else at
        self._mark()

    def _mark(self) -> None:
        for number, card in enumerate(self._cards):
            card.classes(add="current" if number == self._at else "", remove="" if number == self._at else "current")
        decided = sum(self._review.decision(one) is not None for one in self._all)
        self._count.set_text(self._words("decided", done=decided, total=len(self._all)))

    async def _key(self, event: events.KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt:
            return
        async with self._turn_of:
            await self._pressed(event)

    async def _pressed(self, event: events.KeyEventArguments) -> None:
        verbs = {"k": Verb.KEEP, "d": Verb.DROP, "r": Verb.RELABEL}
        name = str(event.key.name)
        if name in verbs:
            await self._decide(self._at, verbs[name])
        elif name == "u":
            await self._undo(self._at)
        elif event.key.arrow_right or name == "n":
            self._move(1)
        elif event.key.arrow_left or name == "p":
            self._move(-1)

    def _move(self, by: int) -> None:
        to = self._at + by
        if 0 <= to < len(self._shown):
            self._at = to
            self._mark()
        elif to < 0:
            self._turn(-PAGE)
        else:
            self._turn(PAGE)
