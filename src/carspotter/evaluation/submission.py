"""A contest's submission: exactly the sample's columns, ids and order, or nothing at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from carspotter.data.labels import sample_columns
from carspotter.data.table import Table, write_table
from carspotter.data.wording import count, some
from carspotter.errors import SubmissionError
from carspotter.records import Answer, Verdict


def write_submission(
    path: str | Path, sample: Table, answers: Sequence[Answer], classes: Sequence[str], codes: Sequence[str]
) -> None:
    """Answer every id of the sample.

    Ids and any further columns are copied from the sample to the letter; only the category changes.

    Args:
        path: the table to write, `.csv` for a contest.
        sample: the contest's sample submission.
        answers: in any order; answers to other ids are left out.
        classes: class names in index order.
        codes: how `train.csv` writes each class, same order.

    Raises:
        SubmissionError: ids that are named twice, without an answer, or with a bad photo; each kind is one line with a
            count, and nothing is written.
        SourceError: columns that cannot be told apart, or a place that cannot be written to.
    """
    id_at, category_at = map(sample.columns.index, sample_columns(sample))
    given = {a.id: a for a in answers}
    ids = [row[id_at] for row in sample.rows]
    problems = _problems(sample, ids, given)
    if problems:
        raise SubmissionError(problems)
    code = dict(zip(classes, codes, strict=True))
    rows = [
        tuple(code[given[photo].top[0].label] if at == category_at else cell for at, cell in enumerate(row))
        for photo, row in zip(ids, sample.rows, strict=True)
    ]
    write_table(path, sample.columns, rows, exact=True)


def _problems(sample: Table, ids: Sequence[str], given: Mapping[str, Answer]) -> list[str]:
    twice = [photo for photo, times in Counter(ids).items() if times > 1]
    unanswered = [photo for photo in ids if photo not in given]
    bad = [a for photo in ids if (a := given.get(photo)) and (a.verdict is Verdict.BAD_PHOTO or not a.top)]
    problems = []
    if twice:
        problems.append(f"{sample.path} names {count(len(twice), 'id')} more than once: {some(twice)}; mend the sample")
    if unanswered:
        problems.append(
            f"{count(len(unanswered), 'id')} of {sample.path} without a photo: {some(unanswered)}; add the photos"
        )
    for code, times in Counter(a.code for a in bad).items():
        same = [f"{a.id} ({a.reason})" for a in bad if a.code is code]
        problems.append(f"{count(times, 'photo')} refused as {code or 'bad_photo'}: {some(same)}; replace them")
    return problems
