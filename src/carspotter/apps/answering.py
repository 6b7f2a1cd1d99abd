"""What every command that answers does: ask the model with a bar, one answer per photo."""

from __future__ import annotations

from pathlib import Path

from carspotter.apps.console import notes, progress
from carspotter.apps.places import Place
from carspotter.data.source import read_contest
from carspotter.data.table import check_ending
from carspotter.evaluation.answer import answer_rows
from carspotter.evaluation.submission import write_submission
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Answer, Dataset


def ask(predictor: Predictor, dataset: Dataset, tta: int = 1) -> tuple[Answer, ...]:
    """One answer per photo of the set, then one per photo that the reader had to leave out."""
    with progress() as show:
        return predictor.identify(dataset, tta=tta, progress=show)


def write_answers(predictor: Predictor, dataset: Dataset, tta: int, place: Place) -> tuple[Answer, ...]:
    """The same, written to a place that is tried before the work.

    Raises:
        SourceError: it cannot be written.
    """
    kinds = {name: float if name.startswith("probability") else str for name in answer_rows(())[0]}
    with place.open(kinds, "id") as write:
        answers = ask(predictor, dataset, tta)
        write(answer_rows(answers)[1])
    return answers


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
