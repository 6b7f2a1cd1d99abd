"""The tab of a lot: a table of ads and a zip of photos, checked, sorted and to be taken away."""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import events, ui

from carspotter.apps.lot_table import ADDED, GAP, MODEL_COLUMNS, PHOTO_COLUMNS, LotColumns
from carspotter.apps.web.desk import MAX_TABLE_BYTES, Ready, Upload
from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.apps.web.words import Said
from carspotter.data.table import Cell, Table
from carspotter.data.wording import brief

USUAL = {"model": MODEL_COLUMNS, "photos": PHOTO_COLUMNS, "price": ("price", "цена"), "year": ("year", "год")}
LABELS = {"model": "model_column", "photos": "photo_column", "price": "price_column", "year": "year_column"}
NEEDED = frozenset({"model", "photos"})


@dataclass(slots=True)
class _Held:
    """What the visitor gave so far."""

    table: Table | None = None
    archive: Upload | None = None
    columns: dict[str, ui.select] | None = None


class LotTab:
    """One visitor's lot.

    Args:
        visit: of the visitor.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._words = visit.words
        self._held = _Held()

    def build(self) -> None:
        """Put it onto the page."""
        words, visit = self._words, self._visit
        visit.uploader(words("table"), self._take_table, accept=".csv,.tsv,.xlsx", single=True, most=MAX_TABLE_BYTES)
        self._choose = ui.row().classes("w-full")
        visit.uploader(words("archive"), self._take_archive, accept=".zip", single=True, most=visit.limits.body_bytes)
        ui.button(words("check_lot"), on_click=lambda: visit.guarded(self._check))
        self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{words("check_lot")}"')
        self._bar.set_visibility(False)
        self._state = ui.label().props("aria-live=polite")
        self._shown = ui.column().classes("w-full")

    async def _take_table(self, event: events.UploadEventArguments) -> None:
        async def read() -> None:
            self._held.table = await self._visit.desk.read_lot(Upload(event.file.name, await event.file.read()))
            self._choose.clear()
            with self._choose:
                self._held.columns = self._choose_columns(self._held.table.columns)

        await self._visit.guarded(read)

    async def _take_archive(self, event: events.UploadEventArguments) -> None:
        self._held.archive = Upload(event.file.name, await event.file.read())

    def _choose_columns(self, columns: tuple[str, ...]) -> dict[str, ui.select]:
        found = {}
        for key, names in USUAL.items():
            first = next((column for column in columns if column.strip().casefold() in names), None)
            options = list(columns) if key in NEEDED else ["", *columns]
            value = first if first is not None else (None if key in NEEDED else "")
            found[key] = ui.select(options, label=self._words(LABELS[key]), value=value).classes("w-48")
        return found

    async def _check(self) -> None:
        held = self._held
        if held.table is None or held.archive is None or held.columns is None:
            raise Said("need_both")
        self._shown.clear()
        model, photos, price, year = (held.columns[key].value or None for key in USUAL)
        if not model or not photos:
            raise Said("need_both")
        self._bar.set_visibility(True)
        try:
            ready = await self._visit.desk.check_lot(
                self._visit.model, held.table, held.archive, LotColumns(model, photos, price, year), self._tell
            )
        finally:
            self._bar.set_visibility(False)
        with self._shown:
            self._show(ready)

    def _tell(self, done: int, total: int) -> None:
        self._bar.set_value(done / total)
        self._state.set_text(self._words("ads_done", done=done, total=total))

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
