"""Which labelled photos may judge a model: those that did not train it."""

from __future__ import annotations

from carspotter.data.wording import brief
from carspotter.errors import SourceError, TrackingError
from carspotter.records import Birth, BundleCard, Dataset, Run
from carspotter.tracking.runs import open_store


def leave_out_trained(card: BundleCard, dataset: Dataset, *, remembers: bool = False) -> tuple[Dataset, str]:
    """The photos that did not train the model, as far as its run tells by their names, and what must be said of it.

    Args:
        card: of the model.
        dataset: photos to judge it on.
        remembers: whether the model can tell its training photos by their content.

    Raises:
        SourceError: no photo is left.
    """
    try:
        store = open_store()
        splits = [store.split(run) for run in (card.provenance.run_id, *card.provenance.also)]
    except TrackingError:
        told = "photos that fitted its calibration" if remembers else "photos that trained it"
        return dataset, f"The run that trained this model is not at hand: {told} may be among these."
    trained = {photo for split in splits for photo in split.train}
    unseen = dataset.subset([at for at, photo in enumerate(dataset.photos) if photo.id not in trained])
    left_out = len(dataset.photos) - len(unseen.photos)
    missed = _missed_decisions(store.get(card.provenance.run_id), dataset)
    if left_out and not unseen.photos:
        whole = "; of its own set, whole and read as for the training, it is judged out of fold"
        raise SourceError(
            f"all {left_out} photos of {dataset.origin} have names of photos that trained this model; "
            f"judge it on others, or rename these if they are others{whole if card.members > 1 else ''}"
            f"{missed and f'. {missed}'}"
        )
    told = f"{left_out} photos with names of photos that trained the model are left out. " if left_out else ""
    validated = {photo for split in splits for photo in split.validation}
    if judged := validated & {photo.id for photo in unseen.photos}:
        told += f"{len(judged)} photos validated the training"
        told += " and fitted its calibration, which looks too good on them. " if card.calibration else ". "
    if left_out or judged:
        told += missed
    return unseen, told.strip()


def _missed_decisions(run: Run, dataset: Dataset) -> str:
    """That the training carried out decisions on its photos, and whoever read these did not."""
    then = (run.birth or Birth()).source
    table = then.decisions if then else None
    if table is None or (dataset.reading and dataset.reading.decisions):
        return ""
    return f"It was trained after the decisions in {brief(table)}, which these photos lack: judge it with --decisions."
