"""What every command that answers does: ask the model with a bar, one answer per photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carspotter.apps.console import notes, progress
from carspotter.apps.places import Place
from carspotter.data.database import CHUNK
from carspotter.data.source import read_contest
from carspotter.data.table import check_ending
from carspotter.evaluation.answer import answer_rows
from carspotter.evaluation.submission import write_submission
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.progress import Progress
from carspotter.records import Answer, Dataset


def ask(predictor: Predictor, dataset: Dataset, tta: int = 1) -> tuple[Answer, ...]:
    """One answer per photo of the set, then one per photo that the reader had to leave out."""
    with progress() as show:
        return predictor.identify(dataset, tta=tta, progress=show)


def write_answers(predictor: Predictor, dataset: Dataset, tta: int, place: Place) -> tuple[Answer, ...]:
    """The same, written to a place that is tried before the work; into a table of a database piece by piece.

    Raises:
        SourceError: it cannot be written.
    """
    kinds = {name: float if name.startswith("probability") else str for name in answer_rows(())[0]}
    total = len(dataset.photos)
    starts = range(0, max(total, 1), CHUNK if place.target else max(total, 1))
    answers: list[Answer] = []
    with place.open(kinds, "id") as write, progress() as show:
        for start in starts:
            photos = dataset.photos[start : start + starts.step]
            piece = replace(dataset, photos=photos, rejected=dataset.rejected if start == starts[-1] else ())
            found = predictor.identify(piece, tta=tta, progress=_of_all(show, start, total))
            write(answer_rows(found)[1])
            answers += found
    return tuple(answers)


def _of_all(show: Progress, before: int, all_photos: int) -> Progress:
    """The progress of a piece, shown as that of all."""

    def shown(phase: str, done: int, total: int, said: str = "") -> None:  # noqa: ARG001 - of the piece
        show(phase, before + done, all_photos, said)

    return shown


def answer_contest(model: Path, contest: Path, output: Path, tta: int = 1, runtime: RuntimeName = "onnxruntime") -> int:
    """Write a submission; the number of answers in it.

    Raises:
        SourceError, BundleError, SubmissionError: nothing was written.
    """
    check_ending(output)  # before the work, not after it
    predictor = load(model, runtime=runtime)
    entry = read_contest(contest)
    notes(entry.test.notes)
    answers = ask(predictor, entry.test, tta)
    write_submission(output, entry.sample, answers, predictor.card.classes, predictor.card.codes)
    return len(entry.sample.rows)
