"""`predict` and `submit`: what a trained model says about photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, say, table
from carspotter.errors import EXIT_SOME_REFUSED

Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTOS", help="Photos, folders and zips of photos.", show_default=False)
]
AnswersPlace = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|URL#TABLE",
        help="Write .csv, .jsonl or .parquet, or into a table of a database by id, instead of printing a table.",
        show_default=False,
    ),
]
Contest = Annotated[
    Path,
    typer.Argument(
        metavar="CONTEST", help="A contest folder: test photos and sample-submission.csv.", show_default=False
    ),
]
SubmissionFile = Annotated[Path, typer.Option("--output", "-o", help="The submission, a .csv.", show_default=False)]


def predict(
    model: options.Model,
    photos: Photos,
    output: AnswersPlace = None,
    tta: options.Tta = 1,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Name the car in each photo: one row in, one row out.

    A photo that cannot be read becomes a row with the verdict bad_photo and its reason; the exit code is then 3.
    """
    from carspotter.apps.answering import ask, write_answers
    from carspotter.apps.places import Place
    from carspotter.data.source import list_photos
    from carspotter.data.wording import count
    from carspotter.evaluation.answer import answer_rows
    from carspotter.inference.predictor import load

    place = None if output is None else Place(output)  # before the work, not after it
    predictor, dataset = load(model, runtime=runtime), list_photos(photos)
    notes(dataset.notes)
    if place is None:
        answers = ask(predictor, dataset, tta)
        table(*answer_rows(answers))
    else:
        answers = write_answers(predictor, dataset, tta, place)
        say(f"{count(len(answers), 'answer')} in {place}")
    if refused := sum(answer.code is not None for answer in answers):
        note(f"{refused} of {len(answers)} photos were refused; the table says why")
        raise typer.Exit(EXIT_SOME_REFUSED)


def submit(
    model: options.Model,
    contest: Contest,
    output: SubmissionFile,
    tta: options.Tta = 1,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Answer a contest: exactly the sample's rows, or nothing is written."""
    from carspotter.apps.answering import answer_contest
    from carspotter.data.disk import check_writable
    from carspotter.data.source import tables_of
    from carspotter.data.wording import count

    check_writable(output, reads=tables_of(contest))
    answers = answer_contest(model, contest, output, tta, runtime)
    say(f"{count(answers, 'answer')} in {output}")
