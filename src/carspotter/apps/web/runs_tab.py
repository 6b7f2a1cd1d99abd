"""The tab of runs: tables of the best ones, and the curves of those that are chosen."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from pathlib import Path

from nicegui import ui

from carspotter.apps.web.visit import ENGLISH, Visit
from carspotter.errors import CarspotterError
from carspotter.records import Run
from carspotter.tracking.curves import MAX_RUNS, draw_curves
from carspotter.tracking.leaderboard import COLUMNS, Leaderboard, leaderboards
from carspotter.tracking.runs import open_store


class RunsTab:
    """The runs of a store, read when they are asked for.

    Args:
        uri: of the store.
        visit: of the visitor.
    """

    def __init__(self, uri: str, visit: Visit) -> None:
        self._uri = uri
        self._words = visit.words
        self._visit = visit

    def build(self) -> None:
        """Put it onto the page."""
        self._visit.button(self._words("refresh"), self._fill).props("outline")
        self._place = ui.column().classes("w-full").props("aria-live=polite")

    async def _fill(self) -> None:
        self._place.clear()
        with self._place:
            waiting = ui.label(self._words("working"))
        try:
            runs, boards, remarks = await asyncio.to_thread(_read, self._uri)
        except CarspotterError as fault:
            waiting.props(ENGLISH).set_text(str(fault))
            return
        waiting.delete()
        with self._place:
            for board in boards:
                self._board(board, runs)
            for sentence in remarks:
                ui.label(sentence).classes("text-caption").props(ENGLISH)

    def _board(self, board: Leaderboard, runs: dict[str, Run]) -> None:
        ui.label(board.title).classes("text-subtitle1 text-bold").props(ENGLISH)
        columns = [
            {"name": str(at), "label": self._words.column(name), "field": str(at), "align": "left", "sortable": True}
            for at, name in enumerate(COLUMNS)
        ]
        rows = [
            {"id": row[0], **{str(at): cell for at, cell in enumerate((*row[:-1], self._words.standing(row[-1])))}}
            for row in board.rows
        ]
        shown = ui.table(columns=columns, rows=rows, row_key="id", selection="multiple", pagination=10).classes(
            "w-full"
        )
        picture = ui.column().classes("w-full")

        async def curves() -> None:
            chosen = [run for row in shown.selected for key, run in runs.items() if key.startswith(row["id"])]
            drawn = await asyncio.to_thread(_draw, chosen[:MAX_RUNS])
            picture.clear()
            with picture:
                url = f"data:image/png;base64,{base64.b64encode(drawn).decode()}"
                ui.html(f'<img alt="{self._words("curves")}" src="{url}">', sanitize=False)

        self._visit.button(self._words("curves"), curves).props("flat")
        for sentence in board.remarks:
            ui.label(sentence).classes("text-caption").props(ENGLISH)


def _read(uri: str) -> tuple[dict[str, Run], tuple[Leaderboard, ...], tuple[str, ...]]:
    store = open_store(uri)
    runs, lost = store.survey()
    answers, damaged = store.kept_answers(runs)
    boards, left_out = leaderboards(runs, answers)
    return {run.id: run for run in runs}, boards, (*left_out, *damaged, *lost)


def _draw(runs: list[Run]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        path = Path(place) / "curves.png"
        draw_curves(runs, path)
        return path.read_bytes()
