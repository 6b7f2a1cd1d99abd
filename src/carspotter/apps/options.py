"""Options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A contest folder, a folder or zip of class folders, a table of names and labels, or plain photos.",
        show_default=False,
    ),
]
Photos = Annotated[
    Path | None, typer.Option("--photos", help="Folder or zip of the photos that a table names.", show_default=False)
]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of the table that names the photo; found by itself.", show_default=False)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column that names the class; found by itself.", show_default=False)
]
GroupColumn = Annotated[
    str | None, typer.Option(help="Column of what stays on one side of a split (one ad, one car).", show_default=False)
]
Decisions = Annotated[
    Path | None,
    typer.Option(
        "--decisions",
        metavar="FILE",
        help="A table of photos to relabel or to drop, with the columns id, kind, decision, label, who, when, why; see "
        "`audit`. The source stays as it is.",
        show_default=False,
    ),
]
Families = Annotated[
    Path | None,
    typer.Option(
        "--families",
        metavar="FILE",
        help="A table of what stands above a class, with the columns class and parent: where the model is unsure, an "
        "answer still names the family that it is sure of. Without it the names of the classes tell.",
        show_default=False,
    ),
]
Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model folder that `train` left, as in models/demo.", show_default=False),
]
Runtime = Annotated[
    Literal["onnxruntime", "openvino"],
    typer.Option(help="Who computes; openvino needs carspotter[openvino]."),
]
Tta = Annotated[
    int,
    typer.Option(
        "--tta", min=1, max=64, help="Views per photo, averaged: 1 the photo, 2 also its mirror, more: seeded views."
    ),
]


def asked(
    source: Path | None,
    photos: Path | None,
    decisions: Path | None = None,
    families: Path | None = None,
    /,
    **columns: str | None,
) -> dict[str, str]:
    """What the user names of a source, absolute where it is a place; the rest is as it was recorded."""
    places = {"source": source, "photos": photos, "decisions": decisions, "families": families}
    named = {key: str(place.absolute()) for key, place in places.items() if place is not None}
    return named | {key: column for key, column in columns.items() if column is not None}
