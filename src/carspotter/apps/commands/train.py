"""`train`: from labelled photos to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options

RecipeName = Annotated[str, typer.Option(help="A packaged recipe (see `recipes ls`), or a path that ends in .toml.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the recipe, as in stage.0.lr=3e-3; repeatable.",
        show_default=False,
    ),
]
ModelFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The model folder.  [default: models/RECIPE-RUN]", show_default=False),
]
Extra = Annotated[
    list[Path] | None,
    typer.Option(
        "--extra",
        metavar="SOURCE",
        help="Labelled outside photos that train too, never validate; near copies of held-out and test photos are "
        "left out. Repeatable; their weight is the setting outside_weight.",
        show_default=False,
    ),
]
Unlabelled = Annotated[
    list[Path] | None,
    typer.Option(
        "--unlabelled",
        metavar="SOURCE",
        help="Outside photos without labels; those of which --teacher is sure train under the label it gives. "
        "Settings: pseudo_bar, pseudo_weight.",
        show_default=False,
    ),
]
Teacher = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="A model of the same source and split that labels --unlabelled.",
        show_default=False,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a source with unreadable photos.")]


def train(
    source: options.Source,
    *,
    recipe: RecipeName = "fast",
    settings: Settings = None,
    output: ModelFolder = None,
    extra: Extra = None,
    unlabelled: Unlabelled = None,
    teacher: Teacher = None,
    strict: Strict = False,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Train a classifier: a source goes in, a model folder comes out.

    Unreadable photos are left out, named, and make the exit code 3. Validation photos are never augmented, and near
    copies of them never train. Every run is kept, see `runs`.
    """
    from carspotter.apps.training import exit_if_refused, fit, read_outside, say_result
    from carspotter.data.source import read_source
    from carspotter.recipe import load_recipe

    chosen = load_recipe(recipe, settings or ())
    dataset = read_source(
        source, photos=photos, id_column=id_column, label_column=label_column, group_column=group_column
    )
    outside = read_outside(source, extra or (), unlabelled or (), teacher)
    run = fit(dataset, chosen, out=output, outside=outside, strict=strict)
    say_result(run)
    exit_if_refused(run)
