"""`check`: every problem of a source before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, progress, say
from carspotter.errors import EXIT_SOME_REFUSED

Sheet = Annotated[
    Path | None,
    typer.Option(help="Draw random photos of each class, with their sizes, into this PNG.", show_default=False),
]


def check(
    source: options.Source,
    *,
    sheet: Sheet = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Report every problem of a source before anything is trained.

    Tables, archives and photos are all looked at; then come photos per class, sizes, near copies. Unreadable photos
    make the exit code 3, a source that cannot be used at all 2.
    """
    from carspotter.data.check import check as judge
    from carspotter.data.check import render
    from carspotter.data.contact_sheet import contact_sheet
    from carspotter.data.scan import scan
    from carspotter.data.source import read_source

    dataset = read_source(
        source, photos=photos, id_column=id_column, label_column=label_column, group_column=group_column
    )
    with progress() as show:
        scanned = scan(dataset, progress=show)
    for line in render(judge(scanned)).split("\n"):
        say(line)
    if sheet is not None:
        contact_sheet(scanned.dataset, sheet)
        note(f"photos of each class in {sheet}")
    if scanned.dataset.rejected:
        raise typer.Exit(EXIT_SOME_REFUSED)
