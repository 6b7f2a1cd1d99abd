"""`lr`: which learning rate a stage bears."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.commands.train import Device, Settings
from carspotter.apps.console import note, progress, say

if TYPE_CHECKING:
    from carspotter.recipe import Recipe
    from carspotter.training.lr_finder import RangeTest

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

    The range test of Smith (2017); the suggestion is the middle of the fall, between a tenth and nine tenths of it. A
    curve that is flat gives none. Nothing is kept. Earlier stages are not trained first, so a later one is tested on
    the backbone as it comes.
    """
    from carspotter.apps.training import read_labelled
    from carspotter.recipe import load_recipe
    from carspotter.tracking.picture import check_picture
    from carspotter.training.lr_finder import find_rate
    from carspotter.training.lr_picture import draw_range_test

    if output is not None:
        check_picture(output)
    chosen = load_recipe(recipe, settings or ())
    columns = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    dataset = read_labelled(source, photos, **columns)
    with progress() as show:
        test = find_rate(dataset, chosen, stage=stage, device=device, progress=show)
    _say_result(test, chosen)
    if output is not None:
        draw_range_test(test, output)
        note(f"curve in {output}")


def _say_result(test: RangeTest, recipe: Recipe) -> None:
    from carspotter.training.lr_finder import suggestion

    say(f"stage     {test.stage}, {test.name}: {len(test.rates)} steps up to {test.rates[-1]:.1e}")
    fall = test.fall
    if fall is None:
        say(f"fall      none: the loss began at {test.start:.3f} and fell by {max(0.0, test.share):.1%} at most")
        note("so flat a curve suggests no rate: use more photos or larger batches, or look at it with -o")
        return
    say(f"fall      {test.share:.0%} of the loss, from {fall.begin:.1e} to {fall.end:.1e}")
    say(f"middle    {fall.middle:.1e}, steepest at {fall.steepest:.1e}")
    say(f"settings  {' '.join(f'--set {text}' for text in suggestion(test, recipe.stage[test.stage]))}")
