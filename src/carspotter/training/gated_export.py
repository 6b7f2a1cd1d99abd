"""A network that computes in another way than it was trained, written only if it may stand in for the original.

What the gate judges is what is written: the export keeps the original's temperature and bounds, and it is scored under
them, beside the original, on photos that trained neither.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.errors import SourceError, TrackingError, TrainingError
from carspotter.evaluation.gate import GateFigures, misses, stand
from carspotter.evaluation.metrics import evaluate
from carspotter.evaluation.paired import Paired, pair
from carspotter.inference.bundle import MODEL, Bundle, write_bundle
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.progress import Progress, silent
from carspotter.records import BundleCard, Dataset, ExportNote, Photo, Pixels, Precision, Scores
from carspotter.tracking.held_out import groups_of
from carspotter.tracking.runs import open_store
from carspotter.training.quantize import quantize
from carspotter.training.ship import hash_files

CALIBRATING = 100
"""Photos whose activations give the ranges. Assumption: ranges of a hundred differ little from those of a thousand."""
TIMED = 60
"""Photos on which both are timed in turn."""
FEWEST = 5
"""Photos without which nothing is judged (assumption); the interval of the difference says what so few can show."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of an export.

    Attributes:
        standing: how it answers.
        megabytes: of its network.
        milliseconds: (N,) of single photos, one thread, decoding left out.
        scores: of the photos that judge.
        labels: (N,) class index of each of these.
        groups: (N,) equal for photos that belong together, as far as the original's run knows.
    """

    standing: GateFigures
    megabytes: float
    milliseconds: npt.NDArray[np.float64]
    scores: Scores
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the likeliest class is the photo's."""
        return np.asarray(self.scores.logits.argmax(1) == self.labels)


@dataclass(frozen=True, slots=True)
class Export:
    """What came out.

    Attributes:
        before: the original, on ONNX Runtime.
        after: the export, where it will run.
        faults: bounds that the export breaks.
        bundle: as written; None where it was refused.
    """

    before: Measured
    after: Measured
    faults: tuple[str, ...]
    bundle: Bundle | None

    @property
    def difference(self) -> Paired:
        """Photo by photo: what the export's accuracy is more than the original's, with its interval."""
        photos = np.arange(len(self.before.labels))  # both read the same photos by the same decoder
        return pair(photos, self.before.right, photos, self.after.right, self.before.groups)


def export_gated(
    model: Path,
    source: Dataset,
    out: Path,
    *,
    runtime: RuntimeName = "onnxruntime",
    precision: Precision = "int8",
    force: bool = False,
    progress: Progress = silent,
) -> Export:
    """Make a model compute otherwise, score it beside the original on photos that it held out, and write it if it may.

    Args:
        model: folder of the original; its run must be at hand.
        source: that trained it: training photos give the ranges of integers, held-out ones judge.
        out: folder of the export.
        runtime: that will compute it.
        precision: that it will compute in.
        force: write it although a bound is broken; the card says so.
        progress: told about photos.

    Raises:
        SourceError: the source is not the model's, or nothing was held out.
        TrackingError: the run is not at hand.
        BundleError: a folder cannot be read or written.
        MissingExtra: the runtime is not installed.
        TrainingError: the network cannot be quantized, or this processor cannot compute in that precision.
    """
    original = load(model)
    ranged, judging = _photos(original, source)
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        files = _files(original, ranged, precision, Path(place))
        draft = original.card.model_copy(update={"files": hash_files(files), "name": out.name})
        drafted = write_bundle(Path(place) / "trial", draft, files)
        trial = load(drafted.folder, runtime=runtime, precision=precision)
        if precision == "bf16" and not trial.bf16:
            raise TrainingError(f"{runtime} has no bf16 on this processor; export it where it will serve")
        before, after = _measure(original, trial, judging, progress)
        faults = misses(before.standing, after.standing)
        if faults and not force:
            return Export(before, after, faults, None)
        note = ExportNote(
            precision=precision,
            of=original.bundle.hash,
            runtime=runtime,
            photos=len(judging.photos),
            accuracy=after.standing.accuracy.value,
            accuracy_before=before.standing.accuracy.value,
            faults=faults,
        )
        bundle = write_bundle(out, _restated(draft, note, after), files)
    return Export(before, after, faults, bundle)


