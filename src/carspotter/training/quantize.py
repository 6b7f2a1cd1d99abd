"""A network in 8-bit integers: static, per channel, its ranges taken from photos that trained it.

Source: B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018; per channel as R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.errors import SourceError, TrainingError
from carspotter.evaluation.gate import Standing, misses, stand
from carspotter.inference.bundle import MODEL, Bundle, write_bundle
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, ExportNote, Photo, Pixels, Scores
from carspotter.tracking.runs import open_store
from carspotter.training.restate import restate
from carspotter.training.ship import hash_files

CALIBRATING = 100
"""Photos whose activations give the ranges. Assumption: ranges of a hundred differ little from those of a thousand."""
TIMED = 60
"""Photos on which both are timed in turn."""
FEWEST = 5
"""Photos without which nothing is judged (assumption); a hundred are needed to see a point of accuracy at all."""
KINDS = ["Conv"]
"""Operators that compute in integers: nearly all of the work. OpenVINO 2026.4 cannot plan nets whose sums or heads do
so too; what turns a photo's bytes into floats stays as it is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of an export.

    Attributes:
        standing: how it answers.
        megabytes: of its network.
        milliseconds: (N,) of single photos, one thread, decoding left out.
        scores: of the photos that judge.
    """

    standing: Standing
    megabytes: float
    milliseconds: npt.NDArray[np.float64]
    scores: Scores


@dataclass(frozen=True, slots=True)
class Export:
    """What came out.

    Attributes:
        before: the original.
        after: the export.
        faults: bounds that the export breaks.
        bundle: as written; None where it was refused.
    """

    before: Measured
    after: Measured
    faults: tuple[str, ...]
    bundle: Bundle | None


def quantize_bundle(
    model: Path,
    source: Dataset,
    out: Path,
    *,
    runtime: RuntimeName = "onnxruntime",
    force: bool = False,
    progress: Progress = silent,
) -> Export:
    """Quantize a model, score it beside the original on photos that it held out, and write it if it may stand in.

    Whether it may is judged by the original's calibration; what its own card then says is its own (`restate`).

    Args:
        model: folder of the original; its run must be at hand.
        source: that trained it: training photos give the ranges, held-out ones judge.
        out: folder of the export.
        runtime: that will compute it.
        force: write it although a bound is broken; the card says so.
        progress: told about photos.

    Raises:
        SourceError: the source is not the model's, or nothing was held out.
        TrackingError: the run is not at hand.
        BundleError: a folder cannot be read or written.
        TrainingError: the network cannot be quantized.
    """
    original = load(model, runtime=runtime)
    ranged, judging = _photos(original, source)
    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        files = _files(original, [_view(original, photo) for photo in ranged], Path(place))
        draft = original.card.model_copy(update={"files": hash_files(files), "name": out.name})
        trial = load(write_bundle(Path(place) / "trial", draft, files).folder, runtime=runtime)
        before, after = _measure(original, trial, judging, progress)
        faults = misses(before.standing, after.standing)
        if faults and not force:
            return Export(before, after, faults, None)
        note = ExportNote(
            precision="int8",
            of=original.bundle.hash,
            runtime=runtime,
            photos=len(judging.photos),
            accuracy=after.standing.accuracy.value,
            accuracy_before=before.standing.accuracy.value,
            faults=faults,
        )
        card = restate(draft, original.reference, after.scores, judging).model_copy(update={"export": note})
        bundle = write_bundle(out, card, files)
    return Export(before, after, faults, bundle)


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


def _view(original: Predictor, photo: Photo) -> Pixels:
    return original.view(original.decoded(photo))


def _files(original: Predictor, views: Sequence[Pixels], place: Path) -> dict[str, Path]:
    """The files of the bundle, its network in integers."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._views: Iterator[Pixels] = iter(views)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            one = next(self._views, None)
            return None if one is None else {"photos": one[None]}

    bundle = original.bundle
    for name in bundle.card.files:
        (place / name).write_bytes(bundle.read(name))
    ready, made = place / "ready.onnx", place / "int8.onnx"
    try:
        quant_pre_process(str(place / MODEL), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(made),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=KINDS,
        )
    except Exception as fault:  # noqa: BLE001 - its exceptions have no common base
        raise TrainingError(f"{bundle.folder} cannot be quantized: {type(fault).__name__}: {fault}") from None
    made.replace(place / MODEL)
    ready.unlink(missing_ok=True)
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
    measured = []
    for side, found in zip(sides, times, strict=True):
        scores = side.scores(judging, cache=PhotoCache(None), progress=progress)
        label = dict(zip((photo.id for photo in judging.photos), judging.labels.tolist(), strict=True))
        labels = np.array([label[photo] for photo in scores.ids], np.int64)
        size = len(side.bundle.read(MODEL)) / 1e6
        standing = stand(scores, labels, original.card.calibration, side.strangers(judging, scores))
        measured.append(Measured(standing, size, np.array(found), scores))
    return measured[0], measured[1]
