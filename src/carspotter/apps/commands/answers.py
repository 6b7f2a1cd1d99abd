"""`predict` and `submit`: what a trained model says about photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.inference.predictor import Predictor
    from carspotter.records import Answer, Dataset

Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTOS...", help="Photos, folders and zips of photos.", show_default=False)
]
AnswersFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write .csv, .jsonl or .parquet instead of printing a table.", show_default=False
    ),
]
Contest = Annotated[
    Path,
    typer.Argument(help="A contest folder: test photos and sample-submission.csv.", show_default=False),
]
SubmissionFile = Annotated[Path, typer.Option("--output", "-o", help="The submission, a .csv.", show_default=False)]


def predict(model: options.Model, photos: Photos, output: AnswersFile = None, tta: options.Tta = 1) -> None:
    """Name the car in each photo: one row in, one row out.

    A photo that cannot be read becomes a row with the verdict bad_photo and its reason; the exit code is then 3.
    """
    from carspotter.data.source import list_photos
    from carspotter.data.table import check_ending, write_table
    from carspotter.evaluation.answer import answer_rows
    from carspotter.inference.predictor import load

    if output is not None:
        check_ending(output)  # before the work, not after it
    dataset = list_photos(photos)
    answers = _answers(load(model), dataset, tta)
    columns, rows = answer_rows(answers)
    if output is None:
        table(columns, rows)
    else:
        write_table(output, columns, rows)
        say(f"{len(rows):,} answers in {output}")
    notes(dataset.notes)
    refuse_some(sum(a.code is not None for a in answers), len(answers))


def submit(model: options.Model, contest: Contest, output: SubmissionFile, tta: options.Tta = 1) -> None:
    """Answer a contest: exactly the sample's rows, or nothing is written."""
    from carspotter.data.source import read_contest
    from carspotter.data.table import check_ending
    from carspotter.evaluation.submission import write_submission
    from carspotter.inference.predictor import load

    check_ending(output)
    predictor = load(model)
    entry = read_contest(contest)
    answers = _answers(predictor, entry.test, tta)
    write_submission(output, entry.sample, answers, predictor.card.classes, predictor.card.codes)
    notes(entry.test.notes)
    say(f"{len(answers):,} answers in {output}")


def _answers(predictor: Predictor, dataset: Dataset, tta: int) -> tuple[Answer, ...]:
    """One answer per photo of the set, then one per photo it had to leave out."""
    from carspotter.evaluation.answer import answer

    with progress() as show:
        scores = predictor.scores(dataset, tta=tta, progress=show)
    order = [*(photo.id for photo in dataset.photos), *(refused.id for refused in dataset.rejected)]
    return answer(scores, predictor.card.classes, predictor.card.calibration, order)


def refuse_some(refused: int, of: int) -> None:
    """End with exit code 3 when some photos had no answer.

    Raises:
        typer.Exit: some were refused.
    """
    if refused:
        note(f"{refused} of {of} photos were refused; the table says why")
        raise typer.Exit(EXIT_SOME_REFUSED)
