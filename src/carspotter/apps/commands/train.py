"""`train`: from labelled photos to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from carspotter.apps import options
from carspotter.workers import is_first

MaybeSource = Annotated[
    Path | None,
    typer.Argument(
        metavar="SOURCE",
        help="A contest folder, a folder or zip of class folders, or a table of names and labels.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="A packaged recipe (see `recipes ls`), or a path that ends in .toml.  [default: fast]",
        show_default=False,
    ),
]
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
        help="A model of the same source and split that labels --unlabelled, and whose probabilities are learned where "
        "the setting distil is above 0.",
        show_default=False,
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where there is one.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse sources with unreadable photos, --extra and --unlabelled too.")
]


Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="ID",
        help="Go on with an interrupted run, to the same weights; only where its photos and decisions lie may be "
        "said anew.",
        show_default=False,
    ),
]


EveryFold = Annotated[
    bool,
    typer.Option(
        "--every-fold",
        help="Train once per fold (split.folds) and join the networks into one model: every photo trains, and every "
        "photo has an answer by a network that never saw it. Started again, finished folds "
        "are not trained again, unless photos from outside train too.",
    ),
]

Join = Annotated[
    Literal["mean", "soup"] | None,
    typer.Option(
        "--join",
        help="With --every-fold: networks side by side, whose mean answers (the default), or one network with the "
        "mean of their weights, a little less right and as fast as one.",
        show_default=False,
    ),
]


Repeats = Annotated[
    int | None,
    typer.Option(
        "--repeats",
        min=1,
        help="With --every-fold: divide the photos so many times, each time by other seeds, and join the networks of "
        "all divisions, so that the mean of so many networks judges each photo.  [default: 1]",
        show_default=False,
    ),
]


def train(
    source: MaybeSource = None,
    *,
    resume: Resume = None,
    every_fold: EveryFold = False,
    repeats: Repeats = None,
    join: Join = None,
    recipe: RecipeName = None,
    settings: Settings = None,
    output: ModelFolder = None,
    decisions: options.Decisions = None,
    families: options.Families = None,
    extra: Extra = None,
    unlabelled: Unlabelled = None,
    teacher: Teacher = None,
    strict: Strict = False,
    device: Device = "auto",
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Train a classifier: a source goes in, a model folder comes out.

    Unreadable photos, those from outside too, are left out, named, and make the exit code 3. Validation photos are
    never augmented, and near copies of them never train. Every run is kept, see `runs`. One that was interrupted goes
    on by --resume.
    """
    from carspotter.apps.training import (
        exit_if_refused,
        fit,
        fit_folds,
        go_on,
        read_labelled,
        read_outside,
        say_joined,
        say_result,
    )
    from carspotter.recipe import load_recipe

    chosen = load_recipe(recipe or "fast", settings or ()) if recipe or settings or resume is None else None
    if join and not every_fold:
        raise typer.BadParameter("--join needs --every-fold, whose networks it joins")
    if repeats and not every_fold:
        raise typer.BadParameter("--repeats needs --every-fold, which it repeats")
    columns = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    if resume is not None:
        if extra or unlabelled or teacher:
            raise typer.BadParameter("--resume reads outside photos as the run did; leave them out")
        if every_fold:
            raise typer.BadParameter("--resume takes up one fold; then start --every-fold again, which finds it done")
        asked = options.asked(source, photos, decisions, families, **columns)
        run = go_on(resume, asked, chosen, out=output, strict=strict, device=device)
    elif source is None or chosen is None:
        raise typer.BadParameter("name a source, or a run by --resume", param_hint="SOURCE")
    else:
        from carspotter.training.job import Job

        dataset = read_labelled(source, photos, decisions, families, **columns)
        outside = read_outside(source, extra or (), unlabelled or (), teacher)
        job = Job(outside, device=device, join=join or "mean", repeats=repeats or 1)
        if every_fold:
            joined = fit_folds(dataset, chosen, out=output, job=job, strict=strict)
            say_joined(joined)
            exit_if_refused(joined.runs[-1])
            return
        run = fit(dataset, chosen, out=output, job=job, strict=strict)
    if not is_first():  # of several processes one prints
        return
    say_result(run)
    exit_if_refused(run)
