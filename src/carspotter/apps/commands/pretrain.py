"""`pretrain`: a backbone that knows cars, made once."""

from __future__ import annotations

from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.commands.train import Settings

Name = Annotated[str, typer.Option("--name", help="Name of the backbone; recipes use it as backbone = NAME.")]
Recipe = Annotated[str, typer.Option("--recipe", help="A packaged recipe, or a path that ends in .toml.")]
Note = Annotated[
    str,
    typer.Option(
        "--note",
        help="For the card: where the photos come from, and what may be done with them.",
        show_default=False,
    ),
]


def pretrain(
    source: options.Source,
    *,
    name: Name = "car-lite0",
    recipe: Recipe = "car-net",
    note: Note = "",
    settings: Settings = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
) -> None:
    """Train on photos of many car models once, and keep the backbone for other trainings.

    The backbone goes to $CARSPOTTER_BACKBONES, else the user's data folder, with a card that says what it was trained
    on. The recipe `cars` starts from it.
    """
    from carspotter.apps.console import note as remark
    from carspotter.apps.console import notes, progress, say
    from carspotter.data.source import read_source
    from carspotter.recipe import load_recipe
    from carspotter.training.kept import kept_folder
    from carspotter.training.pretrain import pretrain as make

    chosen = load_recipe(recipe, settings or ())
    dataset = read_source(source, photos=photos, id_column=id_column, label_column=label_column)
    notes(dataset.notes)
    with progress() as show:
        run, card = make(dataset, chosen, name, note=note, progress=show)
    if run.evaluation is not None:
        say(f"accuracy {run.evaluation.accuracy} that did not train it (95 % interval)")
    say(f"backbone {kept_folder() / name}, {(run.seconds or 0) / 60:.1f} min")
    say(f"from     {card.origin}")
    remark(f"commercial use: {card.commercial_use}")
