"""`evaluate`: how good a model is on labelled photos, as a page to look at and figures to compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.data.scan import Scan
    from carspotter.inference.examination import Columns, Examination
    from carspotter.inference.predictor import Predictor
    from carspotter.progress import Progress
    from carspotter.records import BundleCard, Dataset

PAGE, FIGURES, ANSWERS = "report.html", "metrics.json", "answers.csv"
OutFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for report.html, metrics.json and answers.csv.")
]

SliceColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--slice-column",
        metavar="NAME",
        help="Judge the photos also by the values of this column of the table, such as the view; repeatable.",
        show_default=False,
    ),
]


def evaluate(
    model: options.Model,
    source: options.Source,
    *,
    output: OutFolder = Path("report"),
    tta: options.Tta = 1,
    runtime: options.Runtime = "onnxruntime",
    decisions: options.Decisions = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    slice_column: SliceColumn = None,
) -> None:
    """Judge a model on labelled photos: figures with intervals, calibration, confused pairs, every wrong photo.

    Photos that trained the model are left out: by name where its run is known, and by content where the model remembers
    them. Where neither tells, the report says that they may be among the others. A model of every fold is judged on its
    own set by what each network answered on the photos that it had not seen. Unreadable photos make the exit code 3.
    """
    from carspotter.apps.training import read_labelled
    from carspotter.data.disk import check_writable
    from carspotter.data.source import read_columns, tables_of
    from carspotter.inference.predictor import load

    for name in (PAGE, FIGURES, ANSWERS):
        check_writable(output / name, reads=(*tables_of(source), decisions))
    predictor = load(model, runtime=runtime)
    named = {"id_column": id_column, "label_column": label_column, "group_column": group_column}
    dataset = read_labelled(source, photos, decisions, **named)
    columns = read_columns(source, slice_column or [], photos=photos, id_column=id_column)
    with progress() as show:
        found, remarks = _examine(predictor, dataset, tta, columns, show)
    _write(output, f"{predictor.card.name} on {source.name}", remarks, found)
    say(f"accuracy {found.judged.evaluation.accuracy}")
    say(f"top-3    {found.judged.evaluation.top3_accuracy}")
    notes(remarks)
    say(f"report in {output / PAGE}, figures in {output / FIGURES}, every answer in {output / ANSWERS}")
    if found.dataset.rejected:
        note(f"{len(found.dataset.rejected)} photos could not be read; `carspotter check` names them")
        raise typer.Exit(EXIT_SOME_REFUSED)


def _write(output: Path, title: str, remarks: list[str], found: Examination) -> None:
    import json

    from carspotter.data.disk import whole_file
    from carspotter.data.table import write_table
    from carspotter.evaluation.judged_files import judged_rows, metrics
    from carspotter.evaluation.report_page import report_page

    by_id = {photo.id: photo for photo in found.dataset.photos}
    speed = {} if found.photos_per_second is None else {"photos_per_second": found.photos_per_second}
    figures = {"out_of_fold": found.photos_per_second is None} | metrics(found.judged) | speed
    for name, text in (
        (PAGE, report_page(title, remarks, found.judged, by_id)),
        (FIGURES, json.dumps(figures, indent=1)),
    ):
        with whole_file(output / name) as part:
            part.write_text(text, encoding="utf-8")
    write_table(output / ANSWERS, *judged_rows(found.judged, found.labels))


def _examine(
    predictor: Predictor, dataset: Dataset, tta: int, columns: Columns, show: Progress
) -> tuple[Examination, list[str]]:
    """The model on photos that it has not seen, and what must be said of it."""
    from carspotter.data.scan import scan
    from carspotter.inference.examination import examine
    from carspotter.tracking.unseen import leave_out_trained

    if predictor.card.members > 1:
        looked = scan(dataset, progress=show)
        if looked.dataset.fingerprint == predictor.card.dataset:
            return _examine_folds(predictor.card, looked, tta, columns, show)
    unseen, remark = leave_out_trained(predictor.card, dataset, remembers=predictor.reference is not None)
    found = examine(predictor, unseen, tta=tta, columns=columns, progress=show)
    return found, [*_remarks(found, predictor), *([remark] if remark else [])]


def _examine_folds(
    card: BundleCard, looked: Scan, tta: int, columns: Columns, show: Progress
) -> tuple[Examination, list[str]]:
    """A joined model on the very photos that trained it, by what its networks had answered before they were joined."""
    from carspotter.errors import SourceError, TrackingError
    from carspotter.inference.examination import examine_answers
    from carspotter.tracking.out_of_fold import out_of_fold
    from carspotter.tracking.runs import open_store

    try:
        kept = out_of_fold(open_store(), card)
    except TrackingError as fault:
        raise SourceError(
            f"all {len(looked.dataset.photos)} photos of {looked.dataset.origin} trained this model, and what its "
            f"networks answered on those that they had not seen is not at hand: {fault}; judge it on others, or set "
            "CARSPOTTER_RUNS to the runs that trained it"
        ) from None
    found = examine_answers(card, looked, kept, columns=columns, progress=show)
    which = f"those of its {card.members} networks that it did not train, not by all of them joined"
    told = [f"The answers are out of fold: every photo trained this model, so each is answered by {which}."]
    told.append("No photo is called a stranger, since what tells them was not kept.")
    if card.calibration is not None:
        told.append("The calibration was fitted on these answers, which looks too good on them.")
    if found.taught:
        told.append(f"{found.taught} photos trained every network and are left out.")
    if tta > 1:
        told.append("The answers are of plain photos; views (--tta) are not judged.")
    if found.dataset.rejected:
        told.append(f"{len(found.dataset.rejected)} photos could not be read.")
    return found, told


def _remarks(found: Examination, predictor: Predictor) -> list[str]:
    calibrated = "calibrated" if predictor.card.calibration else "not calibrated: probabilities are the plain softmax"
    speed = f"{found.photos_per_second:.1f} photos a second, read, decoded and answered"
    told = [f"{speed}. The model is {calibrated}."]
    if found.foreign:
        told.append(f"{found.foreign} photos of classes that the model does not know are left out.")
    if found.taught:
        told.append(f"{found.taught} photos that trained the model are left out: it remembers them under other names.")
    if predictor.reference is None:
        told.append("The model remembers no photo that trained it: copies under other names would not be noticed.")
    elif predictor.card.in_integers:
        told.append(
            "The model computes in integers and remembers what another net made of the photos that trained it: copies "
            "under other names are not noticed."
        )
    if found.dataset.rejected:
        told.append(f"{len(found.dataset.rejected)} photos could not be read.")
    return told
