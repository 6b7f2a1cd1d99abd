"""What every command that answers does: ask the model with a bar, one answer per photo."""

from __future__ import annotations

from pathlib import Path

from carspotter.apps.console import notes, progress
from carspotter.data.source import read_contest
from carspotter.data.table import check_ending
from carspotter.evaluation.submission import write_submission
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Answer, Dataset


def ask(predictor: Predictor, dataset: Dataset, tta: int = 1) -> tuple[Answer, ...]:
    """One answer per photo of the set, then one per photo that the reader had to leave out."""
    with progress() as show:
        return predictor.identify(dataset, tta=tta, progress=show)


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
