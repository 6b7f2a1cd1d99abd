"""`mine`: what a pool of photos is good for, and whether training with it helped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.evaluation.judging import Judged
    from carspotter.training.mine import Mined, Pool, Prospect

COLUMNS = ("id", "use", "label", "probability", "worth", "why")
SHOWN = 5
"""Classes and pairs that are printed."""
PoolSource = Annotated[
    Path,
    typer.Option(
        "--pool",
        metavar="SOURCE",
        help="Photos to look through. Labelled ones train under their labels, others where the model is sure.",
        show_default=False,
    ),
]
Listed = Annotated[
    Path, typer.Option("--table", metavar="FILE", help="What each photo is good for: .csv, .jsonl or .parquet.")
]
NewModel = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="MODEL", help="Folder of the new model.", show_default=False),
]
OnlyList = Annotated[bool, typer.Option("--only-list", help="Train nothing.")]
Bar = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=1,
        help="In a pool without labels: least probability at which the model's word is a label.  "
        "[default: the recipe's]",
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(min=0.01, max=100, help="Weight of a photo of the pool.  [default: the recipe's]", show_default=False),
]


def mine(
    model: options.Model,
    source: options.Source,
    *,
    pool: PoolSource,
    output: NewModel = None,
    listed: Listed = Path("mined.csv"),
    only_list: OnlyList = False,
    bar: Bar = None,
    weight: Weight = None,
    decisions: options.Decisions = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Find out where a model is weak, which photos of a pool would help, and whether they do.

    The model is trained again as it was, with what of the pool is sure, and both are judged on the photos that the
    model held out: helped, did no harm, harmed, or cannot tell. Photos that a person should label come first in the
    table. Near copies of held-out photos and of a contest's test photos never train.
    """
    from carspotter.apps.training import read_labelled
    from carspotter.data.disk import check_writable
    from carspotter.data.source import tables_of
    from carspotter.data.table import check_ending, write_table
    from carspotter.training.look import look
    from carspotter.training.mine import check_place, prospect, retrain

    check_ending(listed)
    check_writable(listed, reads=(*tables_of(source, pool), decisions))
    if output is not None:
        check_place(output, model)
    columns = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    dataset = read_labelled(source, photos, decisions, **columns)
    asked = _pool(source, pool, bar, weight)
    with progress() as show:
        found = prospect(look(dataset, strict=False, progress=show), model, asked, runtime=runtime, progress=show)
    write_table(listed, COLUMNS, [(p.id, p.use, p.label, p.probability, p.worth, p.why) for p in found.picks])
    _say_weak(found.before)
    _say_pool(found, listed)
    if only_list or not found.photos.outside.photos:
        say("nothing was trained" + ("" if only_list else ": no photo of the pool may train"))
    else:
        with progress() as show:
            _say_verdict(retrain(found, asked, out=output, progress=show))
    if any(pick.use == "bad photo" for pick in found.picks):
        note("some photos of the pool cannot be used; the table says why")
        raise typer.Exit(EXIT_SOME_REFUSED)


def _pool(source: Path, pool: Path, bar: float | None, weight: float | None) -> Pool:
    """What is looked through.

    Raises:
        BadParameter: a bar, and labels that need none.
    """
    from carspotter.data.source import find_contest, read_contest, read_source
    from carspotter.training.mine import Pool

    found = read_source(pool)
    if bar is not None and found.classes:
        raise typer.BadParameter(f"--bar is for photos without labels, and {pool} has labels; leave it out")
    notes(found.notes)
    contest = find_contest(source)
    # Only what decides: a run's recipe is compared with others'.
    settings = {"pseudo_bar": bar, "outside_weight" if found.classes else "pseudo_weight": weight}
    unseen = None if contest is None else read_contest(contest).test
    return Pool(found, unseen, {key: value for key, value in settings.items() if value is not None})


def _say_weak(before: Judged) -> None:
    judged = [(one.recall, one) for one in before.evaluation.per_class if one.recall is not None]
    classes = sorted(judged, key=lambda row: row[0])[:SHOWN]
    say(f"weak classes of the model, on the {len(before.ids)} photos that it held out:")
    table(("class", "right", "of"), [(one.label, f"{recall:.2f}", one.photos) for recall, one in classes])
    say("pairs that it confuses:")
    pairs = before.confusions[:SHOWN]
    table(("is", "taken for", "photos", "of"), [(p.truth, p.answered, len(p.photos), p.of) for p in pairs])


def _say_pool(found: Prospect, listed: Path) -> None:
    from collections import Counter

    uses = Counter(pick.use for pick in found.picks)
    say(f"{len(found.picks)} photos of the pool: {', '.join(f'{count} {use}' for use, count in uses.items())}")
    for sentence in found.photos.outside.sentences:
        say(f"outside  {sentence}")
    say(f"what each is good for is in {listed}; those marked ask should be labelled by a person, the first ones first")


def _say_verdict(found: Mined) -> None:
    loss = found.log_loss
    say(f"verdict  {found.effect}: {found.paired.sentence('the old model', 'the new one')}")
    say(f"log loss {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}], below 0 is better")
    say(f"model    {found.run.bundle} (run {found.run.id[:8]}); one seed: `runs compare` tells more of several")
