"""A judged model as one page to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carspotter.data.wording import brief
from carspotter.evaluation.chart import reliability_chart, risk_chart
from carspotter.evaluation.judging import REFUSED, Confusion, Judged, Slice
from carspotter.evaluation.page import page, text, thumbnail
from carspotter.records import Figure, Photo

PAIRS, PER_PAIR = 12, 6
"""Confused pairs on the page, and photos of each. Assumption: nobody looks at more; answers.csv has all."""
RIGHT, OTHER = "60 160 90", "220 80 60"
"""Green and red of the confusion table's cells."""
DEEPEST = 0.7
"""Opacity of a full cell of the confusion table: its number stays readable on dark pages too (contrast 4.5 by WCAG 2.1,
1.4.3; white on the full green had 3.3)."""
WRONG = 120
"""Wrong photos on the page (assumption: a page of a few megabytes still opens on a phone)."""


def report_page(title: str, notes: Sequence[str], judged: Judged, photos: Mapping[str, Photo]) -> str:
    """The report as HTML.

    Args:
        title: model and source.
        notes: what the reader must know: which photos, calibrated or not, how fast.
        judged: the model's figures.
        photos: by id.
    """
    said = "".join(f"<p>{text(note)}</p>" for note in notes)
    parts = (
        ("figures", "Figures", _figures(judged)),
        ("calibration", "Can its probabilities be trusted?", _calibration(judged)),
        ("verdicts", "Verdicts", _verdicts(judged)),
        ("slices", "Kinds of photos", _slices(judged)),
        ("classes", "Classes", _classes(judged)),
        ("table", "Confusion table", _table_of_confusions(judged)),
        ("pairs", "Confused pairs", "".join(_pair(one, judged, photos) for one in judged.confusions[:PAIRS])),
        ("wrong", "Wrong answers, the surest first", _wrong(judged, photos)),
    )
    links = "".join(f'<a href="#{key}">{text(name)}</a>' for key, name, body in parts if body)
    sections = "".join(f'<h2 id="{key}">{text(name)}</h2>{body}' for key, name, body in parts if body)
    return page(title, f"{said}<nav>{links}</nav>{sections}")


def _figures(judged: Judged) -> str:
    e = judged.evaluation
    named = {"accuracy": e.accuracy, "truth among the first three": e.top3_accuracy}
    named |= {f"mean {name} over the classes": figure for name, figure in judged.macro.items()}
    rows = [(name, _share(figure)) for name, figure in named.items()]
    rows += [("log loss, 0 is best", f"{judged.log_loss:.3f}")]
    if judged.log_loss != e.log_loss:
        rows += [("log loss before calibration", f"{e.log_loss:.3f}")]
    return _table(("", "figure (95 % interval)"), rows) + f"<p>{text(_witnesses(judged))}</p>"


def _witnesses(judged: Judged) -> str:
    photos = f"{len(judged.ids):,} photos"
    if judged.witnesses == len(judged.ids):
        return f"{photos}."
    return f"{photos} in {judged.witnesses:,} groups: near copies and photos of one ad count as one in every interval."


def _calibration(judged: Judged) -> str:
    verdict = "cannot be told from chance" if judged.error_p >= 0.05 else "is more than chance"
    said = (
        f"Confidence and truth lie {judged.error.value:.3f} [{judged.error.low:.3f}, {judged.error.high:.3f}] apart "
        f"(0 is best); that {verdict} (p = {judged.error_p:.3f}). Refusing the least sure {REFUSED:.0%} of the photos "
        f"removes {judged.removed.value:.0%} [{judged.removed.low:.0%}, {judged.removed.high:.0%}] of the errors."
    )
    charts = reliability_chart(judged.bins) + risk_chart(judged.coverage.tolist(), judged.risk.tolist())
    return f'<p>{text(said)}</p><div class="grid wide">{charts}</div>'


def _verdicts(judged: Judged) -> str:
    rows = [
        (verdict.value, photos, f"{photos / len(judged.ids):.1%}", "" if held is None else _share(held))
        for verdict, (photos, held) in judged.verdicts.items()
    ]
    return _table(("verdict", "photos", "share", "claim holds the truth (95 % interval)"), rows)


def _slices(judged: Judged) -> str:
    tables = [_table_of_slices("photos", judged.slices)] if judged.slices else []
    return "".join(tables + [_table_of_slices(name, slices) for name, slices in judged.columns.items()])


def _table_of_slices(head: str, slices: Sequence[Slice]) -> str:
    rows = [
        (brief(one.name), one.accuracy.n, _share(one.accuracy), "" if one.rest is None else f"{one.rest.value:.3f}")
        for one in slices
    ]
    return _table((brief(head), "how many", "accuracy (95 % interval)", "of the others"), rows)


def _classes(judged: Judged) -> str:
    rows = [
        (one.label, one.photos, *("" if share is None else f"{share:.3f}" for share in (one.precision, one.recall)))
        for one in judged.evaluation.per_class
    ]
    return _table(("class", "photos", "precision", "recall"), rows)


def _table_of_confusions(judged: Judged) -> str:
    head = "".join(f"<th>{number}</th>" for number in range(len(judged.classes)))
    rows = []
    for number, (name, counts) in enumerate(zip(judged.classes, judged.evaluation.confusion, strict=True)):
        photos = max(1, sum(counts))
        cells = "".join(
            f'<td style="background:rgb({RIGHT if number == at else OTHER}/{DEEPEST * count / photos:.2f})">'
            f"{count or ''}</td>"
            for at, count in enumerate(counts)
        )
        rows.append(f"<tr><td>{number} {text(name)}</td>{cells}</tr>")
    whole = f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    return f'<p>Rows: truth. Columns: answer.</p><div class="scroll">{whole}</div>'


def _pair(one: Confusion, judged: Judged, photos: Mapping[str, Photo]) -> str:
    pictures = "".join(_figure(i, judged, photos) for i in one.photos[:PER_PAIR])
    said = f"{one.truth} taken for {one.answered}: {len(one.photos)} of {one.of} photos"
    return f'<h3>{text(said)}</h3><div class="grid">{pictures}</div>'


def _wrong(judged: Judged, photos: Mapping[str, Photo]) -> str:
    wrong = judged.wrong
    more = f"<p>The first {WRONG} of {len(wrong):,}; answers.csv has all.</p>" if len(wrong) > WRONG else ""
    return (
        f'{more}<div class="grid">{"".join(_figure(i, judged, photos) for i in wrong[:WRONG])}</div>' if wrong else ""
    )


def _figure(i: int, judged: Judged, photos: Mapping[str, Photo]) -> str:
    one = judged.answers[i]
    tops = "<br>".join(f"{text(guess.label)} {guess.probability:.0%}" for guess in one.top)
    caption = (
        f"{text(one.id)}<br>is <b>{text(judged.classes[judged.truth[i]])}</b>, {text(one.verdict.value)}"
        f"<br><small>{tops}</small>"
    )
    return f"<figure>{thumbnail(photos.get(one.id))}<figcaption>{caption}</figcaption></figure>"


def _share(figure: Figure) -> str:
    """In one cell, so that a narrow screen never shows a figure without its interval."""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