def _restated(draft: BundleCard, note: ExportNote, after: Measured) -> BundleCard:
    """The card with the figures of the export; what makes answers of its logits is the original's, as it was judged."""
    return draft.model_copy(
        update={
            "evaluation": evaluate(after.scores, after.labels, draft.classes, after.groups),
            "provenance": draft.provenance.model_copy(update={"parity": None}),  # it was another net's
            "export": note,
        }
    )


def _photos(original: Predictor, source: Dataset) -> tuple[list[Photo], Dataset]:
    """Training photos that give the ranges, and held-out photos that judge."""
    split = open_store().split(original.card.provenance.run_id)
    by_id = {photo.id: photo for photo in source.photos}
    train = [by_id[one] for one in split.train if one in by_id]
    held_out = set(split.validation)
    judging = source.subset([at for at, photo in enumerate(source.photos) if photo.id in held_out])
    if original.card.members > 1:
        raise SourceError("every photo trained some network of this model, so none can judge; name one fold's model")
    if len(train) < 2 or len(judging.photos) < FEWEST:
        raise SourceError(
            f"{source.origin} has {len(train)} photos that trained the model and {len(judging.photos)} that it held "
            "out; name the source that it was trained on"
        )
    chosen = np.random.default_rng(0).permutation(len(train))[:CALIBRATING]
    return [train[int(at)] for at in chosen], judging


def _groups(original: Predictor, photos: Sequence[str]) -> npt.NDArray[np.int64]:
    """(N,) equal for photos that belong together; each by itself where the run kept no answers.

    Raises:
        TrackingError: its answers are damaged.
    """
    store = open_store()
    kept, damaged = store.kept_answers([store.get(original.card.provenance.run_id)])
    if damaged:
        raise TrackingError(damaged[0])
    return groups_of(photos, kept.values())


def _view(original: Predictor, photo: Photo) -> Pixels:
    return original.view(original.decoded(photo))


def _files(original: Predictor, ranged: list[Photo], precision: Precision, place: Path) -> dict[str, Path]:
    """The files of the bundle, its network in integers where these are asked for."""
    bundle = original.bundle
    for name in bundle.card.files:
        (place / name).write_bytes(bundle.read(name))
    if precision == "int8":
        (place / MODEL).write_bytes(quantize(bundle.read(MODEL), [_view(original, photo) for photo in ranged]))
    return {name: place / name for name in bundle.card.files}


def _measure(original: Predictor, trial: Predictor, judging: Dataset, progress: Progress) -> tuple[Measured, Measured]:
    """Both on the same photos; times in turn, so that a busy machine is busy for both."""
    sides = (original, trial)
    times: list[list[float]] = [[], []]
    for photo in judging.photos[:TIMED]:
        view = _view(original, photo)
        for side, found in zip(sides, times, strict=True):
            began = time.perf_counter()
            side.outputs(view)
            found.append(1e3 * (time.perf_counter() - began))
    label = dict(zip((photo.id for photo in judging.photos), judging.labels.tolist(), strict=True))
    measured = []
    for side, found in zip(sides, times, strict=True):
        scores = side.scores(judging, cache=PhotoCache(None), progress=progress)
        labels = np.array([label[photo] for photo in scores.ids], np.int64)
        size = len(side.bundle.read(MODEL)) / 1e6
        groups = _groups(original, scores.ids)
        standing = stand(scores, labels, original.card.calibration, side.strangers(judging, scores), groups)
        measured.append(Measured(standing, size, np.array(found), scores, labels, groups))
    return measured[0], measured[1]
