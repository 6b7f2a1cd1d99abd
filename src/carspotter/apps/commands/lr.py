"""`lr`: which learning rate a stage bears."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.commands.train import Device, Settings
from carspotter.apps.console import note, notes, progress, say
from carspotter.errors import RecipeError

ENDINGS = (".png", ".svg", ".pdf")
RecipeName = Annotated[str, typer.Option(help="A packaged recipe (see `recipes ls`), or a path that ends in .toml.")]
StageNumber = Annotated[
    int | None, typer.Option(min=0, help="Stage to test, from 0.  [default: the first that trains]", show_default=False)
]
Picture = Annotated[
    Path | None, typer.Option("--output", "-o", help="Draw the curve: .png, .svg or .pdf.", show_default=False)
]


def lr(
    source: options.Source,
    *,
    recipe: RecipeName = "fast",
    settings: Settings = None,
    stage: StageNumber = None,
    output: Picture = None,
    device: Device = "auto",
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Find a learning rate: a hundred steps at ever higher rates, and where the loss falls best.

    The range test of Smith (2017); the suggestion is fastai's valley. Nothing is kept. Earlier stages are not trained
    first, so a later one is tested on the backbone as it comes.
    """
    from carspotter.data.source import read_source
    from carspotter.recipe import load_recipe
    from carspotter.training.lr_finder import draw_range_test, find_rate, suggestion

    if output is not None and output.suffix not in ENDINGS:
        raise RecipeError(f"-o {output}: a picture ends in {', '.join(ENDINGS)}; name it {output.with_suffix('.png')}")
    chosen = load_recipe(recipe, settings or ())
    dataset = read_source(
        source, photos=photos, id_column=id_column, label_column=label_column, group_column=group_column
    )
    notes(dataset.notes)
    with progress() as show:
        test = find_rate(dataset, chosen, stage=stage, device=device, progress=show)
    say(f"stage     {test.stage}, {test.name}: {len(test.rates)} steps up to {test.rates[-1]:.1e}")
    say(f"valley    {test.valley:.1e}, steepest fall {test.steepest:.1e}, lowest loss {test.lowest:.1e}")
    texts = suggestion(test, chosen.stage[test.stage])
    say(f"settings  {' '.join(f'--set {text}' for text in texts)}")
    if not test.is_clear:
        note(
            "the loss hardly fell, so this suggestion is little more than chance: look at the curve, or use more photos"
        )
    if output is not None:
        draw_range_test(test, output)
        note(f"curve in {output}")
