"""`sweep`: many short trainings in search of good settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from carspotter.apps import options
from carspotter.apps.commands.train import Settings, Strict
from carspotter.apps.console import note, progress, say
from carspotter.errors import EXIT_SOME_REFUSED, RecipeError

if TYPE_CHECKING:
    from carspotter.training.sweep import Sweep

SpaceName = Annotated[
    str, typer.Option("--space", metavar="seed|default|FILE", help="What is searched: packaged, or a .toml file.")
]
Trials = Annotated[
    int,
    typer.Option(
        min=1, max=100_000, help="Trials that the study shall have, earlier ones and those of other workers included."
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Begin no trial after so many minutes, above 0.  [default: no limit]", show_default=False),
]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Processes that train side by side; they share the cores.")]
By = Annotated[
    Literal["log_loss", "accuracy"],
    typer.Option(help="What is searched for on the held-out photos; accuracy is coarse where they are few."),
]
RecipeName = Annotated[str | None, typer.Option(help="Recipe to vary.  [default: the space's own]", show_default=False)]
StudyName = Annotated[
    str | None,
    typer.Option(
        "--study", help="Study to begin or continue.  [default: follows from space and photos]", show_default=False
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URI",
        help="Study database: sqlite:///PATH, or postgresql://…, where several sweeps may share a study.  "
        "[default: sweeps.db beside the runs]",
        show_default=False,
    ),
]
BestRecipe = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the best recipe to this .toml file.", show_default=False)
]


def sweep(
    source: options.Source,
    *,
    space: SpaceName = "default",
    trials: Trials = 50,
    minutes: Minutes = None,
    jobs: Jobs = 1,
    by: By = "log_loss",
    recipe: RecipeName = None,
    settings: Settings = None,
    study: StudyName = None,
    storage: Storage = None,
    output: BestRecipe = None,
    strict: Strict = False,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Search good settings: many trainings, hopeless ones given up early, every one kept as a run.

    The same command continues an interrupted search. What `--set` fixes is not searched. A frozen backbone's features
    are computed once for all trials that share them.
    """
    from carspotter.apps.training import read_labelled
    from carspotter.data.disk import check_writable
    from carspotter.training.space import load_space
    from carspotter.training.sweep import Plan
    from carspotter.training.sweep import sweep as search

    if minutes is not None and not minutes > 0:
        raise RecipeError(
            f"--minutes {minutes:g}: no trial would begin; give more than 0, or leave it out for no limit"
        )
    if output is not None and output.suffix != ".toml":
        raise RecipeError(f"-o {output}: a recipe's file ends in .toml; name it {output.with_suffix('.toml')}")
    if output is not None:
        check_writable(output, reads=[recipe, space])
    chosen = load_space(space, recipe=recipe, settings=settings or ())
    columns = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    dataset = read_labelled(source, photos, **columns)
    plan = Plan(trials, minutes=minutes, jobs=jobs, by=by, study=study, storage=storage)
    with progress() as show:
        found = search(dataset, chosen, plan, strict=strict, progress=show)
    _say_result(found)
    if output is not None:
        _write_recipe(found, output)
    if found.left_out:
        note(f"{found.left_out} photos were left out, see above")
        raise typer.Exit(EXIT_SOME_REFUSED)


def _say_result(found: Sweep) -> None:
    import shlex

    best = found.best
    facts = best.facts
    counts = ", ".join(f"{found.count(state)} {state}" for state in ("finished", "pruned", "failed"))
    say(f"study    {found.study}: {counts}")
    if found.session:
        say(
            f"time     {found.seconds / 60:.1f} min for {len(found.session)} trials, {found.trial_seconds:.1f} s each "
            f"(median); {found.stored} read stored features only"
        )
    say(f"best     trial {best.number}, run {facts['run'][:8]}: {_figures(found)}")
    say(f"settings --recipe {found.base} {' '.join(f'--set {shlex.quote(text)}' for text in found.settings)}")
    note(_caution(found))


def _figures(found: Sweep) -> str:
    facts = found.best.facts
    interval = f"[{facts['accuracy_low']:.3f}, {facts['accuracy_high']:.3f}]"
    return f"log loss {facts['log_loss']:.4f}, accuracy {facts['accuracy']:.3f} {interval} on {facts['photos']} photos"


def _caution(found: Sweep) -> str:
    """What a best of many is worth."""
    return (
        f"the best of {found.count('finished')} on the same {found.best.facts['photos']} photos is partly the "
        f"luckiest: the accuracy of {found.alike} others lies within its interval; expect less on new photos, and "
        "train it with other seeds (--set seed=…) before you believe it"
    )


def _write_recipe(found: Sweep, output: Path) -> None:
    from carspotter.apps.toml import toml_lines
    from carspotter.data.disk import whole_file

    about = f"Best of {found.count('finished')} finished trials of study {found.study}: {_figures(found)}, optimistic."
    recipe = found.recipe.model_copy(update={"name": output.stem[:80], "about": about})
    with whole_file(output) as part:
        part.write_text("\n".join([*toml_lines(recipe), ""]), encoding="utf-8")
    say(f"recipe   {output}: carspotter train SOURCE --recipe {output}")
