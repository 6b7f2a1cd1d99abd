"""`demo`: the whole story on photos that the package draws itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carspotter.apps.console import say

if TYPE_CHECKING:
    from carspotter.recipe import Recipe
    from carspotter.records import Figure

LOT, MODEL = Path("demo"), Path("models/demo")
PHOTOS = 400, 100
"""To learn from and to answer; assumption: enough for a figure with a telling interval, few enough for a short demo."""


def demo() -> None:
    """Play the whole story on drawn cars: draw, train, answer, score.

    Leaves the drawn contest, a submission and the curves in demo/, and the model in models/demo.
    """
    from carspotter.recipe import load_recipe

    play(LOT, MODEL, load_recipe("demo"), PHOTOS)


def play(lot: Path, model: Path, recipe: Recipe, photos: tuple[int, int]) -> None:
    """Draw a lot unless it is there, train on it, answer its contest, and print where to look.

    Args:
        lot: folder of the drawn contest.
        model: folder of the model.
        recipe: how to train.
        photos: how many to draw for training and for the contest.
    """
    from carspotter.apps.answering import answer_contest
    from carspotter.apps.training import fit, read_labelled, say_result
    from carspotter.inference.bundle import check_target
    from carspotter.tracking.curves import draw_curves

    say("The cars of this demo are DRAWN by code: its figures show that every part works, and nothing about real cars.")
    check_target(model)
    _draw(lot, photos)
    run = fit(read_labelled(lot), recipe, out=model)
    say_result(run)
    submission = lot / "submission.csv"
    answer_contest(model, lot, submission)
    say(f"contest  {submission}: {_score(lot, submission)}, by {lot / 'truth.csv'}")
    draw_curves([run], lot / "curves.png")
    say(f"curves   {lot / 'curves.png'}")
    say("next     put photos of your own cars into one folder per model, then:")
    say(f"         {_program()} train FOLDER")


def _draw(lot: Path, photos: tuple[int, int]) -> None:
    from carspotter.data.synthetic import draw_lot

    truth = lot / "truth.csv"  # written last: where it is, the lot is whole
    if not truth.is_file():
        draw_lot(lot, train=photos[0], test=photos[1]).write_truth()
    say(f"drawn    {lot}: a contest of ten models, two of which only the rear tells apart")


def _score(lot: Path, submission: Path) -> Figure:
    from carspotter.data.table import read_table
    from carspotter.evaluation.shares import wilson

    given, truth = read_table(submission), read_table(lot / "truth.csv")
    known = dict(zip(truth.column("Id"), truth.column("Category"), strict=True))
    return wilson(sum(known[photo] == category for photo, category in given.rows), len(given.rows))


def _program() -> str:
    """How the reader called us, who may have no activated environment."""
    return "carspotter" if shutil.which("carspotter") else sys.argv[0]
