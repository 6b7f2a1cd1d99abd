"""`evaluate`: how good a model is on labelled photos, as a page to look at and figures to compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from carspotter.inference.examination import Examination
    from carspotter.inference.predictor import Predictor
    from carspotter.records import BundleCard, Dataset

PAGE, FIGURES, ANSWERS = "report.html", "metrics.json", "answers.csv"
OutFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for report.html, metrics.json and answers.csv.")
]


def evaluate(
    model: options.Model,
    source: options.Source,
    *,
    output: OutFolder = Path("report"),
    tta: options.Tta = 1,
    runtime: options.Runtime = "onnxruntime",
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
) -> None:
    """Judge a model on labelled photos: figures with intervals, calibration, confused pairs, every wrong photo.

    Photos that trained the model are left out: by name where its run is known, and by content where the model remembers
    them. Where neither tells, the report says that they may be among the others. Unreadable photos make the exit code
    3.
    """
    import json

    from carspotter.data.disk import check_writable, whole_file
    from carspotter.data.source import read_source
    from carspotter.data.table import write_table
    from carspotter.evaluation.judged_files import judged_rows, metrics
    from carspotter.evaluation.report_page import report_page
    from carspotter.inference.examination import examine
    from carspotter.inference.predictor import load

    for name in (PAGE, FIGURES, ANSWERS):
        check_writable(output / name)
    predictor = load(model, runtime=runtime)
    dataset = read_source(
        source, photos=photos, id_column=id_column, label_column=label_column, group_column=group_column
    )
    notes(dataset.notes)
    unseen, remark = leave_out_trained(predictor.card, dataset, remembers=predictor.reference is not None)
    with progress() as show:
        found = examine(predictor, unseen, tta=tta, progress=show)
    remarks = [*_remarks(found, predictor), *([remark] if remark else [])]
    by_id = {photo.id: photo for photo in found.dataset.photos}
    page = report_page(f"{predictor.card.name} on {source.name}", remarks, found.judged, by_id)
    for name, text in (
        (PAGE, page),
        (FIGURES, json.dumps(metrics(found.judged) | {"photos_per_second": found.photos_per_second}, indent=1)),
    ):
        with whole_file(output / name) as part:
            part.write_text(text, encoding="utf-8")
    write_table(output / ANSWERS, *judged_rows(found.judged, found.labels))
    say(f"accuracy {found.judged.evaluation.accuracy}")
    say(f"top-3    {found.judged.evaluation.top3_accuracy}")
    notes(remarks)
    say(f"report in {output / PAGE}, figures in {output / FIGURES}, every answer in {output / ANSWERS}")
    if found.dataset.rejected:
        note(f"{len(found.dataset.rejected)} photos could not be read; `carspotter check` names them")
        raise typer.Exit(EXIT_SOME_REFUSED)


def leave_out_trained(card: BundleCard, dataset: Dataset, *, remembers: bool = False) -> tuple[Dataset, str]:
    """The photos that did not train the model, as far as its run tells by their names, and what must be said of it.

    Args:
        card: of the model.
        dataset: photos to judge it on.
        remembers: whether the model can tell its training photos by their content.

    Raises:
        SourceError: no photo is left.
    """
    from carspotter.errors import SourceError, TrackingError
    from carspotter.tracking.runs import open_store

    try:
        store = open_store()
        splits = [store.split(run) for run in (card.provenance.run_id, *card.provenance.also)]
    except TrackingError:
        told = "photos that fitted its calibration" if remembers else "photos that trained it"
        return dataset, f"The run that trained this model is not at hand: {told} may be among these."
    trained = {photo for split in splits for photo in split.train}
    unseen = dataset.subset([at for at, photo in enumerate(dataset.photos) if photo.id not in trained])
    left_out = len(dataset.photos) - len(unseen.photos)
    if left_out and not unseen.photos:
        raise SourceError(
            f"all {left_out} photos of {dataset.origin} have names of photos that trained this model; "
            "judge it on others, or rename these if they are others"
        )
    told = f"{left_out} photos with names of photos that trained the model are left out. " if left_out else ""
    validated = {photo for split in splits for photo in split.validation}
    if fitted := validated & {photo.id for photo in unseen.photos}:
        told += f"{len(fitted)} photos validated the training and fitted its calibration, which looks too good on them."
    return unseen, told.strip()


def _remarks(found: Examination, predictor: Predictor) -> list[str]:
    calibrated = "calibrated" if predictor.card.calibration else "not calibrated: probabilities are the plain softmax"
    told = [f"{found.photos_per_second:.1f} photos a second, read, decoded and answered. The model is {calibrated}."]
    if found.foreign:
        told.append(f"{found.foreign} photos of classes that the model does not know are left out.")
    if found.taught:
        told.append(f"{found.taught} photos that trained the model are left out: it remembers them under other names.")
    if predictor.reference is None:
        told.append("The model remembers no photo that trained it: copies under other names would not be noticed.")
    if found.dataset.rejected:
        told.append(f"{len(found.dataset.rejected)} photos could not be read.")
    return told
