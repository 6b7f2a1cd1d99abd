"""`pretrain`: a backbone that knows cars, made once."""

from __future__ import annotations

from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.commands.train import Device, MaybeSource, Resume, Settings, Strict
from carspotter.apps.console import note as remark
from carspotter.apps.console import say

NAME, RECIPE = "car-lite0", "car-net"

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        help=f"Name of the backbone; recipes use it as backbone = NAME.  [default: {NAME}]",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", help=f"A packaged recipe, or a path that ends in .toml.  [default: {RECIPE}]", show_default=False
    ),
]
Note = Annotated[
    str,
    typer.Option(
        "--note",
        help="For the card: where the photos come from, and what may be done with them.",
        show_default=False,
    ),
]


def pretrain(
    source: MaybeSource = None,
    *,
    resume: Resume = None,
    name: Name = None,
    recipe: RecipeName = None,
    note: Note = "",
    settings: Settings = None,
    strict: Strict = False,
    device: Device = "auto",
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Train on photos of many car models once, and keep the backbone for other trainings.

    The backbone goes to $CARSPOTTER_BACKBONES, else the user's data folder, with a card that says what it was trained
    on; the classifier it was part of goes to models, as by `train`. The recipe `cars` starts from it. Unreadable photos
    are left out, named, and make the exit code 3. --resume goes on with a training that was interrupted, or keeps the
    backbone of one whose end had no room for it.
    """
    from carspotter.apps.training import exit_if_refused, fit_backbone, go_on_backbone, read_labelled, say_result
    from carspotter.recipe import load_recipe
    from carspotter.training.job import Job
    from carspotter.training.kept import kept_folder

    chosen = load_recipe(recipe or RECIPE, settings or ()) if recipe or settings or resume is None else None
    columns = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    job = Job(resume=resume, device=device, note=note)
    if resume is not None:
        asked = options.asked(source, photos, **columns)
        run, card = go_on_backbone(resume, asked, chosen, name, job=job, strict=strict)
    elif source is None or chosen is None:
        raise typer.BadParameter("name a source, or a run by --resume", param_hint="SOURCE")
    else:
        run, card = fit_backbone(read_labelled(source, photos, **columns), chosen, name or NAME, job=job, strict=strict)
    say_result(run)
    say(f"backbone {kept_folder() / card.known_as}, {(run.seconds or 0) / 60:.1f} min")
    say(f"from     {card.origin}")
    remark(f"commercial use: {card.commercial_use}")
    exit_if_refused(run)
