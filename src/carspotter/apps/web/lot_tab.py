"""The tab of a lot: a table of ads and their photos, checked, sorted and to be taken away."""

from __future__ import annotations

from nicegui import ui

from carspotter.apps.lot_table import ADDED, GAP, MODEL_COLUMNS, PHOTO_COLUMNS, LotColumns
from carspotter.apps.web.held import Upload
from carspotter.apps.web.service import MAX_TABLE_BYTES, Ready, is_zip_name
from carspotter.apps.web.uploader import PHOTOS_OR_ZIP, TABLES, add_uploader
from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.apps.web.words import Said
from carspotter.data.table import Cell, Table
from carspotter.data.wording import brief

USUAL = {"model": MODEL_COLUMNS, "photos": PHOTO_COLUMNS, "price": ("price", "цена"), "year": ("year", "год")}
LABELS = {"model": "model_column", "photos": "photo_column", "price": "price_column", "year": "year_column"}
MAX_FILES = 1_000
"""Photos that are chosen at a time (assumption; a zip holds any number)."""
NEEDED = frozenset({"model", "photos"})


class LotTab:
    """One visitor's lot.

    Args:
        visit: of the visitor.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._words = visit.words
        self._table: Table | None = None
        self._columns: dict[str, ui.select] = {}
        self._sent: dict[str, Upload] = {}  # photos by name, and one zip
        self._let_go = 0

    def build(self) -> None:
        """Put it onto the page."""
        words, visit = self._words, self._visit
        add_uploader(visit, words("table"), self._take_table, kind=TABLES, files=1, most=MAX_TABLE_BYTES)
        self._choose = ui.row().classes("w-full items-center")
        add_uploader(
            visit, words("archive"), self._take, kind=PHOTOS_OR_ZIP, files=MAX_FILES, most=visit.limits.body_bytes
        )
        self._given = ui.label().props("aria-live=polite")
        with ui.row():
            visit.button(words("check_lot"), self._check)
            ui.button(words("clear"), on_click=self._clear).props("flat")
        self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{words("check_lot")}"')
        self._bar.set_visibility(False)
        self._state = ui.label().props("aria-live=polite")
        self._shown = ui.column().classes("w-full")

    async def _take_table(self, file: Upload) -> None:
        self._table = await self._visit.service.read_lot(file)
        self._choose.clear()
        with self._choose:
            ui.label(f"{brief(file.name)}, {self._words('ads', count=len(self._table.rows))}")
            self._columns = self._choose_columns(self._table.columns)

    async def _take(self, file: Upload) -> None:
        key = ".zip" if is_zip_name(file.name) else file.name
        if key in self._sent:
            self._visit.drop(self._sent[key])
        self._sent[key] = file
        self._visit.keep(file, lambda: self._lose(key))
        self._tell()

    def _lose(self, key: str) -> None:
        del self._sent[key]
        self._let_go += 1
        self._tell()

    def _tell(self) -> None:
        words = self._words
        photos = [file for file in self._sent.values() if not is_zip_name(file.name)]
        told = [
            words("sized", name=brief(file.name), megabytes=len(file.data) / 2**20)
            for file in self._sent.values()
            if is_zip_name(file.name)
        ]
        if photos:
            told.append(f"{words('photos')}: {len(photos)}")
        if self._let_go:
            told.append(words("some_let_go", count=self._let_go))
        self._given.set_text(". ".join(told))

    def _clear(self) -> None:
        self._forget()
        self._given.set_text("")
        self._state.set_text("")
        self._shown.clear()

    def _forget(self) -> None:
        for file in self._sent.values():
            self._visit.drop(file)
        self._sent.clear()
        self._let_go = 0

    def _choose_columns(self, columns: tuple[str, ...]) -> dict[str, ui.select]:
        found = {}
        for key, names in USUAL.items():
            first = next((column for column in columns if column.strip().casefold() in names), None)
            options = list(columns) if key in NEEDED else ["", *columns]
            value = first if first is not None else (None if key in NEEDED else "")
            found[key] = ui.select(options, label=self._words(LABELS[key]), value=value).classes("w-48")
        return found

    async def _check(self) -> None:
        model, photos, price, year = (
            self._columns[key].value or None if key in self._columns else None for key in USUAL
        )
        if self._table is None or not self._sent or not model or not photos:
            raise Said("need_both")
        self._shown.clear()
        self._bar.set_visibility(True)
        try:
            ready = await self._visit.service.check_lot(
                self._visit.model,
                self._table,
                list(self._sent.values()),
                LotColumns(model, photos, price, year),
                self._go_on,
            )
        finally:
            self._bar.set_visibility(False)
        self._forget()
        self._given.set_text(self._words("forgotten"))
        with self._shown:
            self._show(ready)

    def _go_on(self, done: int, total: int) -> None:
        self._bar.set_value(done / total)
        self._state.set_text(self._words("photos_done", done=done, total=total))

    def _show(self, ready: Ready) -> None:
        words = self._words
        given = ready.given
        ours = (*ADDED, *GAP)
        # What tells the ad apart, what was found, then the rest: on a phone three columns are seen at once.
        order = [0, *range(given, len(ready.columns)), *range(1, given)]
        columns = [
            {
                "name": str(at),
                "label": name if at < given else words.column(ours[at - given]),
                "field": str(at),
                "sortable": True,
                "align": "left",
            }
            for at, name in ((at, ready.columns[at]) for at in order)
        ]
        ui.button(
            words("download"), on_click=lambda: ui.download.content(ready.as_csv(), "checked.csv", "text/csv")
        ).props("outline")
        ui.table(columns=columns, rows=self._rows(ready), row_key="id", pagination=50).classes("w-full").props(
            "wrap-cells"
        )
        for sentence in ready.notes:
            ui.label(sentence).classes("text-caption").props(ENGLISH)

    def _rows(self, ready: Ready) -> list[dict[str, Cell]]:
        """The table with its verdicts and reasons in the reader's language; the file has them as documented."""
        verdict, reason = (ready.given + list(ADDED).index(name) for name in ("verdict", "reason"))
        rows: list[dict[str, Cell]] = []
        for number, (row, found) in enumerate(zip(ready.rows, ready.listed, strict=True)):
            cells = [_cell(one) for one in row]
            cells[verdict] = self._words.cell(found.verdict)
            cells[reason] = " ".join(f"{one}." for one in self._words.evidence(found)) or "–"
            rows.append({"id": number, **{str(at): one for at, one in enumerate(cells)}})
        return rows


def _cell(value: Cell) -> Cell:
    return round(value, 3) if isinstance(value, float) else brief(value if value is not None else "")
