"""`recipes`: the trainings that ship with the package, and every setting with its sentence."""

from __future__ import annotations

from typing import Annotated

import typer

from carspotter.apps.console import say, table

app = typer.Typer(help="Recipes: everything that decides a training.", no_args_is_help=True, rich_markup_mode=None)


@app.command("ls")
def list_recipes() -> None:
    """List the recipes that ship with carspotter."""
    from carspotter.recipe import load_recipe, packaged_recipes

    table(("recipe", "what it is for"), [(name, load_recipe(name).about) for name in packaged_recipes()])


@app.command("show")
def show_recipe(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A packaged recipe, or a path that ends in .toml.", show_default=False)
    ],
) -> None:
    """Print a recipe as TOML with every setting and its sentence: a start for one of your own."""
    from carspotter.apps.toml import toml_lines
    from carspotter.recipe import load_recipe

    for line in toml_lines(load_recipe(name)):
        say(line)
